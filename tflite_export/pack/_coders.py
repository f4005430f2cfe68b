"""The coders by name, and what the code of their operators takes."""

from tflite_export import micro
from tflite_export.file import TFLM_DECODE
from tflite_export.pack._bitmap import Bitmap
from tflite_export.pack._coder import Coder, CodeSize
from tflite_export.pack._huffman import Huffman
from tflite_export.pack._lut import Lut
from tflite_export.pack._own import Own

CODERS: dict[str, Coder] = {"huffman": Huffman(), "bitmap": Bitmap(), "lut": Lut(), "own": Own()}
"""To pack weights in one more way, add a row, and one to `CODE_SIZES` if it has an operator of its own."""

CODE_SIZES: dict[str, CodeSize] = {TFLM_DECODE: CodeSize(8_500, 20_700), micro.OPERATOR: CodeSize(*micro.CODE_BYTES)}
"""By operator, one for each of `file.DECODERS`; all kinds of DECODE are one operator, which links them all.

Measured in a linked image (Cortex-M4, GCC 12.2, TFLite Micro of August 2026): built with -O2, as TFLite Micro's
makefile builds kernels, and with -Os for decode_state_lut.cc, which is 16.0 of 18.8 KB of object code with -O2 and 4.2
with -Os.
"""


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
