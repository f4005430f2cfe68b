"""The coders by name, and what the code of their operators takes."""

from tflite_export import micro
from tflite_export.pack._bitmap import Bitmap
from tflite_export.pack._coder import Coder, CodeSize
from tflite_export.pack._header import OPERATOR
from tflite_export.pack._huffman import Huffman
from tflite_export.pack._lut import Lut
from tflite_export.pack._own import Own

CODERS: dict[str, Coder] = {"huffman": Huffman(), "bitmap": Bitmap(), "lut": Lut(), "own": Own()}
"""To pack weights in one more way, add a row, and one to `CODE_SIZES` if it has an operator of its own."""

CODE_SIZES: dict[str, CodeSize] = {OPERATOR: CodeSize(8_500, 20_700), micro.OPERATOR: CodeSize(*micro.CODE_BYTES)}
"""By operator; all kinds of DECODE are one operator, which links them all (Cortex-M4, GCC 12.2, see the README)."""


def coder_of(operator: str, ancillary: bytes) -> Coder:
    """The coder that wrote shared bytes.

    Args:
        operator: custom code of the operator that reads them.
        ancillary: the bytes.

    Raises:
        ValueError: nobody's.
    """
    for coder in CODERS.values():
        if coder.operator == operator and coder.reads(ancillary):
            return coder
    raise ValueError(f"{len(ancillary)} shared bytes beginning {ancillary[:5]!r}, which are no known coding")
