"""Score candidates without running any: by what the layers are predicted to lose when the kept weights are solved."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np

from tf_structprune.layers import MaskedModel, check_masks
from tf_structprune.masks import MaskSet
from tf_structprune.measure import layer_inputs_of
from tf_structprune.reconstruct import RIDGE, LayerInputs, Moments, solve
from tf_structprune.scoring._changes import Change
from tf_structprune.scoring._rounds import Rounds
from tf_structprune.scoring._scorer import Scores
from tf_structprune.search import Metric

RECONSTRUCTION = "reconstruction"
ERROR = Metric("reconstruction error", falls=True)
"""The sum over the layers of the squared error of what each gives, as a share of its variance."""


class PredictedScorer:
    """Scores candidates by the squared error that least squares cannot make up for, from moments of the dense model.

    For each layer the kept weights are solved for what it reads in the model with its present masks; a candidate costs
    a factorization of each layer that it changes, and no forward pass. What layers lose by reading the outputs of
    others that lost something is not seen.

    Args:
        masked: a model from `wrap`, whose weights must not change as long as the scorer is used.
        x: samples as the model takes them, without labels; a thousand of them are used.
        seed: of their choice.

    Raises:
        ValueError: a model without masks, or samples that do not fit it.
    """

    def __init__(self, masked: keras.Model | MaskedModel, x: Any, *, seed: int = 0) -> None:
        self._handle = MaskedModel.of(masked)
        self._rounds = Rounds(self._handle)
        self._x, self._seed = x, seed
        self._known: dict[tuple[str, bytes], float] = {}

    @cached_property
    def layers(self) -> dict[str, LayerInputs]:
        """Kernels of all layers and moments of what they read, which are taken when they are first needed."""
        model, graph = self._handle.model, self._handle.graph
        return layer_inputs_of(model, graph, [layer.name for layer in graph.layers], self._x, seed=self._seed)

    def score(self, candidates: Sequence[MaskSet], *, on_samples: Callable[[int], None] | None = None) -> Scores:
        """Minus the predicted error of each candidate.

        Args:
            candidates: sets of masks; entries that one lacks stay as the model has them.
            on_samples: there for the likeness to `Scorer`; no sample is seen.

        Raises:
            ValueError: no candidates, or masks that do not fit the model.
        """
        begun = time.perf_counter()
        if not len(candidates):
            raise ValueError("There is nothing to score. Received: no candidates. Give at least one.")
        for candidate in candidates:
            check_masks(self._handle.model, candidate, graph=self._handle.graph)
        values = np.array([-self._error(self._rounds.change(candidate)) for candidate in candidates])
        return Scores(values, np.zeros(len(values), np.int64), time.perf_counter() - begun)

    def close(self) -> None:
        """Nothing is held that needs letting go."""

    @cached_property
    def _moments(self) -> dict[str, Moments]:
        return _targets(self.layers)

    def _error(self, change: Change) -> float:
        total = 0.0
        for name in self._moments:
            key = name, change.by_layer[name]
            if key not in self._known:
                self._known[key] = self._error_of(name, change)
            total += self._known[key]
        return total

    def _error_of(self, name: str, change: Change) -> float:
        """Error of a layer as a share of the variance of what it gives; outputs that are gone do not count."""
        kept, moments = change.kept_view(name), self._moments[name]
        variance = moments.variance.ravel()
        live = kept.any(axis=(0, 1))
        found = solve(moments, self.layers[name].kernel, kept, ridge=RIDGE).after
        return found * float(variance[live].sum()) / (float(variance.sum()) or 1.0)


def _targets(layers: Mapping[str, LayerInputs]) -> dict[str, Moments]:
    """What each layer gives now; one whose inputs are not known is left out."""
    return {name: layer.moments.of_weights(layer.kernel) for name, layer in layers.items() if layer.moments is not None}
