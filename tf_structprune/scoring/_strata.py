"""Samples sorted into strata by their targets, so that every part of them has as much of each as all have."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.task import sample_values

Strata = NDArray[np.int64]

_MOST = 16  # strata: more of them gain little
_LEAST = 8  # samples of a stratum in the first part of all, from which its deviation is estimated


def strata_of(targets: Any, *, first: int) -> Strata:
    """The stratum of each sample, shape (samples,), numbered from 0.

    Samples of one class are in one stratum, rare classes share one. Of a row of values the largest names the class.
    Targets that are no classes are taken by size, those for every place (e.g. segmentation maps) by their mean.

    Args:
        targets: an array, or one for each output of the model, of which the first decides.
        first: samples of the smallest part that is looked at.
    """
    values = sample_values(targets)
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    least = len(values) / max(1, min(_MOST, first // _LEAST))
    stratum_of_value = np.empty(len(counts), np.int64)
    stratum = size = 0
    left = len(values)
    for value, count in enumerate(counts.tolist()):
        if size >= least and left >= least:
            stratum, size = stratum + 1, 0
        stratum_of_value[value] = stratum
        size, left = size + count, left - count
    return np.asarray(stratum_of_value[index.ravel()])


def spread(strata: Strata, rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order in which every part has nearly as much of each stratum as all samples have.

    Args:
        strata: stratum of each sample, shape (samples,).
        rng: source of the order.

    Returns:
        Indices of the samples, shape (samples,).
    """
    places = np.empty(len(strata))
    for stratum in np.unique(strata):
        inside = rng.permutation(np.flatnonzero(strata == stratum))
        places[inside] = (np.arange(len(inside)) + rng.random()) / len(inside)
    return places.argsort(kind="stable")
