"""The ways in which a layer with weights to leave out may be computed, with what each should cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from tflite_export.lower._around import Weighted
from tflite_export.lower._dense import spans_of
from tflite_export.lower._parts import Sum, bases, cost, is_grouped, one_term, term_by_lattice
from tflite_export.lower._structure import Block, Lattice, blocks_of, even_edges
from tflite_export.lower._window import cannot_stride

DENSE = "dense"
GATHER = "gather"
"""One matrix product a block: a slice for each tap of each run of maps, concatenated."""
SHIFT = "shift"
"""One smaller convolution a block, over shifted copies of its maps side by side: none for a single column."""
GROUPED = "grouped"
"""One grouped convolution for all blocks."""
SUM = "sum"
"""One smaller convolution for each set of taps, added up."""
FORMS = (GATHER, SHIFT, GROUPED, SUM)
_WORTH = 0.97  # a layer that keeps more of its work than this stays dense
_MOST_SLICES = 256  # of one layer; with more, copying costs more than any mask saves
_READING = 8  # a dense layer waits for its weights: 35 ps each, a convolution multiplies in 1 to 4 ps (x86, int8)


@dataclass(frozen=True)
class Form:
    """One way to compute a layer.

    Attributes:
        name: one of `FORMS`.
        sums: the blocks of output maps of a convolution; empty for a dense layer.
        cost: what an output pixel costs, as a fraction of the dense layer's cost.
        exact: whether no partial sums are rounded when signals are integers.
    """

    name: str
    blocks: tuple[Block, ...]
    sums: tuple[Sum, ...]
    cost: float
    exact: bool = True

    @property
    def grouped(self) -> bool:
        """Whether one grouped convolution computes all blocks."""
        return self.name == GROUPED

    @property
    def label(self) -> str:
        """Its name, and the number of blocks where there are several."""
        return self.name if len(self.blocks) == 1 else f"{self.name} ({len(self.blocks)} blocks)"

    def keeps_all(self, weights: int) -> bool:
        """Whether it leaves nothing out of a convolution with so many weights."""
        return sum(each.multiplications for each in self.sums) >= weights


@dataclass(frozen=True)
class Option:
    """How one layer may be lowered.

    Attributes:
        name: path of the layer.
        blocks: what its blocks of output maps read.
        share: multiply-accumulates left, as a fraction.
        saved: multiply-accumulates saved for one inference.
        forms: the forms that it can have, that of least cost first.
    """

    name: str
    share: float
    saved: int
    forms: tuple[Form, ...]

    def form(self, name: str) -> Form | None:
        """The form of that name of least cost, if the layer can have it."""
        return next((form for form in self.forms if form.name == name), None)


def option(each: Weighted, *, copy: int, call: int) -> Option | None:
    """What the zeros of a layer allow; None if it has next to nothing to leave out.

    Args:
        each: the layer.
        copy: multiplications that take as long as copying one value.
        call: multiplications that take as long as one more operation.
    """
    alive = (each.kernel != 0).reshape(-1, *each.kernel.shape[2:])
    if alive.all():
        return None
    split = blocks_of(alive, even_edges(alive))
    left = sum(block.maps * block.reads for block in split)
    if left > _WORTH * alive.size or any(not block.pieces for block in split):
        return None
    # Where a runtime multiplies in wide tiles, narrow blocks cost more than they save: also all outputs at once.
    ways = [split] if len(split) == 1 else [split, blocks_of(alive, (0, alive.shape[2]))]
    ways = [blocks for blocks in ways if sum(len(block.pieces) for block in blocks) <= _MOST_SLICES]
    make = _dense_forms if each.is_dense else _conv_forms
    forms = [form for blocks in ways for form in make(each, blocks, copy, call // max(1, each.pixels))]
    saved = (alive.size - left) * each.pixels
    forms = sorted(forms, key=lambda form: form.cost)
    return Option(each.name, left / alive.size, saved, tuple(forms)) if forms else None


def _conv_forms(each: Weighted, blocks: tuple[Block, ...], copy: int, call: int) -> list[Form]:
    size, inputs = (each.kernel.shape[0], each.kernel.shape[1]), each.kernel.shape[2]
    dense = each.kernel.size

    def priced(name: str, sums: Sequence[Sum], exact: bool = True) -> Form:
        value = cost(sums, inputs, grouped=name == GROUPED, copy=copy, call=call)
        return Form(name, blocks, tuple(sums), value / dense, exact)

    gathered = one_term(blocks, Lattice(0, 0, 1, 1), size)
    shifted = [made for base in bases(blocks, size) if (made := one_term(blocks, base, size)) is not None]
    everything = [made for made in (gathered, *shifted) if made is not None]
    found = [priced(GATHER, gathered)] if gathered is not None else []
    found += [priced(SHIFT, made) for made in shifted]
    found += [priced(GROUPED, made) for made in everything if is_grouped(made)]
    by_lattice = term_by_lattice(blocks, size)
    if by_lattice is not None and any(len(each.terms) > 1 for each in by_lattice):
        found.append(priced(SUM, by_lattice, exact=False))
    possible = [form for form in found if not form.keeps_all(dense) and not _needs_both(each, form)]
    best = {name: min((f for f in possible if f.name == name), key=lambda f: f.cost, default=None) for name in FORMS}
    return [form for form in best.values() if form is not None]


def _needs_both(each: Weighted, form: Form) -> bool:
    layer = each.layer
    return any(cannot_stride(layer.strides, layer.dilation_rate, term) for each in form.sums for term in each.terms)


def _dense_forms(each: Weighted, blocks: tuple[Block, ...], copy: int, call: int) -> list[Form]:
    runs = [len(spans_of(piece, each.kernel.shape[1])) for block in blocks for piece in block.pieces]
    if sum(runs) > _MOST_SLICES:
        return []
    work = sum(block.maps * block.reads for block in blocks)
    copied = sum(block.reads for block in blocks)
    copy, call = copy // _READING, call // _READING
    if work >= each.kernel.size:
        return []
    return [Form(GATHER, blocks, (), (work + copy * copied + call * (sum(runs) + len(blocks))) / each.kernel.size)]
