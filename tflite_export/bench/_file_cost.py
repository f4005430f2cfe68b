"""Flash and RAM of the file that a shrunk model becomes, as costs by which channels are allocated."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation import Budget, Cost, CostFunction, CountedCost
from tf_structprune.masks import unit_counts
from tflite_export.bench._shrunk_files import ShrunkFiles
from tflite_export.file import ModelDescription, TFLiteFile, live_signals, size_bytes
from tflite_export.quantize import convert
from tflite_export.runtime import arena_bytes

FILE_KINDS = ("flash", "arena")
_NORM = 32  # of the operators' sums: nearly the largest, and of two that are alike either is worth less


def file_costs(
    masked: keras.Model,
    *,
    representative_data: Any = None,
    make: Callable[[keras.Model], TFLiteFile] | None = None,
    kinds: Sequence[str] = FILE_KINDS,
    size: Callable[[TFLiteFile], int] = lambda file: len(file.data),
    arena: Callable[[TFLiteFile], int] = arena_bytes,
) -> dict[str, CostFunction]:
    """What `tf_structprune.allocate` measures for `Budget("flash", ...)` and `Budget("arena", ...)`, as its `cost`.

    The model is shrunk to so many channels and converted; the bytes of the file, and those of the arena that TFLite
    Micro uses for it on this machine, are what counts. Which channels stay makes no difference. Both kinds look
    at the same file.

    Each function has an `estimate`: for the flash the bytes of the weights; for the arena the largest sum of the
    signals that are alive at once, from their lifetimes in the file. How a signal shrinks with a group of channels is
    seen in a file in which that group alone is halved.

    Args:
        masked: a model from `tf_structprune.wrap`; it is not changed, and its own masks do not count.
        representative_data: `(n, *input shape)` samples; without `make`, for TensorFlow's int8.
        make: makes the file of a shrunk model; by default `quantize.convert` to int8.
        kinds: of "flash" and "arena", what to give.
        size: what a file takes of the flash; by default its bytes. Of packed weights, which channels stay makes a
            small difference, which is not looked at.
        arena: what a file needs of the arena; by default what TFLite Micro uses for it as it is.

    Returns:
        By kind a function of the units that each prunable group keeps, by name, that gives bytes. It raises a
        ValueError for counts that the model's groups cannot keep, or a model that TFLite Micro cannot run, and for an
        arena an ImportError where `tflite-micro` is not installed.

    Raises:
        ValueError: an unknown kind, or a model or samples that cannot be converted.
    """
    unknown = [kind for kind in kinds if kind not in FILE_KINDS]
    if unknown:
        raise ValueError(f"Unknown kind. Received: kinds={unknown[0]!r}. Use some of: {', '.join(FILE_KINDS)}.")

    def converted(model: keras.Model) -> TFLiteFile:
        return TFLiteFile(convert(model, quantize="int8", representative_data=representative_data))

    files = ShrunkFiles(masked, make or converted)
    costs: dict[str, CostFunction] = {}
    if "flash" in kinds:
        costs["flash"] = FlashCost.of(files, size)
    if "arena" in kinds:
        costs["arena"] = ArenaCost(files, arena)
    return costs


@dataclass(frozen=True)
class _Shifted:
    """A share of a cost, and what comes on top of it."""

    cost: Cost
    share: float
    fixed: float

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.share * self.cost(kept) + self.fixed, np.float64)


@dataclass(frozen=True)
class FlashCost:
    """Bytes of flash that the file takes.

    Attributes:
        files: makes files.
        estimate: bytes of the weights, and what the whole file has on top.
        size: what a file takes.
    """

    files: ShrunkFiles
    estimate: Cost
    size: Callable[[TFLiteFile], int]

    @classmethod
    def of(cls, files: ShrunkFiles, size: Callable[[TFLiteFile], int]) -> "FlashCost":
        """The cost of a model; what packing saves, it saves in the weights, and the same share of fewer ones."""
        count = CountedCost.of(Budget("flash", 1.0), files.graph, ())
        weights, whole = float(count(np.array(list(files.sizes.values()), np.int64))), size(files.whole)
        share = min(1.0, max(0.0, 1 - (len(files.whole.data) - whole) / max(weights, 1.0)))
        return cls(files, _Shifted(count, share, whole - share * weights), size)

    def __call__(self, kept: Mapping[str, int]) -> float:
        """Bytes with these units."""
        return float(self.size(self.files.of(kept)))


@dataclass(frozen=True)
class PeakCost:
    """The largest sum of the signals that are alive at once, as a function of the units that stay.

    Attributes:
        names: of the groups.
        fixed: bytes of each signal that no group decides, shape (signals,).
        slopes: bytes of a signal for each unit of a group, shape (signals, groups).
        alive: whether a signal is alive during an operator, shape (operators, signals).
        extra: bytes on top.
    """

    names: tuple[str, ...]
    fixed: NDArray[np.float64]
    slopes: NDArray[np.float64]
    alive: NDArray[np.float64]
    extra: float = 0.0

    @classmethod
    def of(
        cls,
        whole: ModelDescription,
        whole_units: Mapping[str, int],
        alone: Mapping[str, tuple[int, ModelDescription]],
    ) -> "PeakCost":
        """The peak as it is seen in files.

        Args:
            whole: the file of the whole model.
            whole_units: units of each group in it.
            alone: by group, fewer units of it and the file in which it alone has them; groups without a choice are
                left out.
        """
        live, sizes = live_signals(whole), _signal_bytes(whole)
        slopes = np.zeros((len(sizes), len(whole_units)))
        for at, (name, count) in enumerate(whole_units.items()):
            fewer, file = alone.get(name, (count, whole))
            if fewer < count and len(file.tensors) == len(whole.tensors):  # else it is another graph
                slopes[:, at] = np.maximum(sizes - _signal_bytes(file), 0) / (count - fewer)
        alive = np.array([[float(index in each) for index in range(len(sizes))] for each in live])
        fixed = sizes - slopes @ np.array(list(whole_units.values()), np.float64)
        return cls(tuple(whole_units), fixed, slopes, alive.reshape(-1, len(sizes)))

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Nearly the largest sum, shape (...), of kept units, shape (..., groups)."""
        sums = np.maximum(self._signals(kept) @ self.alive.T, 1.0)
        top = sums.max(axis=-1, keepdims=True)
        near = top[..., 0] * ((sums / top) ** _NORM).sum(axis=-1) ** (1 / _NORM)
        return np.asarray(near + self.extra, np.float64)

    def parts(self, kept: NDArray[np.int64]) -> dict[str, float]:
        """Bytes at the peak by the group that decides them, "" for none, the largest first."""
        signals = self._signals(kept)
        step = int((self.alive @ signals).argmax())
        found: dict[str, float] = {}
        for index in np.flatnonzero(self.alive[step]):
            own = self.slopes[index]
            name = self.names[int(own.argmax())] if own.any() else ""
            found[name] = found.get(name, 0.0) + float(signals[index])
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    def _signals(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.maximum(self.fixed + np.asarray(kept) @ self.slopes.T, 0.0)


@dataclass(frozen=True)
class ArenaCost:
    """Bytes of the arena that TFLite Micro uses.

    Attributes:
        files: makes files.
        arena: what a file needs.
    """

    files: ShrunkFiles
    arena: Callable[[TFLiteFile], int]

    @functools.cached_property
    def estimate(self) -> PeakCost:
        """The peak of the signals, and what the arena of the whole file has on top; each group has a file made."""
        files, alone = self.files, {}
        for group in files.graph.prunable_groups:
            counts = unit_counts(group, group.size)
            middle = int(counts[len(counts) // 2])
            if middle < group.size:
                alone[group.name] = middle, files.of({group.name: middle}).description
        peak = PeakCost.of(files.whole.description, files.sizes, alone)
        extra = self.arena(files.whole) - float(peak(np.array(list(files.sizes.values()), np.int64)))
        return replace(peak, extra=extra)

    def __call__(self, kept: Mapping[str, int]) -> float:
        """Bytes of the arena with these units."""
        return float(self.arena(self.files.of(kept)))

    def why(self, kept: Mapping[str, int]) -> str:
        """Whose signals lie in the arena at its peak, in a sentence."""
        sizes = {**self.files.sizes, **kept}
        parts = self.estimate.parts(np.array(list(sizes.values()), np.int64))
        told = [
            f"{size:,.0f} bytes of {f'group {name!r}' if name else 'layers that stay whole and inputs'}"
            for name, size in parts.items()
            if size
        ]
        return f"At the peak of the arena lie {' and '.join(told)}."


def _signal_bytes(description: ModelDescription) -> NDArray[np.float64]:
    """Bytes of each tensor that is no constant, else 0."""
    return np.array([0.0 if tensor.constant else size_bytes(tensor) for tensor in description.tensors])
