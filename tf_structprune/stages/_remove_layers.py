"""Layers that go whole: the rest makes up for them; which ones, by what it cannot make up for."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.allocation import Budget, CountedCost, OutOfReachError
from tf_structprune.fuse import Removable, as_functional, find_removable, hollowed, without_passed
from tf_structprune.graph import named_in_keep, named_layers, trace, weight_shapes
from tf_structprune.layers import MaskedModel, is_fixed_point, is_masked, rebuild, wrap
from tf_structprune.masks import WEIGHT
from tf_structprune.reconstruct import RIDGE
from tf_structprune.stages._calibrate import check_samples
from tf_structprune.stages._reconstruct import Reconstruct, check_reconstruct
from tf_structprune.stages._reconstructing import Reconstructing
from tf_structprune.task import Samples

_BATCH = 256
_FEWEST = 4  # samples, of which half are measured on
_LEAST = 1e-9  # of an error: what is removed for nothing still costs less the more it saves


def remove_layers(
    model: keras.Model,
    names: Sequence[str],
    *,
    samples: Any = None,
    mode: Reconstruct = "full",
    ridge: float = RIDGE,
    seed: int = 0,
) -> keras.Model:
    """A plain model without some of its layers; what they read is left in their place, and the rest makes up for them.

    Where a residual block goes, the shortcut stays; where a convolution goes, so do its normalizations. With samples
    the layers behind are solved by least squares towards what they computed, as in `reconstruct`.

    Args:
        model: a built Sequential or functional model, without masks and quantizers; it is not changed.
        names: paths of convolutions, and of the sums in which residual blocks end, see `fuse.find_removable`.
        samples: as the model takes them, without labels, some hundred; None to leave all weights as they are.
        mode: of the reconstruction.
        ridge: likewise.
        seed: likewise.

    Raises:
        TypeError: not a Keras model.
        ValueError: a name of nothing that may go, with the reason; a model with masks or in fixed point; or what
            `reconstruct` refuses.
    """
    _check_plain(model)
    check_reconstruct(mode)
    hollow = hollowed(model, names)
    if samples is not None and mode != "none" and trace(hollow).layers:
        hollow = _made_up(model, hollow, check_samples(model, samples), mode=mode, ridge=ridge, seed=seed)
    return without_passed(hollow)


def _made_up(
    model: keras.Model, hollow: keras.Model, samples: Samples, *, mode: Reconstruct, ridge: float, seed: int
) -> keras.Model:
    """The hollowed model with weights that make up for what went."""
    handle = MaskedModel(wrap(hollow, granularity=WEIGHT, keep_first=False, keep_last=False))
    rng, reference = np.random.default_rng(seed), as_functional(model)
    report = Reconstructing(handle, samples, ridge, rng, solving=mode == "full", reference=reference).report()
    logging.debug("Reconstruction: %s", report)
    return rebuild(handle.model, {})


@dataclass(frozen=True)
class LayerChoice:
    """Which layers go.

    Attributes:
        names: in the order in which they were chosen.
        error: squared error of the outputs without them, after the rest made up for it, as a share of their variance.
        kept: the layers that could have gone too.
        skipped: by path of a convolution that may not, the reason.
    """

    names: tuple[str, ...]
    error: float
    kept: tuple[str, ...]
    skipped: dict[str, str]


def find_layers(
    model: keras.Model,
    fits: Callable[[keras.Model], bool],
    samples: Any,
    *,
    price: Callable[[keras.Model], float] | None = None,
    keep: Sequence[str] = (),
    mode: Reconstruct = "full",
    seed: int = 0,
    tell: Callable[[str], None] = logging.debug,
) -> LayerChoice:
    """The layers without which a model fits, and whose removal the rest can best make up for; no labels, no training.

    Greedy: the next one to go is that which adds the least error for what it saves, both together with those that are
    gone. Errors of later steps are looked at only where those of earlier ones say that it may matter (lazy evaluation,
    Minoux, 1978). At last, what need not have gone comes back.

    Args:
        model: a built Sequential or functional model, without masks and quantizers; it is not changed.
        fits: whether a model, without layers and with any weights, is small enough.
        samples: as the model takes them, without labels, 4 or more; on half of them weights are solved, on half errors
            measured.
        price: what a model costs, of which a layer saves a part; MACs if not given.
        keep: names or patterns of layers that stay.
        mode: how the rest makes up for what goes, see `reconstruct`.
        seed: likewise.
        tell: is told what is tried.

    Raises:
        TypeError: not a Keras model.
        ValueError: no layer that may go; a name to keep that is none; masks, quantizers, samples that are not the
            model's, too few, or of which it says the same; or a price that is no number, or that no layer lowers.
        OutOfReachError: it does not fit without all of them.
    """
    _check_plain(model)
    units, skipped = find_removable(as_functional(model))
    stay = set(named_in_keep(model.name, list(named_layers(model)), keep))
    units = {name: unit for name, unit in units.items() if stay.isdisjoint(unit.gone)}
    if not units:
        told = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise ValueError(
            f"Model '{model.name}' has no layer that may go whole. Received: {told or 'none'}. Use a model with "
            "residual blocks, or with convolutions that keep the shape; or granularity='feature_map'."
        )
    search = _Search(model, units, _enough(check_samples(model, samples)), price or _macs, mode, seed, tell)
    chosen = search.until(fits)
    return LayerChoice(chosen, search.error(chosen), tuple(n for n in units if n not in chosen), skipped)


@dataclass
class _Search:
    """What is known of a model without some of its layers."""

    model: keras.Model
    units: dict[str, Removable]
    samples: Samples
    price: Callable[[keras.Model], float]
    mode: Reconstruct
    seed: int
    tell: Callable[[str], None]
    _errors: dict[frozenset[str], float] = field(default_factory=dict, init=False)
    _prices: dict[frozenset[str], float] = field(default_factory=dict, init=False)

    def until(self, fits: Callable[[keras.Model], bool]) -> tuple[str, ...]:
        """The layers to remove, in order."""
        if not fits(self.without(tuple(self.units))):
            raise self._out_of_reach()
        chosen: tuple[str, ...] = ()
        known = [(0.0, index, -1) for index in range(len(self.units))]  # loss for what it saves, unit, at which step
        names = list(self.units)
        while not fits(self.without(chosen)):
            chosen += (self._next(known, names, chosen),)
            self.tell(f"without {chosen[-1]}: error {self.error(chosen):.1%}")
        return self._needed(chosen, fits)

    def _next(self, known: list[tuple[float, int, int]], names: list[str], chosen: tuple[str, ...]) -> str:
        """The layer that goes next: the first whose loss, looked at with all that are gone, is least."""
        while known:
            _, index, step = heapq.heappop(known)
            if step == len(chosen):
                return names[index]
            if (found := self._loss(chosen, names[index])) is not None:
                heapq.heappush(known, (found, index, len(chosen)))
        if chosen and self._price(chosen) <= self._price(tuple(self.units)):
            raise self._out_of_reach()  # what is measured, as a latency, may fit once and not again
        raise ValueError(
            f"No further layer lowers the price of model '{self.model.name}', which does not fit yet. Received: a "
            f"price of {self._price(chosen):g} without {', '.join(chosen) or 'any removal'}. Use a price that falls "
            "with what is removed, such as MACs."
        )

    def _out_of_reach(self) -> OutOfReachError:
        return OutOfReachError(
            f"Model '{self.model.name}' does not fit without all layers that may go. Received: {len(self.units)} "
            f"of them, {', '.join(self.units)}. Use a larger budget, or feature_map."
        )

    def _loss(self, chosen: tuple[str, ...], name: str) -> float | None:
        """Error that a layer adds for each part of the price that it saves; None where it saves nothing more."""
        saved = self._price(chosen) - self._price((*chosen, name))
        if saved <= 0:
            return None
        return max(self.error((*chosen, name)) - self.error(chosen), _LEAST) / saved

    def _price(self, names: tuple[str, ...]) -> float:
        key = frozenset(names)
        if key not in self._prices:
            self._prices[key] = float(self.price(self.without(names)))
            if not np.isfinite(self._prices[key]):
                raise ValueError(
                    f"The price of a model must be a finite number. Received: {self._prices[key]} for "
                    f"'{self.model.name}' without {', '.join(names) or 'any removal'}. Use e.g. its MACs."
                )
        return self._prices[key]

    def _needed(self, chosen: tuple[str, ...], fits: Callable[[keras.Model], bool]) -> tuple[str, ...]:
        """Without those that can come back, the last ones to go first."""
        for name in reversed(chosen):
            fewer = tuple(other for other in chosen if other != name)
            if fits(self.without(fewer)):
                chosen = fewer
        return chosen

    def without(self, names: tuple[str, ...]) -> keras.Model:
        """The model without some layers, with the weights that it has."""
        return without_passed(hollowed(self.model, names)) if names else self.model

    def error(self, names: tuple[str, ...]) -> float:
        """What the rest cannot make up for, see `LayerChoice`."""
        key = frozenset(names)
        if not key:
            return 0.0
        if key not in self._errors:
            solved, measured = self._halves()
            made = remove_layers(self.model, names, samples=solved, mode=self.mode, seed=self.seed)
            self._errors[key] = _error(*(_outputs(each, measured) for each in (self.model, made)))
        return self._errors[key]

    def _halves(self) -> tuple[Samples, Samples]:
        """Samples to solve on, and to measure on; the same ones where there is but one."""
        half = len(self.samples) // 2
        return self.samples[half:], self.samples[:half]


def _enough(samples: Samples) -> Samples:
    """The samples, refused where halves of them tell nothing."""
    if len(samples) < _FEWEST:
        raise ValueError(
            f"find_layers solves weights on half of the samples and measures errors on the others. Received: "
            f"{len(samples)}. Use {_FEWEST} or more, e.g. x_train[:256]."
        )
    return samples


def _outputs(model: keras.Model, x: Samples) -> list[NDArray[np.float64]]:
    """Outputs, each a row a sample; without `predict`, which compiles each of the many models."""
    batches = [
        keras.tree.flatten(model(x[start : start + _BATCH].for_model(model), training=False))
        for start in range(0, len(x), _BATCH)
    ]
    return [
        np.concatenate([keras.ops.convert_to_numpy(each) for each in output]).astype(np.float64)
        for output in zip(*batches, strict=True)
    ]


def _error(wanted: list[NDArray[np.float64]], found: list[NDArray[np.float64]]) -> float:
    """Squared error as a share of the variance, the mean of all outputs; infinite where it is not finite."""
    shares = []
    for want, find in zip(wanted, found, strict=True):
        spread = ((want - want.mean(axis=0)) ** 2).sum()
        if not spread > 0:
            raise ValueError(
                f"The model says the same of all samples that errors are measured on. Received: {len(want)} of them. "
                "Use other samples, e.g. x_train[:256]."
            )
        shares.append(((want - find) ** 2).sum() / spread)
    error = float(np.mean(shares))
    return error if np.isfinite(error) else np.inf


def counted_cost(model: keras.Model, budget: Budget) -> float:
    """What a plain model costs, in what a budget counts: MACs, parameters or bytes."""
    graph = trace(model)
    whole = np.array([group.size for group in graph.prunable_groups])
    return float(CountedCost.of(budget, graph, weight_shapes(model, graph))(whole))


def _macs(model: keras.Model) -> float:
    return float(trace(model).macs)


def _check_plain(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}. Load a file first.")
    if is_masked(model) or is_fixed_point(model):
        kind = "masks" if is_masked(model) else "quantizers"
        raise ValueError(
            f"Model '{model.name}' has {kind}, and layers go from a plain one. Received: a model with {kind}. Remove "
            "layers first, or shrink or unwrap it."
        )
