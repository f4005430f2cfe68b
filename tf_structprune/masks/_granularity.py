"""The granularities with what may be demanded of their masks, so that they run fast once lowered."""

import math
from dataclasses import dataclass
from typing import Literal

from tf_structprune.masks._mask_set import (
    FEATURE_MAP,
    INTRA_KERNEL,
    KERNEL,
    WEIGHT,
    check_granularity,
    check_sparsity,
)

COLUMNS: Literal["columns"] = "columns"
"""The strides of which every layer makes its own: 1, its kernels' width and their size."""

_ROUNDING = 1e-9  # so that a share of 1 - (1 - 0.75) ** 0.5 is a half
_PATTERNS = 2


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
            keeps a column, which is a smaller convolution by itself. "columns" allows, in each layer, 1,
            the width of its kernels, and their size: whole kernels, columns and single weights.
        patterns: largest number of different patterns in one layer; None for any number. Few
            patterns make few slices once lowered.
    """

    strides: tuple[int, ...] | Literal["columns"] | None = None
    patterns: int | None = None
    name = INTRA_KERNEL

    def __post_init__(self) -> None:
        if isinstance(self.strides, str) and self.strides != COLUMNS:
            raise ValueError(
                f"Unknown intra-kernel strides. Received: strides={self.strides!r}. Use 'columns', or e.g. (1, 3)."
            )
        if not isinstance(self.strides, str | None) and (not self.strides or min(self.strides) < 1):
            raise ValueError(
                f"Intra-kernel strides must be positive. Received: strides={self.strides}. Use e.g. (1, 2, 3)."
            )
        if self.patterns is not None and self.patterns < 1:
            raise ValueError(
                f"IntraKernelStrided: patterns must be at least 1. Received: patterns={self.patterns}. Use e.g. 2."
            )


@dataclass(frozen=True)
class Weight:
    """Single weights. They buy bytes of a stored network, not speed: no runtime skips single zeros.

    Attributes:
        n: weights that stay of every `m` consecutive ones of an output, counted over inputs, then positions; None for
            no such demand. The last run of an output may be shorter and keeps as many: a sparsity of 1 - n / m is then
            met but for those.
        m: length of the runs.
        across: "layer" removes the same share of every layer (the p-th percentile of its magnitudes: Han et al. 2015,
            arXiv 1506.02626), "model" ranks the weights of all layers together.
    """

    n: int | None = None
    m: int | None = None
    across: Literal["layer", "model"] = "layer"
    name = WEIGHT

    def __post_init__(self) -> None:
        if (self.n is None) != (self.m is None):
            raise ValueError(f"Weight: n of m needs both. Received: n={self.n}, m={self.m}. Use e.g. Weight(n=2, m=4).")
        if self.n is not None and self.m is not None and not 1 <= self.n < self.m:
            raise ValueError(f"Weight: n of m keeps 1 to m - 1. Received: n={self.n}, m={self.m}. Use e.g. n=2, m=4.")
        if self.across not in ("layer", "model"):
            raise ValueError(f"Weight: unknown scope. Received: across={self.across!r}. Use 'layer' or 'model'.")
        if self.n is not None and self.across == "model":
            raise ValueError(
                f"Weight: n of m is a demand on every layer. Received: {self}. Leave out n and m, or across='model'."
            )


Demands = FeatureMap | Kernel | IntraKernelStrided | Weight
"""A granularity with demands on its masks."""

Granularity = str | Demands
"""A granularity by name, or with demands on its masks."""

_BY_NAME: dict[str, type[Demands]] = {kind.name: kind for kind in (FeatureMap, Kernel, IntraKernelStrided, Weight)}


def as_granularity(granularity: Granularity) -> Demands:
    """The granularity as an object; a name stands for the one without demands.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(granularity, str):
        return _BY_NAME[check_granularity(granularity)]()
    if not isinstance(granularity, Demands):
        raise ValueError(
            f"Unknown granularity. Received: granularity={granularity!r}. Use a name, or masks.Kernel(groups=4)."
        )
    return granularity


def lowerable(name: str, share: float) -> Demands:
    """The granularity with demands under which its masks run fast once `tflite_export.lower` has lowered them.

    - Feature maps: none; they are taken out.
    - Kernels go in blocks, as few as can remove the share: 2 groups of outputs by 2 blocks of inputs up
      to a half, 4 by 4 up to three quarters, 8 by 8 up to seven eighths, and so on. Few large blocks are
      few large convolutions, and where one block is left to each group they are disjoint: one grouped
      convolution. Kernels that go one by one leave almost every map to be read.
    - Patterns are whole columns, and beyond what these remove single weights of one of them, in at most
      two patterns a layer: smaller convolutions over shifted maps. That is stride 3, then 9, of a 3 x 3
      kernel, and 5, then 25, of a 5 x 5 kernel.
    - Single weights: none; nothing makes them fast.

    `benchmarks/results/lowering_latency.md` has what they buy.

    Args:
        name: "feature_map", "kernel", "intra_kernel" or "weight".
        share: fraction that the masks are to remove of the weights that they find, in [0, 1).

    Raises:
        ValueError: an unknown name, or a share out of range.
    """
    check_granularity(name)
    check_sparsity(share, f"Granularity '{name}': ")
    if name == KERNEL:
        return Kernel(groups=2 ** max(1, math.ceil(-math.log2(1 - share + _ROUNDING))))
    return IntraKernelStrided(COLUMNS, _PATTERNS) if name == INTRA_KERNEL else _BY_NAME[name]()
