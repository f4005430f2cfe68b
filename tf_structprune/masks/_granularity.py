"""The granularities with what may be demanded of their masks, so that they run fast once lowered."""

from dataclasses import dataclass

from tf_structprune.masks._mask_set import FEATURE_MAP, INTRA_KERNEL, KERNEL, check_granularity


@dataclass(frozen=True)
class FeatureMap:
    """Whole output channels."""

    name = FEATURE_MAP


@dataclass(frozen=True)
class Kernel:
    """Kernels, one by one or in blocks.

    With `groups`, the output maps of every layer are split in that many even runs and the input maps in
    `blocks` even runs, and all kernels between two runs go or stay together: each group of outputs reads
    some blocks of inputs and nothing else, which standard operations compute without the rest.

    Attributes:
        groups: runs of output maps; None prunes kernels one by one. Layers with fewer maps have
            fewer runs.
        blocks: runs of input maps, as many as groups by default.
    """

    groups: int | None = None
    blocks: int | None = None
    name = KERNEL

    def __post_init__(self) -> None:
        if self.groups is None and self.blocks is not None:
            raise ValueError(f"Kernel: blocks of inputs need groups of outputs. Received: {self}. Give groups too.")
        for setting in ("groups", "blocks"):
            value = getattr(self, setting)
            if value is not None and value < 1:
                raise ValueError(f"Kernel: {setting} must be at least 1. Received: {setting}={value}. Use e.g. 4.")


@dataclass(frozen=True)
class IntraKernelStrided:
    """Strided patterns within kernels.

    Attributes:
        strides: strides allowed; None allows 1 to k + 1 for a k x k kernel. The stride k of a k x k kernel
            keeps a column, which is a smaller convolution by itself.
        patterns: largest number of different patterns in one layer; None for any number. Few
            patterns make few slices once lowered.
    """

    strides: tuple[int, ...] | None = None
    patterns: int | None = None
    name = INTRA_KERNEL

    def __post_init__(self) -> None:
        if self.strides is not None and (not self.strides or min(self.strides) < 1):
            raise ValueError(
                f"Intra-kernel strides must be positive. Received: strides={self.strides}. Use e.g. (1, 2, 3)."
            )
        if self.patterns is not None and self.patterns < 1:
            raise ValueError(
                f"IntraKernelStrided: patterns must be at least 1. Received: patterns={self.patterns}. Use e.g. 2."
            )


Granularity = str | FeatureMap | Kernel | IntraKernelStrided
"""A granularity by name, or with demands on its masks."""

_BY_NAME = {kind.name: kind for kind in (FeatureMap, Kernel, IntraKernelStrided)}


def as_granularity(granularity: Granularity) -> FeatureMap | Kernel | IntraKernelStrided:
    """The granularity as an object; a name stands for the one without demands.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(granularity, str):
        return _BY_NAME[check_granularity(granularity)]()
    if not isinstance(granularity, FeatureMap | Kernel | IntraKernelStrided):
        raise ValueError(
            f"Unknown granularity. Received: granularity={granularity!r}. Use a name, or masks.Kernel(groups=4)."
        )
    return granularity
