"""Damage to packed models behind right checksums: headers, layouts and sections that lie."""

import json
import pathlib
import struct
import zlib
from collections.abc import Callable

import numpy as np

from benchmarks.damaged_files._text import BYTES, CHANGES, Damage, changed_json

_HEAD = struct.Struct("<8sHIII")  # magic, version, deflated and plain bytes of the header, checksum of the former


def _edited(change: Callable[[dict, list[bytes], np.random.Generator], dict]) -> Damage:
    """Damage of header and sections; all checksums are made right again."""

    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        data = file.read_bytes()
        magic, version, packed, _, _ = _HEAD.unpack_from(data)
        header = json.loads(zlib.decompress(data[_HEAD.size : _HEAD.size + packed]))
        sections, place = [], _HEAD.size + packed
        for told in header["sections"]:
            sections.append(data[place : place + told[2]])
            place += told[2]
        header = change(header, sections, rng)
        plain = json.dumps(header).encode()
        head = zlib.compress(plain, 9)
        start = _HEAD.pack(magic, version, len(head), len(plain), zlib.crc32(head))
        file.write_bytes(start + head + b"".join(sections))

    return damage


def _json(header: dict, sections: list[bytes], rng: np.random.Generator) -> dict:
    changed = changed_json(header, rng)
    return changed if isinstance(changed, dict) else {"sections": changed}


def _content(header: dict, sections: list[bytes], rng: np.random.Generator) -> dict:
    """The bytes of a section changed, its length and checksum with them."""
    number = int(rng.integers(len(sections)))
    change = CHANGES[int(rng.integers(len(CHANGES)))]
    sections[number] = bytes(change(bytearray(sections[number]), rng))
    header["sections"][number][2:] = [len(sections[number]), zlib.crc32(sections[number])]
    return header


def _sizes(header: dict, sections: list[bytes], rng: np.random.Generator) -> dict:
    """A section that claims to unpack to another size, up to ten gigabytes."""
    told = header["sections"][int(rng.integers(len(sections)))]
    told[1] = int(told[1] * 10.0 ** rng.uniform(-2, 6)) if rng.random() < 0.5 else 10**10
    return header


def _order(header: dict, sections: list[bytes], rng: np.random.Generator) -> dict:
    """Sections in another order."""
    order = rng.permutation(len(sections))
    header["sections"] = [header["sections"][place] for place in order]
    sections[:] = [sections[place] for place in order]
    return header


SHAM: dict[str, Damage] = {
    **BYTES,
    "json": _edited(_json),
    "json again": _edited(_json),
    "content": _edited(_content),
    "content again": _edited(_content),
    "sizes": _edited(_sizes),
    "order": _edited(_order),
}
