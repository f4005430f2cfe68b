"""The header in front of the shared bytes of TFLite Micro's DECODE operator.

Byte 0 is the kind of the coding, byte 1 the version of the header, byte 4 that of the coding and 5 to 15 what it keeps
there (tensorflow/lite/micro/kernels/decode_state.h and decode_state_*.h of TFLite Micro, August 2026).
"""

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 16
_VERSION = 1


def header(kind: int, *own: int) -> bytes:
    """A header.

    Args:
        kind: of the coding.
        own: bytes of the coding's own, from byte 5 on.
    """
    return bytes((kind, _VERSION, 0, 0, _VERSION, *own)).ljust(HEADER_BYTES, b"\0")


def is_kind(ancillary: bytes, kind: int) -> bool:
    """Whether shared bytes are of a kind."""
    return len(ancillary) >= HEADER_BYTES and ancillary[0] == kind


def content(ancillary: bytes) -> NDArray[np.uint8]:
    """What follows the header.

    Raises:
        ValueError: a version that nobody has written yet.
    """
    if (ancillary[1], ancillary[4]) != (_VERSION, _VERSION):
        raise ValueError(f"versions {ancillary[1]} and {ancillary[4]} of a coding, known is {_VERSION}")
    return np.frombuffer(ancillary, np.uint8, offset=HEADER_BYTES)
