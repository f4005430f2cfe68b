"""The part of a network that a pretext task trains."""

from typing import Any

import keras
from keras import ops

from tf_structprune.graph import has_kernel, list_calls
from tf_structprune.layers import copy_model


def features_of(model: keras.Model, layer: str | None = None) -> keras.Model:
    """A copy of a model up to the layer before its classifier, masks included.

    Args:
        model: a built Sequential or functional model, plain or masked; it is not changed.
        layer: name of the layer whose outputs are the features; None for what the classifier, the last layer with a
            kernel, reads.

    Raises:
        ValueError: an unknown layer, or several classifiers or one in a nested model, which only `layer` can tell
            from the others.
    """
    if layer is not None:
        if layer not in (names := [each.name for each in model.layers]):
            raise ValueError(
                f"Model '{model.name}' has no layer of that name. Received: layer={layer!r}. Use one of: "
                f"{', '.join(names)}."
            )
        tensor = model.get_layer(layer).output
    else:
        tensor = model.get_layer(_classifier_of(model)).input
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
    return copy_model(keras.Model(inputs, tensor, name=f"{model.name}_features"))


def check_features(features: Any, what: str) -> keras.Model:
    """The model itself, if it can stand in a pretext task.

    Args:
        features: what was given.
        what: the task, for the message.

    Raises:
        TypeError: not a Keras model.
        ValueError: several inputs or outputs, or outputs that are no vectors or maps.
    """
    if not isinstance(features, keras.Model):
        raise TypeError(f"{what} trains a Keras model. Received: features={features!r}. Use e.g. features_of(model).")
    if (
        not features.built
        or len(features.inputs) != 1
        or len(features.outputs) != 1
        or len(features.outputs[0].shape) < 2
    ):
        raise ValueError(
            f"{what}: model '{features.name}' must be built, with one input and one output of vectors or maps. "
            f"Received: {_told(features)}. Use features_of(model, layer=...)."
        )
    return features


def pooled(values: Any) -> Any:
    """Vectors in float32 as they are, maps (channels last) as their means, shape (samples, channels)."""
    axes = tuple(range(1, len(values.shape) - 1))
    return ops.mean(ops.cast(values, "float32"), axis=axes) if axes else ops.cast(values, "float32")


def _told(features: keras.Model) -> str:
    if not features.built:
        return "one that is not built"
    shapes = [tuple(tensor.shape) for tensor in (*features.inputs, *features.outputs)]
    return f"{len(features.inputs)} inputs and {len(features.outputs)} outputs, of shapes {shapes}"


def _classifier_of(model: keras.Model) -> str:
    found = sorted(list_calls(model).last_with(has_kernel))
    if len(found) != 1 or "/" in found[0]:
        raise ValueError(
            f"Model '{model.name}' has no single classifier of its own. Received: {', '.join(found) or 'none'} as last "
            "layers with a kernel. Give the layer whose outputs are the features: layer='...'."
        )
    return found[0]
