"""Masks that were found on one network, put on another one of the same layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from numpy.typing import NDArray

from tf_structprune.layers._handle import MaskedModel
from tf_structprune.masks import GRANULARITIES, MaskSet


@dataclass(frozen=True)
class MaskTransfer:
    """What became of masks that were put on another network.

    Attributes:
        masks: those that were put in, by the names of the target.
        only_source: layers and groups whose masks the target has no place for, such as a head's.
        only_target: layers and groups of the target that kept the masks that they had.
    """

    masks: MaskSet
    only_source: tuple[str, ...]
    only_target: tuple[str, ...]


def transfer_masks(source: keras.Model | MaskSet, target: keras.Model) -> MaskTransfer:
    """Put the masks of one model, found on one task, on the layers of the same names of another.

    Args:
        source: a model from `wrap`, or its masks.
        target: a model from `wrap`, whose masks are set; its weights stay.

    Returns:
        What was put in, and which layers only one of the two has.

    Raises:
        ValueError: a model without masks, no layer in common, or one of another shape or kept in the target. Nothing is
            set then.
    """
    given = source if isinstance(source, MaskSet) else MaskedModel(source).masks
    handle = MaskedModel(target)
    present, found = handle.masks, MaskSet()
    only_source: list[str] = []
    only_target: list[str] = []
    for kind in GRANULARITIES:
        offered, held = given.of(kind), present.of(kind)
        common = {name: mask for name, mask in offered.items() if name in held}
        _check_shapes(common, held)
        found = found.updated(kind, common)
        only_source += [name for name in offered if name not in held]
        only_target += [name for name in held if name not in offered]
    if not any(found.of(kind) for kind in GRANULARITIES):
        raise ValueError(
            f"Model '{target.name}' has no layer or group with masks whose name the source has. Received: "
            f"{', '.join(only_source) or 'no masks'}. Give the layers the same names, and wrap both models alike."
        )
    handle.set_masks(found)
    return MaskTransfer(found, *(tuple(dict.fromkeys(names)) for names in (only_source, only_target)))


def _check_shapes(common: Mapping[str, NDArray[Any]], held: Mapping[str, NDArray[Any]]) -> None:
    for name, mask in common.items():
        if mask.shape != held[name].shape:
            raise ValueError(
                f"'{name}' has masks of another shape in the target. Received: shape={mask.shape}. Use a network with "
                f"masks of shape {held[name].shape} there."
            )
