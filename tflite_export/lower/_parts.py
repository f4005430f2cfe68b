"""How the work that is left becomes convolutions with a common small kernel: pure Python."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from tflite_export.lower._structure import Block, Lattice, lattice_of

_MOST_KINDS = 16  # sets of taps whose shapes are tried; with many, no one small kernel fits them


@dataclass(frozen=True)
class Part:
    """A run of input maps, seen through a small kernel that lies at one place of the whole kernel.

    Attributes:
        top: row of the whole kernel where the small one begins.
        left: column where it begins.
        start: first input map.
        stop: input map behind the last.
    """

    top: int
    left: int
    start: int
    stop: int

    @property
    def maps(self) -> int:
        """Number of input maps."""
        return self.stop - self.start


@dataclass(frozen=True)
class Term:
    """One small convolution over shifted copies of input maps that lie side by side.

    Attributes:
        base: the small kernel's shape; its place is that of each part.
        parts: what it sees, in the order of its input channels.
    """

    base: Lattice
    parts: tuple[Part, ...]

    @property
    def depth(self) -> int:
        """Input channels of the small convolution."""
        return sum(part.maps for part in self.parts)


@dataclass(frozen=True)
class Sum:
    """A run of output maps: the sum of some small convolutions.

    Attributes:
        start: first output map.
        stop: output map behind the last.
        terms: what is added up.
    """

    start: int
    stop: int
    terms: tuple[Term, ...]

    @property
    def maps(self) -> int:
        """Number of output maps."""
        return self.stop - self.start

    @property
    def multiplications(self) -> int:
        """Multiplications for one output pixel of all its maps."""
        return self.maps * sum(term.depth * term.base.size for term in self.terms)


def one_term(blocks: Sequence[Block], base: Lattice, size: tuple[int, int]) -> tuple[Sum, ...] | None:
    """Every block as one small convolution with that kernel; None where it cannot reach all taps.

    Args:
        blocks: the blocks of output maps.
        base: shape of the small kernel; taps that it covers in vain get weights of zero.
        size: height and width of the whole kernel.
    """
    sums = []
    for block in blocks:
        parts = _parts(block, base, size)
        if parts is None:
            return None
        sums.append(Sum(block.start, block.stop, (Term(base, parts),)))
    return tuple(sums)


def term_by_lattice(blocks: Sequence[Block], size: tuple[int, int]) -> tuple[Sum, ...] | None:
    """Every block as one small convolution for each set of taps; None if a set is no lattice."""
    sums = []
    for block in blocks:
        terms = []
        for taps, pieces in block.by_taps().items():
            lattice = lattice_of(taps, size[1])
            if lattice is None:
                return None
            runs = _merged(Part(lattice.top, lattice.left, piece.start, piece.stop) for piece in pieces)
            terms.append(Term(lattice.at_origin(), runs))
        sums.append(Sum(block.start, block.stop, tuple(terms)))
    return tuple(sums)


def bases(blocks: Sequence[Block], size: tuple[int, int]) -> tuple[Lattice, ...]:
    """Shapes of small kernels that are worth a try: rows, columns, and what the taps form themselves."""
    height, width = size
    found = [Lattice(0, 0, rows, columns) for rows, columns in ((height, 1), (1, width), (height, width))]
    kinds = dict.fromkeys(piece.taps for block in blocks for piece in block.pieces)
    for taps in list(kinds)[:_MOST_KINDS]:
        whole = lattice_of(taps, width)
        columns = {tap % width for tap in taps}
        in_column = [lattice_of([tap for tap in taps if tap % width == column], width) for column in sorted(columns)]
        found += [lattice.at_origin() for lattice in (whole, *in_column) if lattice is not None]
    single = Lattice(0, 0, 1, 1)
    return tuple(dict.fromkeys(base for base in found if base != single))


def is_grouped(sums: Sequence[Sum]) -> bool:
    """Whether one grouped convolution computes all blocks: as many outputs and inputs in each."""
    first = sums[0]
    return len(sums) > 1 and all(
        len(each.terms) == 1
        and each.terms[0].base == first.terms[0].base
        and (each.maps, each.terms[0].depth) == (first.maps, first.terms[0].depth)
        for each in sums
    )


def side_by_side(sums: Sequence[Sum]) -> Term:
    """The inputs of all blocks of a grouped convolution, one after the other."""
    parts = _merged(part for each in sums for part in each.terms[0].parts)
    return Term(sums[0].terms[0].base, parts)


def cost(sums: Sequence[Sum], inputs: int, *, grouped: bool, copy: float, call: float) -> float:
    """What one output pixel costs, in multiplications.

    Args:
        sums: the blocks.
        inputs: number of input maps of the layer.
        grouped: whether one grouped convolution computes all of them.
        copy: multiplications that take as long as one value copied.
        call: multiplications that take as long as one more operation.
    """
    terms = [side_by_side(sums)] if grouped else [term for each in sums for term in each.terms]
    work = sum(each.multiplications for each in sums)
    joined = 0 if grouped or len(sums) == 1 else sums[-1].stop
    added = sum(each.maps * (len(each.terms) - 1) for each in sums)
    return work + call * len(terms) + copy * (joined + added) + sum(_gathering(t, inputs, copy, call) for t in terms)


def _gathering(term: Term, inputs: int, copy: float, call: float) -> float:
    if len(term.parts) == 1 and term.parts[0].maps == inputs:
        return 0.0
    return copy * term.depth + call * len(term.parts)


def _parts(block: Block, base: Lattice, size: tuple[int, int]) -> tuple[Part, ...] | None:
    placed = []
    for piece in block.pieces:
        places = _cover(piece.taps, base, size)
        if places is None:
            return None
        placed += [Part(top, left, piece.start, piece.stop) for top, left in places]
    return _merged(sorted(placed, key=lambda part: (part.top, part.left, part.start)))


def _merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Neighbours that continue one another as one."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if last is not None and (last.top, last.left, last.stop) == (part.top, part.left, part.start):
            found[-1] = Part(last.top, last.left, last.start, part.stop)
        else:
            found.append(part)
    return tuple(found)


@cache
def _cover(taps: tuple[int, ...], base: Lattice, size: tuple[int, int]) -> tuple[tuple[int, int], ...] | None:
    """Places (row, column) of the small kernel such that they cover all taps, with little in vain."""
    rows, columns = size[0] - base.height + 1, size[1] - base.width + 1
    covers = {place: base.taps_at(place, size[1]) for place in product(range(rows), range(columns))}
    left = set(taps)
    chosen = []
    while left:
        first = min(left)
        fitting = [place for place, covered in covers.items() if first in covered]
        if not fitting:
            return None
        chosen.append(max(fitting, key=lambda place: len(left & covers[place])))
        left -= covers[chosen[-1]]
    return tuple(chosen)
