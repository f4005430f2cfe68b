"""Damage to HDF5 files."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from benchmarks.damaged_files._text import Damage


def _items(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def hdf5(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Groups, datasets and attributes."""
    with h5py.File(file, "a") as opened:
        names = _items(opened)
        name = names[int(rng.integers(len(names)))]
        way = int(rng.integers(7))
        if way in (0, 1) and len(opened[name].attrs):
            attributes = opened[name].attrs
            key = sorted(attributes)[int(rng.integers(len(attributes)))]
            del attributes[key]
            if way == 1:
                attributes[key] = (3.5, np.zeros(3), "x", np.array([b"\xff\xfe"]))[int(rng.integers(4))]
        elif way == 2:
            opened.attrs["keras_version"] = ("3.1", "4", 7.5, "")[int(rng.integers(4))]
        elif way == 3:
            del opened[name]
            opened[name] = h5py.ExternalLink("other.h5", "/x") if rng.random() < 0.5 else h5py.SoftLink("/nowhere")
        else:
            del opened[name]
            if way == 4:
                opened.create_dataset(name, (2**20, 2**20), "f4", chunks=(16, 16))
            elif way == 5:
                opened[name] = (np.zeros((3, 1)), b"text", np.zeros(4, "i2"), np.float32(1))[int(rng.integers(4))]


def in_hdf5(change: Callable[[Any, np.random.Generator], Any]) -> Damage:
    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        with h5py.File(file, "a") as opened:
            opened.attrs["model_config"] = json.dumps(change(json.loads(opened.attrs["model_config"]), rng))

    return damage
