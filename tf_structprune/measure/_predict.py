"""Outputs of a model for all samples of an array."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def predict(model: keras.Model, x: NDArray[Any], batch_size: int) -> NDArray[Any]:
    """Outputs of a model, also where a `keras.distribution` shares every batch among devices.

    JAX refuses a batch that cannot be shared equally. The last one is then filled up with copies of the last sample,
    whose outputs are dropped.

    Args:
        model: a model with one output; as it is trained, on one device or on several.
        x: samples, shape (images, ...).
        batch_size: samples a prediction step; rounded up to a multiple of the shares.

    Returns:
        One row of outputs for each sample.
    """
    shares = batch_shares()
    missing = -len(x) % shares
    filled = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)]) if missing else x
    outputs = np.asarray(model.predict(filled, batch_size=-(-batch_size // shares) * shares, verbose=0))
    return outputs[: len(x)] if missing else outputs


def batch_shares() -> int:
    """Among how many devices the `keras.distribution` of the process shares a batch; 1 without one."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return int(mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)])
