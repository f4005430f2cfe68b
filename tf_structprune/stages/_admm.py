"""The steps of ADMM pruning on a masked model: projection, dual update, hard masks."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation import Allocation
from tf_structprune.channels import PrunableGraph
from tf_structprune.fixed_point import Grid
from tf_structprune.graph import kernel_view, named_layers
from tf_structprune.layers import MaskedLayer, MaskedModel
from tf_structprune.masks import (
    FEATURE_MAP,
    Granularity,
    Importance,
    MaskSet,
    MaskSpace,
    PatternOptions,
    as_granularity,
    kept_space,
    mask_space,
    masks_by_layer,
)
from tf_structprune.measure import sum_of_units

Views = dict[str, NDArray[np.float64]]
"""By layer, values of its kernel, shape (positions, inputs / groups, outputs)."""


@dataclass(frozen=True)
class Constraint:
    """The set that ADMM projects weights onto: so many of them zero, in units; on a grid, where there is one.

    Attributes:
        granularity: what goes together.
        sparsity: fraction of all prunable weights that is zero, in [0, 1); or, for feature maps, an `Allocation`.
        grid: the numbers that the others may be, fitted to each layer; None for all.
    """

    granularity: Granularity
    sparsity: float | Allocation
    grid: Grid | None = None

    def masks(self, masked: MaskedModel, values: Views) -> MaskSet:
        """The masks that keep the most of some values, on top of those that the model holds.

        Raises:
            ValueError: see `mask_space` and `kept_space`.
        """
        name = as_granularity(self.granularity).name
        return self._space(masked).top(_squares(masked.graph, name, values))

    def _space(self, masked: MaskedModel) -> MaskSpace:
        if isinstance(self.sparsity, Allocation):
            self.sparsity.check(masked.graph)
            return kept_space(masked.graph, self.sparsity.kept, base=masked.masks)
        patterns = PatternOptions(polarity=masked.polarity)
        return mask_space(masked.graph, self.granularity, self.sparsity, base=masked.masks, patterns=patterns)

    def project(self, masked: MaskedModel, values: Views) -> Views:
        """The nearest point of the set.

        For single weights, kernels and patterns it is the nearest indeed. Blocks of kernels and feature maps are ranked
        by the squares of all their weights; those of a map lie in the layers that make it and in those that read it.
        """
        kept = masks_by_layer(masked.graph, self.masks(masked, values), masked.polarity)
        return {name: self._on_grid(np.where(kept[name].kept, view, 0.0)) for name, view in values.items()}

    def _on_grid(self, view: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.grid is None or not view.any():
            return view
        calibration = self.grid.fit(view)
        numbers = self.grid.numbers(self.grid.words(view, calibration), calibration)
        return np.where(view == 0, 0.0, numbers)


@dataclass(frozen=True)
class Pulls:
    """The layers of a masked model that can be pulled.

    Attributes:
        masked: the model.
        layers: by name.
    """

    masked: MaskedModel
    layers: Mapping[str, MaskedLayer] = field(repr=False)

    @classmethod
    def of(cls, masked: MaskedModel) -> "Pulls":
        """Those of a model.

        Raises:
            ValueError: it was wrapped without.
        """
        layers = masked_layers(masked)
        if not all(layer.pulled for layer in layers.values()):
            raise ValueError(
                f"Model '{masked.model.name}' has nothing that ADMM could pull its weights to. Received: one that was "
                "wrapped without it. Use wrap(model, admm=True)."
            )
        return cls(masked, layers)

    def begin(self, constraint: Constraint, rho: float | Mapping[str, float]) -> None:
        """Z = P(W), U = 0, and pull from now on.

        Args:
            constraint: what to project onto.
            rho: weight of the pull, of all layers or by name or pattern.

        Raises:
            ValueError: a layer without a weight, or see `mask_space`.
        """
        weights = {name: _rho_of(name, rho) for name in self.layers}
        target = constraint.project(self.masked, self.kernels())
        for name, layer in self.layers.items():
            self._set(name, target[name], np.zeros_like(target[name]))
            layer.pull_rho.assign(weights[name])

    def step(self, constraint: Constraint) -> float:
        """Z = P(W + U), U = U + W - Z.

        Returns:
            How far the weights are from the set, |W - Z| / |W|.
        """
        kernels = self.kernels()
        moved = {
            name: kernel + _view(self.layers[name], self.layers[name].pull_dual) for name, kernel in kernels.items()
        }
        nearest = constraint.project(self.masked, moved)
        for name in self.layers:
            dual = moved[name] - nearest[name]
            self._set(name, nearest[name] - dual, dual)
        away = sum(float(np.sum((kernels[name] - nearest[name]) ** 2)) for name in kernels)
        return float(np.sqrt(away / max(sum(float(np.sum(kernel**2)) for kernel in kernels.values()), 1e-30)))

    def finish(self, constraint: Constraint) -> None:
        """Hard masks by the weights as they are, which are put on the grid if there is one; pull no more."""
        kernels = self.kernels()
        nearest = constraint.project(self.masked, kernels)
        self.masked.set_masks(constraint.masks(self.masked, kernels))
        if constraint.grid is not None:
            for name, layer in self.layers.items():
                layer.kernel_variable.assign(self._restored(name, nearest[name]))
        self.let_go()

    def let_go(self) -> None:
        """Pull no more."""
        for layer in self.layers.values():
            for variable in (layer.pull_target, layer.pull_dual, layer.pull_rho):
                variable.assign(np.zeros(variable.shape, np.float32))

    def kernels(self) -> Views:
        """The kernels with the masks that the model holds."""
        return kernels_of(self.layers)

    def _set(self, name: str, target: NDArray[np.float64], dual: NDArray[np.float64]) -> None:
        layer = self.layers[name]
        layer.pull_target.assign(self._restored(name, target))
        layer.pull_dual.assign(self._restored(name, dual))

    def _restored(self, name: str, view: NDArray[np.float64]) -> NDArray[np.float32]:
        restored: NDArray[np.float64] = kernel_view(self.layers[name], self.layers[name].positions).restore(view, np)
        return restored.astype(np.float32)


def masked_layers(masked: MaskedModel) -> dict[str, MaskedLayer]:
    """The layers of a model whose kernels have masks, by name."""
    return {name: layer for name, layer in named_layers(masked.model).items() if isinstance(layer, MaskedLayer)}


def kernels_of(layers: Mapping[str, MaskedLayer]) -> Views:
    """The kernels of some layers with the masks that they hold, shape (positions, inputs / groups, outputs)."""
    return {name: _view(layer, layer.masked_variable()) for name, layer in layers.items()}


def _view(layer: MaskedLayer, variable: object) -> NDArray[np.float64]:
    values = np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
    view: NDArray[np.float64] = kernel_view(layer, layer.positions).view(values, np)
    return view


def _squares(graph: PrunableGraph, granularity: str, values: Views) -> Importance:
    """What each unit has of the squares of the weights."""
    squares = {name: view**2 for name, view in values.items()}
    made = sum_of_units(graph, granularity, squares)
    if granularity != FEATURE_MAP:
        return made
    read = np.zeros(graph.unit_count)
    for layer in graph.layers:
        by_input = np.zeros(layer.inputs)
        np.add.at(by_input, layer.input_of_kernel, squares[layer.name].sum(axis=0))
        np.add.at(read, graph.channels[layer.name].inputs, by_input)
    return {group.name: made[group.name] + read[group.units] for group in graph.prunable_groups}


def _rho_of(name: str, rho: float | Mapping[str, float]) -> float:
    if not isinstance(rho, Mapping):
        return rho
    found = [weight for pattern, weight in rho.items() if pattern == name or fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise ValueError(
            f"Layer '{name}' has no rho. Received: rho for {', '.join(rho)}. Add it, or '*' for the others."
        )
    return found[0]
