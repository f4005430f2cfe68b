"""What a network costs as a function of how many units each of its groups keeps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from tf_structprune.allocation._budget import Budget
from tf_structprune.channels import PrunableGraph, PrunableLayer, WeightShape

_WHOLE = 8  # bits of what is counted whole
_BIAS_BITS = 32


class Cost(Protocol):
    """A cost as a function of the units that stay."""

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """Costs, shape (...), of kept units by prunable group in the order of the graph, shape (..., groups)."""


@dataclass(frozen=True)
class CountedCost:
    """An exact count: a sum of terms `factor * inputs * outputs`, with maps counted by the units that stay.

    Units of a group are alike, so a layer has `fixed + slope @ kept` maps. A term that does not depend on the
    input or output maps has one of them.

    Attributes:
        factor: shape (terms,).
        inputs: the fixed number and the slopes by group of the input maps, shape (terms, 1 + groups).
        outputs: likewise of the output maps.
        bits: bits of what a term counts, packed to whole bytes for each term; 8 counts things, shape (terms,).
    """

    factor: NDArray[np.int64]
    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    bits: NDArray[np.int64]

    @classmethod
    def of(cls, budget: Budget, graph: PrunableGraph, weights: Sequence[WeightShape]) -> Self:
        """What a budget counts.

        Args:
            budget: what is counted; MACs for a latency, and bytes of weights for flash, of which they are the parts.
            graph: the traced model.
            weights: the weights of the model, see `graph.weight_shapes`, for the kind "parameters".
        """
        maps = _Maps.of(graph)
        if budget.kind == "parameters":
            terms = [
                (weight.factor, maps.read(weight.layer, count=weight.by_input),
                 maps.made(weight.layer, count=weight.by_output), _WHOLE)
                for weight in weights
            ]  # fmt: skip
        elif budget.kind in ("bytes", "flash"):
            terms = [term for layer in graph.layers for term in _byte_terms(layer, maps, budget.weight_bits)]
        else:
            terms = [term for layer in graph.layers for term in _mac_terms(layer, maps)]
        return cls._stacked(terms, len(graph.prunable_groups))

    @classmethod
    def _stacked(cls, terms: Iterable["_Term"], groups: int) -> Self:
        factors, inputs, outputs, bits = [], [], [], []
        for factor, read, made, width in terms:
            factors.append(factor)
            inputs.append(read)
            outputs.append(made)
            bits.append(width)
        shape = (-1, 1 + groups)
        return cls(
            np.array(factors, np.int64),
            np.array(inputs, np.int64).reshape(shape),
            np.array(outputs, np.int64).reshape(shape),
            np.array(bits, np.int64),
        )

    def terms(self, kept: NDArray[np.int64]) -> NDArray[np.int64]:
        """Each term, shape (..., terms), from kept units by group, shape (..., groups)."""
        ones = np.ones((*kept.shape[:-1], 1), np.int64)
        state = np.concatenate([ones, kept], axis=-1)
        counts = self.factor * (state @ self.inputs.T) * (state @ self.outputs.T)
        return np.asarray(-(-counts * self.bits // _WHOLE), np.int64)

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of the terms, shape (...)."""
        return np.asarray(self.terms(kept).sum(axis=-1), np.float64)


_Term = tuple[int, NDArray[np.int64], NDArray[np.int64], int]


@dataclass(frozen=True)
class _Maps:
    """The maps of each layer as rows (fixed number, slope of each prunable group)."""

    graph: PrunableGraph
    group_of_unit: NDArray[np.int64]  # 1 + the prunable group, 0 for units that stay
    sizes: NDArray[np.int64]  # units of each prunable group, behind a 1

    @classmethod
    def of(cls, graph: PrunableGraph) -> Self:
        groups = np.zeros(graph.unit_count, np.int64)
        for index, group in enumerate(graph.prunable_groups):
            groups[group.units] = index + 1
        sizes = np.array([1, *(group.size for group in graph.prunable_groups)], np.int64)
        return cls(graph, groups, sizes)

    @property
    def one(self) -> NDArray[np.int64]:
        """No maps that count."""
        return np.asarray(np.arange(len(self.sizes)) == 0, np.int64)

    def read(self, layer: str, *, count: bool = True) -> NDArray[np.int64]:
        """The input maps of a layer."""
        return self._row(self.graph.channels[layer].inputs) if count else self.one

    def made(self, layer: str, *, count: bool = True) -> NDArray[np.int64]:
        """The output maps of a layer."""
        return self._row(self.graph.channels[layer].outputs) if count else self.one

    def _row(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(self.group_of_unit[units], minlength=len(self.sizes)) // self.sizes


def _mac_terms(layer: PrunableLayer, maps: _Maps) -> Iterable[_Term]:
    for size, read, made in _kernels(layer, maps):
        yield size * layer.pixels, read, made, _WHOLE


def _byte_terms(layer: PrunableLayer, maps: _Maps, weight_bits: int) -> Iterable[_Term]:
    for size, read, made in _kernels(layer, maps):
        yield size, read, made, weight_bits
    yield 1, maps.one, maps.made(layer.name), _BIAS_BITS
    if layer.other_weights:  # the depthwise part is a layer of its own in a file
        yield 1, maps.read(layer.name), maps.one, _BIAS_BITS


def _kernels(layer: PrunableLayer, maps: _Maps) -> Iterable[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Weights for each pair of maps, and which maps count; groups of a convolution go whole."""
    if layer.groups > 1:
        yield layer.positions * layer.group_inputs, maps.one, maps.made(layer.name)
    else:
        yield layer.positions, maps.read(layer.name), maps.made(layer.name)
    if layer.other_weights:
        yield layer.other_weights, maps.read(layer.name), maps.one


@dataclass(frozen=True)
class FittedCost:
    """An estimate of a measured cost: a fixed part, and for each term of a count a price that is never negative.

    Attributes:
        count: the terms.
        fixed: what does not depend on the units.
        prices: of one of what each term counts, shape (terms,).
    """

    count: CountedCost
    fixed: float
    prices: NDArray[np.float64]

    @classmethod
    def of(cls, count: CountedCost, kept: NDArray[np.int64], costs: NDArray[np.float64]) -> Self:
        """The estimate of least squared error (Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23).

        Args:
            count: the terms, e.g. the MACs of each layer.
            kept: units of the points that were measured, shape (points, groups).
            costs: what was measured, shape (points,).
        """
        scale = np.maximum(count.terms(kept).max(axis=0), 1)
        table = np.concatenate([np.ones((len(kept), 1)), count.terms(kept) / scale], axis=1)
        prices = nnls(table, costs)[0]
        return cls(count, float(prices[0]), prices[1:] / scale)

    def __call__(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """The estimate, shape (...)."""
        return np.asarray(self.fixed + self.count.terms(kept) @ self.prices, np.float64)
