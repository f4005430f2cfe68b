"""Damage to bytes and to JSON."""

import copy
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

Damage = Callable[[pathlib.Path, np.random.Generator], None]
"""Changes a file in place."""

_VALUES = (None, True, -1, 0, 0.5, 1e300, 10**12, 10**30, "x", "Lambda", "", [], {}, [[]], {"class_name": "Lambda"})


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(len(content)))]


def _flipped(content: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(len(content), size=int(rng.integers(1, 5))):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def _overwritten(content: bytearray, rng: np.random.Generator) -> bytearray:
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 600))
    content[place : place + length] = rng.bytes(min(length, len(content) - place))
    return content


def _holes(content: bytearray, rng: np.random.Generator) -> bytearray:
    place, length = int(rng.integers(len(content))), int(rng.integers(100, 5000))
    content[place : place + length : 7] = b"\xff" * len(content[place : place + length : 7])
    return content


def _removed(content: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(len(content)))
    del content[place : place + int(rng.integers(1, 300))]
    return content


def _header(content: bytearray, rng: np.random.Generator) -> bytearray:
    content[:8] = (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04\x14\0\0\0", b"\x93NUMPY\1\0", b'{"a": 1')[int(rng.integers(4))]
    return content


def _appended(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content + rng.bytes(int(rng.integers(1, 100_000)))


def _of_bytes(change: Callable[[bytearray, np.random.Generator], bytearray]) -> Damage:
    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        file.write_bytes(change(bytearray(file.read_bytes()), rng))

    return damage


CHANGES = (_cut, _flipped, _overwritten, _holes, _removed, _header, _appended)

BYTES: dict[str, Damage] = {change.__name__.strip("_"): _of_bytes(change) for change in CHANGES}


# JSON


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def changed_json(value: Any, rng: np.random.Generator) -> Any:
    """A copy with one place changed, removed, doubled or swapped with another."""
    value = copy.deepcopy(value)
    places = _places(value)
    if not places:
        return _VALUES[int(rng.integers(len(_VALUES)))]
    (holder, key), (other, other_key) = (places[int(index)] for index in rng.integers(len(places), size=2))
    way = int(rng.integers(6))
    if way == 0:
        del holder[key]
    elif way == 1:
        holder[key] = copy.deepcopy(other[other_key])
    elif way == 2 and isinstance(holder[key], list):
        holder[key] = holder[key] * 2
    else:
        holder[key] = copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
    return value


def json_file(file: pathlib.Path, rng: np.random.Generator) -> None:
    file.write_text(json.dumps(changed_json(json.loads(file.read_text()), rng)))


def deep_json(file: pathlib.Path, rng: np.random.Generator) -> None:
    depth = int(rng.integers(10, 200_000))
    file.write_text("[" * depth + "]" * depth)


def long_number(file: pathlib.Path, rng: np.random.Generator) -> None:
    file.write_text('{"weight_bits": ' + "9" * int(rng.integers(1, 20_000)) + "}")
