"""What is left of a layer's kernels, as a plain value."""

import re
from dataclasses import dataclass

from tflite_export.report._checks import Range, check_ranges

_HEXADECIMAL = re.compile("[0-9a-fA-F]*")


@dataclass(frozen=True)
class MaskPicture:
    """What is left of a layer's kernels: a point for each kernel, or for each weight where kernels are left in part.

    Outputs go down, inputs to the right; a kernel of several rows is drawn as a block. Removed maps lie at the end.

    Attributes:
        layer: its name.
        outputs: output maps of the given layer.
        inputs: input maps of it that an output map reads.
        outputs_kept: those that are left.
        inputs_kept: those that are left.
        block: points of one kernel, down and to the right.
        rows: points drawn down; fewer than there are where the picture is cut off.
        columns: points drawn to the right.
        bits: the points row by row, packed eight in a byte, in hexadecimal digits; 1 is kept.
        kept: fraction of the given layer's weights that is left.
    """

    layer: str
    outputs: int
    inputs: int
    outputs_kept: int
    inputs_kept: int
    block: tuple[int, ...]
    rows: int
    columns: int
    bits: str
    kept: float

    def __post_init__(self) -> None:
        """Checks that there is a point for each place: what is drawn is no more than what is there."""
        told = f"Mask of layer '{self.layer}'"
        if len(self.block) != 2 or min(self.block) < 1:
            raise ValueError(
                f"{told}: block must be two counts from 1. Received: block={self.block}. Use e.g. (1, 1) for a point "
                "a kernel."
            )
        ranges: dict[str, Range] = {"outputs": (1, None), "inputs": (1, None)}
        check_ranges(told, self, ranges)
        ranges = {"outputs_kept": (0, self.outputs), "inputs_kept": (0, self.inputs)}
        ranges |= {"rows": (1, self.outputs * self.block[0]), "columns": (1, self.inputs * self.block[1])}
        check_ranges(told, self, ranges)
        digits = 2 * -(-self.rows * self.columns // 8)
        if len(self.bits) != digits or not _HEXADECIMAL.fullmatch(self.bits):
            raise ValueError(
                f"{told}: bits must be {digits} hexadecimal digits, for {self.rows} x {self.columns} points. Received: "
                f"{len(self.bits)} letters, {self.bits[:8]!r} at first. Pack the points eight in a byte."
            )

    @property
    def cut(self) -> bool:
        """Whether only a part is drawn."""
        return self.rows < self.outputs * self.block[0] or self.columns < self.inputs * self.block[1]
