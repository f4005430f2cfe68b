"""The C sources that read both forms, for firmware to compile."""

from pathlib import Path

OPERATOR = "TFSP_DECODE"
"""Custom code of the operator that gives coded weights into TFLite Micro's arena."""
CODE_BYTES = (1_036, 1_164)
"""What the operator adds to firmware built for size or for speed: 632 or 676 bytes of sham.c, unused functions dropped,
and 404 or 488 of the operator, on a Cortex-M4 with GCC 12.2; tests measure it where that compiler is."""

_FOLDER = Path(__file__).parent
_DECODER = ("sham.h", "sham.c")
_WITH_OPERATOR = (*_DECODER, "tf_structprune_decode.h", "tf_structprune_decode.cc")


def sources(*, operator: bool) -> dict[str, str]:
    """Texts of the C sources by file name.

    Args:
        operator: with the operator for TFLite Micro, in C++; without it the portable decoder alone.
    """
    names = _WITH_OPERATOR if operator else _DECODER
    return {name: (_FOLDER / name).read_text() for name in names}
