"""A checksum behind the flatbuffer, where no runtime looks: a damaged weight is seen, whatever its coding."""

import zlib

_MARK = b"TFSP"
_SIZE = len(_MARK) + 4
CHECKSUM_BYTES = _SIZE
"""What it adds to a file."""


def checked(data: bytes) -> bytes:
    """A file with its checksum.

    Args:
        data: the file.
    """
    return data + _MARK + zlib.crc32(data).to_bytes(4, "little")


def check(data: bytes) -> None:
    """Refuse a file that is not what was written.

    Args:
        data: the file with its checksum.

    Raises:
        ValueError: no checksum, or another one.
    """
    content, mark, found = data[:-_SIZE], data[-_SIZE:-4], int.from_bytes(data[-4:], "little")
    if mark != _MARK:
        raise ValueError("no checksum at its end, as pack writes one")
    if zlib.crc32(content) != found:
        raise ValueError(f"a checksum of {found:#010x} and content of {zlib.crc32(content):#010x}")
