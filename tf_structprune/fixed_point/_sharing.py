"""Weight sharing: a few values that many weights share, and which weight has which.

Four ways, of Marino, Ghidoli, Frasca, Malchiodi (arXiv 2108.12704, section 3): clustering, probabilistic, uniform, and
entropy-constrained. None looks at weights that are zero: those were pruned and stay so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point._format import finite

_Real = NDArray[np.float64]
_Index = NDArray[np.int64]

_LOOKED_AT = 2**13  # sorted weights, evenly taken, from which values are found; all weights then get one
_ROUNDS = 100  # of an iteration that has converged long before
_STOP = 1e-6  # relative fall of the cost at which it is left
_HALVINGS = 30  # of the interval in which lambda is searched
_CELLS = 3  # times as many as wanted to begin with, as the authors' code does
_FINER = 1.005  # ratio of two uniform steps that are tried one after the other


@dataclass(frozen=True)
class SharedValues:
    """What weights share.

    Attributes:
        book: the values, ascending and all different, shape (values,).
        index: which of them each weight has, shape (weights,).
    """

    book: _Real
    index: _Index

    @property
    def weights(self) -> _Real:
        """The weights as they are shared, shape (weights,)."""
        values: _Real = self.book[self.index]
        return values

    @property
    def entropy_bits(self) -> float:
        """Bits of an ideal code for one weight's index."""
        share = np.bincount(self.index) / max(1, len(self.index))
        share = share[share > 0]
        return float(-(share * np.log2(share)).sum())


def share_values(values: ArrayLike, count: int, method: str = "cws", *, seed: int = 0) -> SharedValues:
    """At most so many values for some weights.

    Args:
        values: finite weights, not zero, any shape; taken flat.
        count: largest number of different values, at least 2.
        method: "cws" groups weights around the means of clusters (Lloyd's iteration from quantiles); "pws" draws one of
            the two quantiles around a weight such that its mean is the weight; "uq" takes multiples of a step; "ecsq"
            groups them at the least squared error for the entropy of the groups (Chou, Lookabaugh, Gray 1989).
        seed: of "pws".

    Returns:
        The values themselves where there are not more of them than `count`.

    Raises:
        ValueError: fewer weights than values, a count below 2, an unknown method, or a weight that is not finite.
    """
    check_sharing(count, method)
    real = finite(values).ravel()
    if count > real.size:
        raise ValueError(
            f"More shared values than weights. Received: count={count} for {real.size} weights. Use at most {real.size}"
            ", or leave the layer out."
        )
    book, index = np.unique(real, return_inverse=True)
    if len(book) <= count:
        return SharedValues(book, index.ravel())
    shared = SHARINGS[method](real, count, np.random.default_rng(seed))
    used, index = np.unique(shared.index, return_inverse=True)
    return SharedValues(shared.book[used], index.ravel())


def check_sharing(count: int, method: str) -> None:
    """Refuses what no weights can be shared by.

    Raises:
        ValueError: a count below 2, or an unknown method.
    """
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 2:
        raise ValueError(f"Weights share 2 values or more. Received: count={count!r}. Use e.g. 16.")
    if method not in SHARINGS:
        raise ValueError(f"Unknown weight sharing. Received: method={method!r}. Use one of: {', '.join(SHARINGS)}.")


def nearest(values: _Real, book: _Real) -> _Index:
    """Index of the nearest of ascending values; ties go down."""
    index: _Index = np.searchsorted((book[1:] + book[:-1]) / 2, values)
    return index


def _clustered(values: _Real, count: int, rng: np.random.Generator) -> SharedValues:
    sample = _some(values)
    book = np.unique(np.quantile(sample, (np.arange(count) + 0.5) / count))
    least = np.inf
    for _ in range(_ROUNDS):
        index = nearest(sample, book)
        cost = float(((sample - book[index]) ** 2).sum())
        if cost >= least * (1 - _STOP):
            break
        book, least = _means(sample, index), cost
    return SharedValues(book, nearest(values, book))


def _probabilistic(values: _Real, count: int, rng: np.random.Generator) -> SharedValues:
    """Quantiles; a weight between two of them becomes one or the other, so that nothing changes on average."""
    book = np.unique(np.quantile(values, np.linspace(0, 1, count)))
    low = np.clip(np.searchsorted(book, values, side="right") - 1, 0, len(book) - 2)
    share = (values - book[low]) / (book[low + 1] - book[low])
    return SharedValues(book, low + (rng.random(len(values)) < share))


def _uniform(values: _Real, count: int, rng: np.random.Generator) -> SharedValues:
    """Multiples of the least step of which no more are needed; none is 0, which stands for what was pruned."""
    step = float(values.max() - values.min()) / (2 * count) or float(np.abs(values).max())
    while len(found := np.unique(_multiples(values, step))) > count:
        step *= _FINER
    return SharedValues(found * step, np.searchsorted(found, _multiples(values, step)))


def _multiples(values: _Real, step: float) -> _Real:
    whole = np.rint(values / step)
    return np.where(whole == 0, np.where(values < 0, -1.0, 1.0), whole)


def _entropy_constrained(values: _Real, count: int, rng: np.random.Generator) -> SharedValues:
    """The least lambda at which (w - c)^2 - lambda log p leaves so many cells."""
    sample = _some(values)
    low, high = 1e-12, 1.0  # of the variance
    spread = float(sample.var())
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if len(_cells(sample, count, middle * spread)[0]) <= count else (middle, high)
    book, shares = _cells(sample, count, high * spread)
    if len(book) > count:
        return _clustered(values, count, rng)
    return SharedValues(book, _assigned(values, book, shares, high * spread))


def _cells(sample: _Real, count: int, penalty: float) -> tuple[_Real, _Real]:
    """Centres and shares of the cells in which an entropy-constrained iteration ends, (cells,) each, ascending."""
    parts = np.array_split(sample, min(_CELLS * count, len(sample)))
    book = np.unique([part.mean() for part in parts])
    shares = np.maximum(np.bincount(nearest(sample, book), minlength=len(book)), 1) / len(sample)
    least = np.inf
    for _ in range(_ROUNDS):
        index = _assigned(sample, book, shares, penalty)
        used, index = np.unique(index, return_inverse=True)
        book, shares = _means(sample, index), np.bincount(index) / len(sample)
        cost = float(((sample - book[index]) ** 2 - penalty * np.log(shares[index])).sum())
        if len(used) == 1 or cost >= least * (1 - _STOP):
            break
        least = cost
    return book, shares


def _assigned(values: _Real, book: _Real, shares: _Real, penalty: float) -> _Index:
    """Cell of least cost for each value: the lower envelope of parabolas, found between neighbours."""
    offset = -penalty * np.log(shares)
    cells, borders = [0], [-np.inf]
    for cell in range(1, len(book)):
        while True:
            last = cells[-1]
            middle = (book[cell] + book[last]) / 2
            border = middle + (offset[cell] - offset[last]) / (2 * (book[cell] - book[last]))
            if border > borders[-1] or len(cells) == 1:
                break
            cells.pop()
            borders.pop()
        cells.append(cell)
        borders.append(border)
    index: _Index = np.array(cells)[np.searchsorted(borders[1:], values)]
    return index


def _means(values: _Real, index: _Index) -> _Real:
    """Means of the groups that have members, ascending."""
    counts = np.bincount(index)
    sums = np.bincount(index, weights=values)
    means: _Real = np.unique(sums[counts > 0] / counts[counts > 0])
    return means


def _some(values: _Real) -> _Real:
    """Sorted, and not more than are needed."""
    ordered = np.sort(values)
    if len(ordered) <= _LOOKED_AT:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, _LOOKED_AT).round().astype(np.int64)]


SHARINGS: dict[str, Callable[[_Real, int, np.random.Generator], SharedValues]] = {
    "cws": _clustered,
    "pws": _probabilistic,
    "uq": _uniform,
    "ecsq": _entropy_constrained,
}
"""The ways of sharing by name: of weights, a number of values, and a source of chance."""
