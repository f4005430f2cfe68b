"""Outputs of a model for all samples of an array."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray


def predict(model: keras.Model, x: Any, batch_size: int) -> Any:
    """Outputs of a model, also where a `keras.distribution` shares every batch among devices.

    JAX refuses a batch that cannot be shared equally. The last one is then filled up with copies of the last sample,
    whose outputs are dropped.

    Args:
        model: the model; as it is trained, on one device or on several.
        x: samples as the model takes them: an array, shape (images, ...), or a list or dictionary of arrays.
        batch_size: samples a prediction step; rounded up to a multiple of the shares.

    Returns:
        One row of outputs for each sample, in the structure of the model's outputs.
    """
    shares = batch_shares()
    size = len(keras.tree.flatten(x)[0])
    missing = -size % shares
    filled = keras.tree.map_structure(lambda array: _filled(array, missing), x) if missing else x
    outputs = model.predict(filled, batch_size=-(-batch_size // shares) * shares, verbose=0)
    return keras.tree.map_structure(lambda array: np.asarray(array)[:size], outputs)


def _filled(array: NDArray[Any], missing: int) -> NDArray[Any]:
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def batch_shares() -> int:
    """Among how many devices the `keras.distribution` of the process shares a batch; 1 without one."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return 1
    mesh = distribution.device_mesh
    return int(mesh.shape[mesh.axis_names.index(distribution.batch_dim_name)])
