"""Damage to zip archives: `.keras` and `.npz`."""

import io
import json
import pathlib
import pickle
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.damaged_files._hdf5 import hdf5
from benchmarks.damaged_files._text import CHANGES, Damage
from benchmarks.damaged_files._traps import Trap


def _rewritten(file: pathlib.Path, change: Callable[[dict[str, bytes]], list[tuple[str, bytes]]]) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names that are there twice are meant
        for name, content in change(entries):
            archive.writestr(name, content)


def entries(file: pathlib.Path, rng: np.random.Generator) -> None:
    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        found = list(entries.items())
        first, second = (int(index) for index in rng.integers(len(found), size=2))
        way = int(rng.integers(4))
        if way == 0:
            del found[first]
        elif way == 1:
            found.append(found[first])
        elif way == 2:
            found[first] = (found[first][0], found[second][1])
        else:
            found[first] = (found[first][0] + "x", found[first][1])
        return found

    _rewritten(file, change)


def inside(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Bytes of one entry, whose checksum is right again."""
    ways = CHANGES[:-1]

    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        name = sorted(entries)[int(rng.integers(len(entries)))]
        entries[name] = bytes(ways[int(rng.integers(len(ways)))](bytearray(entries[name]), rng))
        return list(entries.items())

    _rewritten(file, change)


def in_keras(change: Callable[[Any, np.random.Generator], Any]) -> Damage:
    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        def edit(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
            entries["config.json"] = json.dumps(change(json.loads(entries["config.json"]), rng)).encode()
            return list(entries.items())

        _rewritten(file, edit)

    return damage


def weights(file: pathlib.Path, rng: np.random.Generator) -> None:
    """The HDF5 file inside a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        inner = pathlib.Path(folder) / "model.weights.h5"

        def edit(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
            inner.write_bytes(entries["model.weights.h5"])
            hdf5(inner, rng)
            entries["model.weights.h5"] = inner.read_bytes()
            return list(entries.items())

        _rewritten(file, edit)


_NPY = ("[1", "{}", "{'descr':'<f4','fortran_order':False,'shape':(10**12,8,8,1)}", "(" * 300 + ")" * 300)
_SHAPES = ((10**12, 8, 8, 1), (-1, 8, 8, 1), (2, 3), (), (0,), (1000.5,), ("a",), (10**400,))
_TYPES = ("<f4", "<f8", "|O", "<U9", "<c16", "|V8", "<i1", "x", 7, [("a", "<f4")], "<M8[s]", "|S100000000")


def npy(file: pathlib.Path, rng: np.random.Generator) -> None:
    """The header of an array."""
    if rng.random() < 0.3:
        text = _NPY[int(rng.integers(len(_NPY)))]
    else:
        shape, kind = _SHAPES[int(rng.integers(len(_SHAPES)))], _TYPES[int(rng.integers(len(_TYPES)))]
        text = repr({"descr": kind, "fortran_order": bool(rng.integers(2)), "shape": shape})
    head = text.encode() + b" " * 8 + b"\n"
    version = bytes(rng.choice([1, 1, 1, 2, 3, 9], size=1).astype(np.uint8)) + b"\0"
    length = len(head).to_bytes(2 if version[0] == 1 else 4, "little")

    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        name = sorted(entries)[int(rng.integers(len(entries)))]
        entries[name] = b"\x93NUMPY" + version + length + head + entries[name][128:]
        return list(entries.items())

    _rewritten(file, change)


def objects(file: pathlib.Path, rng: np.random.Generator) -> None:
    """An array of Python objects, which are pickled."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    buffer.write(pickle.dumps(Trap()))

    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        entries[sorted(entries)[int(rng.integers(len(entries)))]] = buffer.getvalue()
        return list(entries.items())

    _rewritten(file, change)


def values(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Arrays of other types and values."""
    with np.load(file) as opened:
        arrays = dict(opened)
    name = sorted(arrays)[int(rng.integers(len(arrays)))]
    array = arrays[name].astype(np.float64)
    array.flat[int(rng.integers(array.size))] = (np.nan, np.inf, 1e300, -1e300, -1, 0.5, 2**63)[int(rng.integers(7))]
    ways = (array, array.astype("S4"), array[:0], array[..., None], array.astype(complex), array > 0, array[0])
    arrays[name] = ways[int(rng.integers(len(ways)))]
    np.savez_compressed(file, **arrays)


def bomb(file: pathlib.Path, rng: np.random.Generator) -> None:
    """A small archive whose first entry says that it unpacks to gigabytes."""
    content = bytearray(file.read_bytes())
    place = content.rfind(b"PK\x01\x02", 0, content.rfind(b"PK\x05\x06"))
    content[place + 24 : place + 28] = int(rng.integers(2**31, 2**32 - 2)).to_bytes(4, "little")
    file.write_bytes(content)
