"""Which candidates need no further samples: sequential paired tests on growing parts of the data."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tf_structprune.scoring._strata import Strata

Values = NDArray[np.float64]
Evaluate = Callable[[Sequence[int], Sequence[int]], Values]

CONFIDENCE = 0.9995  # at 0.999 one race of 3,000 on ResNet-8 lost the best of 50 by 1.55 points
FIRST = 128  # samples that every candidate is scored on, at least
_GROWTH = 1.25  # looking often costs nothing but a stricter test


@dataclass(frozen=True)
class Raced:
    """Scores of candidates, of which some were not scored on all samples.

    Attributes:
        scores: by candidate, shape (candidates,). Of one that was stopped, the best one's score plus the mean
            difference to it on the samples that both have seen, and less than the best one's.
        samples: how many samples each was scored on, shape (candidates,).
    """

    scores: Values
    samples: NDArray[np.int64]


def stages(batches: int, first: int) -> Iterator[range]:
    """Batches in runs of at least `first`, each a quarter of what was seen before: 1, 1, 1, 1, 1, 2, 2, 3 and so on."""
    begin, end = 0, min(first, batches)
    while begin < batches:
        yield range(begin, end)
        begin, end = end, min(max(end + first, math.ceil(_GROWTH * end)), batches)


def race(
    evaluate: Evaluate,
    candidates: int,
    sizes: Sequence[int],
    *,
    strata: Strata | None = None,
    enough: float | None = None,
) -> Raced:
    """Score candidates on more and more samples; stop those that cannot win with 99.95 % confidence.

    After each run of batches every candidate is compared with the one that leads, sample by sample (their
    errors on the same samples go together, so the difference varies far less than either score). The final mean
    difference over all N samples, seen from n of them drawn without replacement, has the standard error
    s / sqrt(n) * sqrt(1 - n / N); a candidate that is further behind than the one-sided 99.95 % quantile of it,
    shared among all looks (Bonferroni), is not scored on the rest. This is a Hoeffding race (Maron and Moore,
    NIPS 1993) with a normal instead of Hoeffding's bound, and paired as in Moore and Lee, ICML 1994.

    Candidates that are far from trained differ most in the classes that they still know. Where every part of the
    samples has as much of each class as all have, that adds nothing to the error: s is then the deviation within the
    strata (proportional allocation; Cochran, Sampling Techniques, 1977, chapter 5).

    Args:
        evaluate: scores of some candidates on some batches, shape (candidates, samples); minus infinity on one sample
            is the score of a candidate, which is then stopped.
        candidates: how many there are.
        sizes: samples of each batch, in random order.
        strata: stratum of each sample in the order of the batches, over which the samples are spread evenly, see
            `spread`, shape (samples,); None for one.
        enough: stop all others as soon as one has this score on all samples.

    Returns:
        Scores, exact for every candidate that was not stopped, at least for the best one.
    """
    runs, edges = list(stages(len(sizes), -(-FIRST // sizes[0]))), np.concatenate([[0], np.cumsum(sizes)])
    total = int(edges[-1])
    inside = np.eye(int(strata.max()) + 1)[strata] if strata is not None else np.ones((total, 1))
    quantile = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / max(1, len(runs) - 1))
    seen = np.full((candidates, total), np.nan)
    alive = np.arange(candidates)

    def look(rows: NDArray[np.int64], batches: Sequence[int]) -> None:
        begin, end = edges[batches[0]], edges[batches[-1] + 1]
        seen[rows, begin:end] = evaluate(rows.tolist(), batches)

    for run in runs:
        end = edges[run[-1] + 1]
        look(alive[np.isnan(seen[alive, end - 1])], run)
        if end == total:
            break
        alive = alive[np.isfinite(seen[alive, :end]).all(axis=1)]
        if not len(alive):
            break
        alive = _still_racing(seen[alive, :end], inside[:end], total, quantile, alive)
        means = seen[alive, :end].mean(axis=1)
        leader = alive[[int(means.argmax())]]
        if enough is not None and means.max() >= enough and np.isnan(seen[leader, -1]):
            look(leader, range(run[-1] + 1, len(sizes)))
            if seen[leader].mean() >= enough:
                break
    if len(left := _left_alone(seen)):
        look(left, range(len(sizes)))
    return _finished(seen)


def _left_alone(seen: Values) -> NDArray[np.int64]:
    """Candidates that were stopped by one whose outputs turned out not to be finite, as all others' did."""
    dead, whole = np.isneginf(seen).any(axis=1), ~np.isnan(seen).any(axis=1)
    return np.flatnonzero(~dead) if dead.any() and not (whole & ~dead).any() else np.zeros(0, np.int64)


def _still_racing(
    seen: Values, inside: Values, total: int, quantile: float, alive: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The candidates that may still win; `inside` is 1 where a sample is of a stratum, shape (samples, strata)."""
    count = seen.shape[1]
    behind = seen[int(seen.mean(axis=1).argmax())] - seen
    sizes = inside.sum(axis=0)
    means = behind @ inside / np.maximum(sizes, 1)
    squares = np.square(behind).sum(axis=1) - np.square(means) @ sizes
    # One more sample with the largest difference seen keeps few equal samples from being certain of anything.
    variance = (squares + np.square(behind).max(axis=1)) / max(count + 1 - np.count_nonzero(sizes), 1)
    error = np.sqrt(np.maximum(variance, 0) / count * (1 - count / total))
    still: NDArray[np.int64] = alive[behind.mean(axis=1) <= quantile * error]
    return still


def _finished(seen: Values) -> Raced:
    known = ~np.isnan(seen)
    samples = known.sum(axis=1)
    scores = np.full(len(seen), -np.inf)
    whole = known.all(axis=1)
    scores[whole] = seen[whole].mean(axis=1)
    best = int(scores.argmax())
    for index in np.flatnonzero(~whole & ~np.isneginf(seen).any(axis=1)):
        part = known[index]
        behind = (seen[best, part] - seen[index, part]).mean()
        scores[index] = min(scores[best] - behind, np.nextafter(scores[best], -np.inf))
    return Raced(scores, samples.astype(np.int64))
