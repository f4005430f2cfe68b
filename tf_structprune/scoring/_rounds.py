"""What is decided for a round of candidates as a whole; it needs the model, but no samples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph
from tf_structprune.graph import Flow, LayerCall, core_layer, list_calls, named_layers, rule_for
from tf_structprune.layers import MaskedModel, MaskedNormalization
from tf_structprune.masks import GRANULARITIES, MaskSet
from tf_structprune.scoring._changes import Change, varied_layers

_WORTH_A_NETWORK = 4  # candidates of equal sizes for which a thin network is made and compiled


@dataclass(frozen=True)
class Round:
    """On which networks the candidates of a round are run.

    Attributes:
        varied: layers in which candidates differ, in this round or an earlier one.
        thin: sizes for which a network is made, the candidates of other sizes share one.
        union: units that one of those others keeps, shape (graph.unit_count,).
    """

    varied: frozenset[str]
    thin: frozenset[Any]
    union: NDArray[np.bool_]


class Rounds:
    """Decides round after round.

    Args:
        masked: the model, which is not changed.

    Attributes:
        graph: the traced model.
        base: masks that the model has, on top of which candidates come.
    """

    def __init__(self, masked: MaskedModel) -> None:
        self.graph, self.base, self._polarity = masked.graph, masked.masks, masked.polarity
        self._baked = _baked_layers(masked.model, self.graph)
        self._must_cut = any(isinstance(layer, MaskedNormalization) for layer in named_layers(masked.model).values())
        self._varied: frozenset[str] = frozenset()
        self._reference: Change | None = None

    def change(self, candidate: MaskSet) -> Change:
        """A candidate on top of the masks that the model has."""
        masks = self.base
        for kind in GRANULARITIES:
            masks = masks.updated(kind, candidate.of(kind))
        return Change(self.graph, masks, self._polarity)

    def next(self, changes: Sequence[Change]) -> Round:
        """The networks of a round of candidates."""
        self._reference = self._reference or changes[0]
        self._varied |= varied_layers([self._reference, *changes])
        often = Counter(self.sizes(change) for change in changes)
        thin = frozenset(sizes for sizes, count in often.items() if self._must_cut or count >= _WORTH_A_NETWORK)
        rest = [change.keep for change in changes if self.sizes(change) not in thin]
        union = np.logical_or.reduce(rest) if rest else np.ones(self.graph.unit_count, np.bool_)
        return Round(self._varied, thin, union)

    def sizes(self, change: Change) -> Any:
        """Equal for candidates that fit the same thin network."""
        return change.sizes, tuple(change.by_layer[name] for name in self._baked)


def _baked_layers(masked: keras.Model, graph: PrunableGraph) -> tuple[str, ...]:
    """Layers whose cut is more than the values of their variables."""
    found = [call.name for call in list_calls(masked).calls if call.name in graph.channels and _is_baked(call)]
    return tuple(dict.fromkeys(found))


def _is_baked(call: LayerCall) -> bool:
    """Whether a cut changes arguments of an operation, or copies that a layer makes of its weights."""
    if isinstance(core_layer(call.layer), keras.layers.Normalization):
        return True
    rule = rule_for(call.layer)
    others = len(call.args) + len(call.kwargs) - len(call.inputs)
    return rule is not None and rule.flow in (Flow.SLICE, Flow.JOIN) and others > 0
