"""The file: a header in JSON, and sections of bytes with lengths and checksums."""

import json
import os
import secrets
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_structprune.storage._vectors import Section
from tf_structprune.untrusted import check_growth, reading

MAGIC = b"\x89SHAM\r\n\x1a"  # what a transfer as text would change is in it
VERSION = 1
_HEAD = struct.Struct(
    "<8sHIII"
)  # magic, version, deflated and plain bytes of the header, checksum of the deflated ones
_MOST_HEADER = 2**26
ADVICE = "Pack the model again, or fetch the file again."


def write_container(path: Path, header: Mapping[str, Any], sections: Sequence[Section]) -> None:
    """Write a file; a process that is killed leaves the whole file or none.

    Args:
        path: where; a file that is there is replaced.
        header: what JSON can hold.
        sections: the bytes.
    """
    told = [[section.coding, section.size, len(section.data), zlib.crc32(section.data)] for section in sections]
    plain = json.dumps({**header, "sections": told}, separators=(",", ":")).encode()
    packed = zlib.compress(plain, 9)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(_HEAD.pack(MAGIC, VERSION, len(packed), len(plain), zlib.crc32(packed)))
            file.write(packed)
            for section in sections:
                file.write(section.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_container(path: Path) -> tuple[dict[str, Any], list[Section]]:
    """Header and sections of a file, all checksums right; nothing is unpacked yet.

    Raises:
        ValueError: no such file, one of a later version, or a damaged one.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file, reading(path, "a packed model", ADVICE):
        magic, version, packed_size, plain_size, checksum = _HEAD.unpack(_taken(file, _HEAD.size))
        if magic != MAGIC:
            raise ValueError("it does not begin as one")
        if version > VERSION:
            raise ValueError(
                f"{path} is of version {version}, and this program reads up to {VERSION}. Received: a file of a later "
                "version. Install a newer tf-structprune."
            )
        if plain_size > _MOST_HEADER:
            raise ValueError(f"a header of {plain_size:,} bytes")
        packed = _taken(file, packed_size)
        if zlib.crc32(packed) != checksum:
            raise ValueError("the checksum of the header does not fit")
        plain = zlib.decompressobj().decompress(packed, plain_size + 1)
        header = json.loads(plain)
        told = header.pop("sections")
        if len(plain) != plain_size or not all(_is_section(each) for each in told):
            raise ValueError("a header of another form")
        check_growth(sum(size for _, size, _, _ in told), os.fstat(file.fileno()).st_size)
        sections = []
        for number, (coding, size, length, checksum) in enumerate(told):
            data = _taken(file, length)
            if zlib.crc32(data) != checksum:
                raise ValueError(f"the checksum of section {number} does not fit")
            sections.append(Section(coding, size, data))
        if file.read(1):
            raise ValueError("bytes behind the last section")
        return header, sections


def _is_section(told: Any) -> bool:
    """Whether this is a coding and three numbers."""
    if not isinstance(told, list) or len(told) != 4 or not isinstance(told[0], str):
        return False
    return all(isinstance(number, int) and 0 <= number < 2**48 for number in told[1:])


def _taken(file: Any, count: int) -> bytes:
    """The next bytes; a size that is only declared is not asked for."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    if count > left:
        raise ValueError(f"it ends early: {count:,} bytes are declared where {left:,} are left")
    data: bytes = file.read(count)
    return data
