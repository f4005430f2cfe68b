"""The whole way from a Keras 2 model to a Keras 3 model."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from tf_structprune.legacy._build import build
from tf_structprune.legacy._compile import take_over_compile
from tf_structprune.legacy._source import LegacyModel, check_path, read_file, read_live
from tf_structprune.legacy._weights import set_weights
from tf_structprune.untrusted import reading


def from_legacy(source: str | os.PathLike[str] | Any, *, custom_objects: Mapping[str, type] | None = None) -> Any:
    """An equivalent Keras 3 model of a Keras 2 model; neither the file nor the model is changed.

    The outputs are the same up to float rounding and the layers keep their names. tfmot's pruning
    and clustering wrappers are taken off: the layer inside keeps its own name and gets the weights
    that the wrapped model computes with. A `/` in a name, which Keras 3 forbids, becomes `_`.

    TensorFlow operators between the layers become Keras layers of the operator's name where there
    is such a layer (`x + y` is an `Add`, `x * 2` a `Rescaling`), else `keras.ops` operations.

    Loss, metrics and optimizer configuration are taken over, the optimizer's state is not. What
    Keras 3 cannot take over leaves the model uncompiled, and the log says why.

    Args:
        source: path of a `.h5` or `.hdf5` model file, or a live `tf_keras` Sequential or
            functional model; nested models are fine.
        custom_objects: Keras 3 classes by the name that the file has for them, for layers that
            Keras 3 has not.

    Returns:
        A built `keras.Sequential` or `keras.Model`.

    Raises:
        FileNotFoundError: the path does not exist.
        TypeError: neither a path nor a tf_keras model, e.g. a Keras 3 model.
        ValueError: not a Keras 2 model file, or a damaged one, a subclassed or unbuilt model, or a layer that Keras 3
            has no equivalent for, named.
    """
    if not isinstance(source, (str, os.PathLike)):
        return _converted(_read(source), custom_objects)
    check_path(Path(source))
    with reading(source, "a Keras 2 model", "Save it anew, or load it with tf_keras and pass the model."):
        return _converted(read_file(source), custom_objects)


def _converted(legacy: LegacyModel, custom_objects: Mapping[str, type] | None) -> Any:
    objects = dict(custom_objects or {})
    with keras.saving.custom_object_scope(objects):
        built = build(legacy, objects)
        set_weights(built, legacy)
        if legacy.training is not None:
            take_over_compile(built.layer, legacy.training)
    return built.layer


def _read(source: Any) -> LegacyModel:
    if isinstance(source, keras.Model):
        raise TypeError(
            f"Model '{source.name}' is a Keras 3 model, not a legacy one. "
            f"Received: {type(source).__module__}.{type(source).__name__}. Use it as it is."
        )
    if not any(c.__module__.startswith("tf_keras.") and c.__name__ == "Model" for c in type(source).__mro__):
        raise TypeError(
            "from_legacy takes the path of a Keras 2 .h5 file or a live tf_keras model. "
            f"Received: {type(source).__module__}.{type(source).__name__}."
        )
    return read_live(source)
