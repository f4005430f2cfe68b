"""Give the weights of a Keras 2 model to the Keras 3 model built from it."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.legacy._build import Part
from tf_structprune.legacy._entries import CLUSTERED, PRUNED
from tf_structprune.legacy._source import LegacyModel, Weight

_CENTROIDS = "cluster_centroids_"
_WRAPPERS_OWN = {
    PRUNED: ("mask", "threshold", "pruning_step"),
    CLUSTERED: (_CENTROIDS, "pulling_indices_"),
}
"""Beginnings of the names of a wrapper's own weights."""


def set_weights(built: Part, legacy: LegacyModel) -> None:
    """Assign every weight, masked or clustered where a tfmot wrapper computes so.

    Raises:
        ValueError: the weights are not those of the layers.
    """
    for part in built.parts:
        _set_part(part, legacy.weights.get(part.entry.name, ()), legacy.origin)
    _freeze(built)


def _set_part(part: Part, weights: Sequence[Weight], origin: str) -> None:
    """Hand out the weights of a layer, or the one list of a nested model to its layers."""
    leaves = list(part.leaves())
    own = [weight for weight in weights if not any(_is_wrappers(weight[0], leaf) for leaf in leaves)]
    expected = sum(len(leaf.layer.weights) for leaf in leaves)
    if len(own) != expected:
        raise ValueError(
            f"{origin}: layer '{part.entry.name}' has {len(own)} weights, but {expected} were expected. "
            f"Received: {[name for name, _ in own]}."
        )
    queue = iter(own)
    shares: list[list[Weight]] = [list(islice(queue, len(leaf.layer.trainable_weights))) for leaf in leaves]
    for leaf, share in zip(leaves, shares, strict=True):  # Keras 2 lists all that train first
        share += islice(queue, len(leaf.layer.non_trainable_weights))
    for leaf, share in zip(leaves, shares, strict=True):
        extra = [(_tail(name), value) for name, value in weights if _is_wrappers(name, leaf)]
        _set_leaf(leaf, _as_computed(leaf, share, extra), origin)


def _freeze(part: Part) -> None:
    """Freeze models that are frozen as a whole; only now, as the order of weights hangs on it."""
    for inner in part.parts:
        _freeze(inner)
    if part.parts and part.entry.config.get("trainable") is False:
        part.layer.trainable = False


def _is_wrappers(name: str, leaf: Part) -> bool:
    """Whether a weight is the wrapper's own, such as "prune_low_magnitude_conv/mask:0"."""
    scope = f"/{name.rpartition('/')[0]}"
    own = _WRAPPERS_OWN.get(leaf.entry.wrapper, ())
    return scope.endswith(f"/{leaf.entry.name}") and _tail(name).startswith(own)


def _tail(name: str) -> str:
    return name.rpartition("/")[2].partition(":")[0]


def _as_computed(leaf: Part, share: Sequence[Weight], extra: Sequence[Weight]) -> list[Weight]:
    """The layer's weights as its wrapper computes with them."""
    if leaf.entry.wrapper == PRUNED:
        return _masked(leaf, share, [value for name, value in extra if name.startswith("mask")])
    centroids = {name.removeprefix(_CENTROIDS): value for name, value in extra if name.startswith(_CENTROIDS)}
    return [
        (name, _clustered(value, centroids[_tail(name)]) if _tail(name) in centroids else value)
        for name, value in share
    ]


def _masked(leaf: Part, share: Sequence[Weight], masks: Sequence[NDArray[Any]]) -> list[Weight]:
    """Masks belong to the weights of their shape, in order."""
    shapes = {mask.shape for mask in masks}
    maskable = [index for index, (_, value) in enumerate(share) if value.shape in shapes]
    if [share[index][1].shape for index in maskable] != [mask.shape for mask in masks]:
        raise ValueError(
            f"Layer '{leaf.entry.name}': its masks cannot be told apart by shape. Received: "
            f"{[mask.shape for mask in masks]}. Call tfmot.sparsity.keras.strip_pruning first and pass what it returns."
        )
    masked = list(share)
    for index, mask in zip(maskable, masks, strict=True):
        name, value = share[index]
        masked[index] = (name, value * mask)
    return masked


def _clustered(weight: NDArray[Any], centroids: NDArray[Any]) -> NDArray[Any]:
    """Every weight's nearest centroid, the first of equally near ones.

    Args:
        weight: values, output channels last.
        centroids: shape (clusters,), or (output channels, clusters) when clustered per channel.
    """
    nearest = np.broadcast_to(centroids[..., 0], weight.shape)
    for index in range(1, centroids.shape[-1]):
        candidate = np.broadcast_to(centroids[..., index], weight.shape)
        nearest = np.where(np.abs(weight - candidate) < np.abs(weight - nearest), candidate, nearest)
    return nearest


def _set_leaf(leaf: Part, share: Sequence[Weight], origin: str) -> None:
    layer = leaf.layer
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    values = {_tail(name): value for name, value in share}
    # By name where names tell the weights apart (wrappers change the order), else in order.
    by_name = len(values) == len(share) and set(values) == {variable.name for variable in variables}
    for variable, (name, value) in zip(variables, share, strict=True):
        value = values[variable.name] if by_name else value
        if tuple(variable.shape) != value.shape:
            raise ValueError(
                f"{origin}: layer '{leaf.entry.name}' needs a weight {variable.name} of shape {tuple(variable.shape)}. "
                f"Received: {name} of shape {value.shape}."
            )
        variable.assign(value)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()
