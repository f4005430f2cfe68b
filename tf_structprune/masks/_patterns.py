"""Intra-kernel strided sparsity: which positions of a kernel a (stride, offset) keeps.

Anwar, Hwang and Sung, arXiv 1512.08571, section on intra-kernel strided sparsity: two numbers a
feature map, shared by all kernels that leave it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KEEP_ON_GRID = "keep_on_grid"
PRUNE_ON_GRID = "prune_on_grid"
POLARITIES = (KEEP_ON_GRID, PRUNE_ON_GRID)


def positions_kept(patterns: NDArray[np.int32], positions: int, polarity: str = KEEP_ON_GRID) -> NDArray[np.bool_]:
    """The kept positions of each map's kernels.

    Args:
        patterns: (stride, offset) of each map, shape (maps, 2). Stride 1 with offset 0 keeps all,
            in either polarity.
        positions: weights of one kernel; position i is flat index i of the kernel.
        polarity: "keep_on_grid" keeps {i : i >= offset, (i - offset) mod stride = 0},
            "prune_on_grid" keeps all others.

    Returns:
        True where kept, shape (positions, maps).

    Raises:
        ValueError: an unknown polarity.
    """
    if polarity not in POLARITIES:
        raise ValueError(f"Unknown polarity. Received: polarity={polarity!r}. Use one of: {', '.join(POLARITIES)}.")
    index = np.arange(positions)[:, None]
    stride, offset = patterns[:, 0][None, :], patterns[:, 1][None, :]
    on_grid = (index >= offset) & ((index - offset) % stride == 0)
    dense = (stride == 1) & (offset == 0)
    kept: NDArray[np.bool_] = (on_grid if polarity == KEEP_ON_GRID else ~on_grid) | dense
    return kept


def default_strides(positions: int) -> tuple[int, ...]:
    """Strides 1 to k + 1 for a k x k kernel: from dense to fewer weights than one column."""
    return tuple(range(1, math.isqrt(positions - 1) + 3)) if positions > 1 else (1,)


def column_strides(kernel_shape: tuple[int, ...], positions: int) -> tuple[int, ...]:
    """Strides that keep whole kernels, whole columns of them, or single weights.

    Args:
        kernel_shape: shape of the kernel as Keras holds it. A kernel one wide or one high has no column
            that is smaller and wider than one weight.
        positions: weights of one kernel; where the shape does not show them, as behind a `Flatten`, they
            are taken for a square.
    """
    sizes = kernel_shape[:-2]
    shown = sizes and math.prod(sizes) == positions
    width = sizes[-1] if shown else math.isqrt(max(0, positions - 1)) + 1
    return tuple(sorted({1, width, positions}))


def patterns_by_count(
    positions: int, strides: Sequence[int], polarity: str = KEEP_ON_GRID
) -> dict[int, NDArray[np.int32]]:
    """All patterns of these strides, by the number of positions that they keep.

    Returns:
        By count of kept positions (at least 1), ascending, the patterns, shape (patterns, 2).
    """
    found = np.array([(s, o) for s in strides for o in range(1 if s == 1 else min(s, positions))], np.int32)
    counts = positions_kept(found, positions, polarity).sum(axis=0)
    return {int(count): found[counts == count] for count in np.unique(counts) if count > 0}
