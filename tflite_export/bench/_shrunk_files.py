"""The files that a model becomes with some of its channels."""

import functools
from collections.abc import Callable, Mapping

import keras
import numpy as np

from tf_structprune.graph import trace
from tf_structprune.layers import rebuild
from tf_structprune.masks import kept_space
from tf_structprune.shrink import plan_shrink
from tflite_export.file import TFLiteFile

_HELD = 8  # the files that were made last, for costs that look at the same one after the other


class ShrunkFiles:
    """Makes the file of a model shrunk to some of its channels; which of them stay makes no difference to its cost.

    Args:
        masked: a model from `wrap`; it is not changed, and its own masks do not count.
        make: makes the file of a shrunk model.
    """

    def __init__(self, masked: keras.Model, make: Callable[[keras.Model], TFLiteFile]) -> None:
        self.graph = trace(masked)
        self.sizes = {group.name: group.size for group in self.graph.prunable_groups}
        self._masked, self._make = masked, make
        self._held = functools.lru_cache(_HELD)(self._file)

    @functools.cached_property
    def whole(self) -> TFLiteFile:
        """The file of the whole model."""
        return self._file(tuple(self.sizes.items()))

    def of(self, kept: Mapping[str, int]) -> TFLiteFile:
        """The file with the first so many units of each group; groups that are not named are whole.

        Raises:
            ValueError: counts that the groups cannot or may not keep, or a group that is not there.
        """
        counts = {**self.sizes, **kept}
        return self.whole if counts == self.sizes else self._held(tuple(counts.items()))

    def _file(self, counts: tuple[tuple[str, int], ...]) -> TFLiteFile:
        first = {name: np.zeros(size) for name, size in self.sizes.items()}  # ties keep the first channels
        masks = kept_space(self.graph, dict(counts)).top(first)
        return self._make(rebuild(self._masked, plan_shrink(self.graph, masks).cuts))
