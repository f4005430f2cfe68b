"""A float32 copy of a model that was trained in mixed or low precision."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tf_structprune.graph import config_of
from tf_structprune.layers import clone, copy_layer, copy_of, renew_copies
from tf_structprune.task import as_inputs

# Dtype policies that compute in 16 bits: "float16", "mixed_float16", "bfloat16", "mixed_bfloat16".
_LOW_PRECISION = re.compile(r"(mixed_)?b?float16")


def float32_model(model: keras.Model) -> keras.Model:
    """The model itself, or a float32 copy of it when any layer computes in 16 bits.

    TFLite has no 16-bit convolution, so the converter refuses a model with a `mixed_float16` or
    `mixed_bfloat16` policy. The copy has the same layers, names and weights under the float32 policy.

    Args:
        model: a Sequential or functional model, nested ones included. It is not changed.

    Returns:
        A model that computes in float32.

    Raises:
        ValueError: the model has no configuration to copy, as a subclassed one.
    """
    try:
        low_precision = _has_low_precision(config_of(model))
    except NotImplementedError as error:
        raise ValueError(
            f"Model '{model.name}': cannot be copied. Received: {type(model).__name__} without get_config. "
            "Use a Sequential or functional model."
        ) from error
    if not low_precision:
        return model
    copy = clone(model, lambda _, layer: _float32_layer(layer))
    for target, source in zip(copy.weights, model.weights, strict=True):
        target.assign(np.asarray(keras.ops.convert_to_numpy(source)).astype(target.dtype))
    renew_copies(copy)
    return copy


def call_model(model: keras.Model, batch: Sequence[Any]) -> list[Any]:
    """Runs inference on one batch, whatever structure the model gives to its inputs and outputs.

    Args:
        model: a Keras model.
        batch: one array or tensor for each input, `(n, *input shape)`, in the order of `model.inputs`.

    Returns:
        The output tensors, in the order of `model.outputs`.
    """
    return list(keras.tree.flatten(model(as_inputs(model, batch), training=False)))


def _float32_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    low_precision = _has_low_precision(config_of(layer))
    return copy_of(layer, lambda config: config.update(_in_float32(config))) if low_precision else copy_layer(layer)


def _has_low_precision(config: Any) -> bool:
    """Whether a (nested) configuration names a 16-bit dtype policy anywhere."""
    if isinstance(config, dict):
        return any(
            _is_low_precision(value) if key == "dtype" else _has_low_precision(value) for key, value in config.items()
        )
    return isinstance(config, list | tuple) and any(_has_low_precision(item) for item in config)


def _is_low_precision(dtype: Any) -> bool:
    """Whether a dtype, given by name or as a serialized policy, computes in 16 bits."""
    if isinstance(dtype, dict):
        return any(_is_low_precision(value) for value in dtype.values())
    return isinstance(dtype, str) and _LOW_PRECISION.fullmatch(dtype) is not None


def _in_float32(config: Any) -> Any:
    """A copy of a (nested) layer configuration with every 16-bit dtype policy replaced by float32."""
    if isinstance(config, keras.layers.Layer):
        return _float32_layer(config)
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _is_low_precision(value) else _in_float32(value)
            for key, value in config.items()
        }
    return type(config)(map(_in_float32, config)) if type(config) in (list, tuple) else config
