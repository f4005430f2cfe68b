"""Masks that keep what a score says is worth most, chosen again and again while a model trains."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from tf_structprune.layers import MaskedModel
from tf_structprune.masks import (
    FEATURE_MAP,
    Demands,
    Granularity,
    Importance,
    MaskSet,
    PatternOptions,
    Weight,
    as_granularity,
    mask_space,
)
from tf_structprune.measure import SparseTaylor, sum_of_units
from tf_structprune.stages._magnitude import magnitude_masks

RankedBy = Literal["taylor", "magnitude", "random"]


@dataclass
class RankedMasks:
    """Chooses masks of a model by its weights as they are at the moment.

    Attributes:
        masked: the model.
        score: "taylor", see `measure.SparseTaylor`; "magnitude", squares of weights; "random", one draw that all calls
            have in common, so that masks of more sparsity lie within those of less.
        granularity: what goes together, no feature maps.
        seed: of the draw.
        samples: (x, y) of "taylor".
    """

    masked: MaskedModel
    score: RankedBy
    granularity: Demands
    seed: int = 0
    samples: tuple[Any, Any] | None = None
    _taylor: SparseTaylor | None = field(default=None, init=False)

    def masks(self, sparsity: float, base: MaskSet) -> MaskSet:
        """The masks that keep the units with the highest scores, of those that others keep.

        Args:
            sparsity: fraction of all prunable weights that is gone in the end.
            base: what may be kept. The scores are those with the masks that the model holds, which may be others.

        Raises:
            ValueError: see `mask_space` and `measure.taylor`.
        """
        masked, kind = self.masked, self.granularity
        if self.score == "magnitude":
            held = masked.masks
            found = magnitude_masks(masked, kind, sparsity, given=base)
            masked.set_masks(held)
            return found
        patterns = PatternOptions(polarity=masked.polarity)
        space = mask_space(masked.graph, kind, sparsity, base=base, patterns=patterns)
        return space.top(self._drawn() if self.score == "random" else self._learned(kind.name))

    def _drawn(self) -> Importance:
        rng = np.random.default_rng(self.seed)
        views = {
            layer.name: np.ones((layer.positions, layer.inputs // layer.groups, layer.outputs))
            for layer in self.masked.graph.layers
        }
        units = sum_of_units(self.masked.graph, self.granularity.name, views)
        return {name: rng.random(each.shape) for name, each in units.items()}

    def _learned(self, granularity: str) -> Importance:
        if self._taylor is None:
            x, y = (None, None) if self.samples is None else self.samples
            self._taylor = SparseTaylor(self.masked.model, self.masked.graph, x, y)
        return self._taylor(granularity)


def check_ranking(score: RankedBy, granularity: Granularity | None, samples: Any) -> Demands:
    """What masks are chosen by, refused where it cannot be.

    Args:
        score: of `RankedMasks`.
        granularity: likewise, as users give it; None for single weights, all layers ranked together.
        samples: (x, y).

    Raises:
        ValueError: an unknown score, feature maps, or a score that needs labels without any.
    """
    if score not in get_args(RankedBy):
        raise ValueError(f"Unknown score. Received: score={score!r}. Use one of: {', '.join(get_args(RankedBy))}.")
    if score == "taylor":
        labelled = isinstance(samples, (tuple, list)) and len(samples) == 2 and samples[1] is not None
        if not labelled:
            told = "no samples" if samples is None else "samples without labels"
            raise ValueError(
                f"score='taylor' needs the gradient of a loss. Received: {told}. Give samples=(x_train[:1000], "
                "y_train[:1000]), or use score='magnitude', which needs none."
            )
    kind = Weight(across="model") if granularity is None else as_granularity(granularity)
    if kind.name == FEATURE_MAP:
        raise ValueError(
            "A removed feature map has no gradient by which it could come back. Received: granularity='feature_map'. "
            "Use StructuredPruning(search=search.Taylor(), ...) for maps, and this for the weights of what it leaves."
        )
    return kind
