"""A batch normalization as the factor and offset that it is in inference."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def factor_and_offset(norm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a `BatchNormalization` computes in inference: `x * factor + offset`.

    Args:
        norm: a built layer.

    Returns:
        Both of shape (channels,).
    """
    gamma, beta, mean, variance = (
        np.asarray(default if variable is None else keras.ops.convert_to_numpy(variable), np.float64)
        for variable, default in ((norm.gamma, 1), (norm.beta, 0), (norm.moving_mean, 0), (norm.moving_variance, 1))
    )
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


def normalized_weights(
    kernel: NDArray[Any], bias: NDArray[Any] | None, norm: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of a layer that does the work of the `BatchNormalization` behind it.

    Args:
        kernel: shape (..., output channels), or (..., inputs, multiplier) of a depthwise convolution.
        bias: shape (output channels,), or None.
        norm: a built layer.

    Returns:
        Kernel and bias in float32, same shapes.
    """
    factor, offset = factor_and_offset(norm)
    axes = kernel.shape[-1:] if kernel.shape[-1] == factor.size else kernel.shape[-2:]
    bias = np.zeros(factor.size) if bias is None else bias
    return (kernel * factor.reshape(axes)).astype(np.float32), (bias * factor + offset).astype(np.float32)
