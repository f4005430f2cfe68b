"""New values for the kept weights that make up for the removed ones, layer by layer, without labels or training."""

from typing import Any, Literal, get_args

import keras
import numpy as np
from absl import logging

from tf_structprune.layers import MaskedModel, is_fixed_point
from tf_structprune.reconstruct import RIDGE
from tf_structprune.stages._calibrate import check_samples
from tf_structprune.stages._reconstructing import Reconstructing
from tf_structprune.stages._reconstruction import Reconstruction

Reconstruct = Literal["none", "statistics", "full"]
RECONSTRUCTIONS: tuple[str, ...] = get_args(Reconstruct)


def reconstruct(
    masked: keras.Model | MaskedModel,
    samples: Any,
    *,
    mode: Reconstruct = "full",
    ridge: float = RIDGE,
    seed: int = 0,
) -> Reconstruction:
    """Give the kept weights of a masked model values that make up for the removed ones; no labels, no training.

    Layer after layer, from the first one on: least squares, on what the layer now reads, towards what it computed with
    all masks open and its present weights (He, Zhang, Sun 2017, arXiv 1707.06168, section 3.2). A layer that ends in a
    residual sum also makes up for what the branches before it have lost (section 3.3 there). Then the statistics of the
    batch normalization behind it are measured on all samples. Masks stay, and so do removed weights and what the
    optimizer remembers: training may go on.

    A layer that cannot be solved keeps its weights, and the report says why.

    Args:
        masked: a model from `wrap`, some of whose masks remove something; its weights are changed.
        samples: as the model takes them, without labels: an array, shape (samples, ...), or a list or dictionary of
            arrays; about a thousand of the training samples.
        mode: "full"; or "statistics" for those of the batch normalizations alone; or "none".
        ridge: penalty on changes of the weights, relative to the mean square of what they multiply.
        seed: seed of the choice of pixels, where there are more than are needed.

    Raises:
        ValueError: a model without masks or in fixed point, samples that are none, not finite or not the model's, a
            mode that is unknown or a ridge below 0. The model is then as it was.
    """
    mode = check_reconstruct(mode)
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge must be a number of at least 0. Received: ridge={ridge}. Use e.g. {RIDGE}.")
    handle = MaskedModel.of(masked)
    if is_fixed_point(handle.model):
        raise ValueError(
            f"Model '{handle.model.name}' is in fixed point, whose words cannot take other values freely. Received: a "
            "model from to_fixed_point. Reconstruct the float model before."
        )
    data = check_samples(handle.model, samples)
    if mode == "none":
        return Reconstruction((), (), len(data))
    weights = handle.model.get_weights()
    try:
        report = Reconstructing(handle, data, ridge, np.random.default_rng(seed), solving=mode == "full").report()
    except BaseException:
        handle.model.set_weights(weights)
        raise
    logging.info("Reconstruction: %s", report)
    return report


def check_reconstruct(mode: bool | Reconstruct) -> Reconstruct:
    """The mode itself; True is "full", False "none".

    Raises:
        ValueError: an unknown one.
    """
    if isinstance(mode, bool):
        return "full" if mode else "none"
    if mode not in RECONSTRUCTIONS:
        raise ValueError(
            f"Unknown reconstruction. Received: reconstruct={mode!r}. Use one of: {', '.join(RECONSTRUCTIONS)}."
        )
    return mode
