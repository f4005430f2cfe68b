"""A `.keras` file as its parts: files of the zip, and the arrays and names of its weights; and back."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tf_structprune.untrusted import check_datasets, check_growth

WEIGHTS = "model.weights.h5"
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class KerasFile:
    """The parts of a `.keras` file.

    Attributes:
        files: of the zip, by name, but for the weights.
        tree: of the weights' groups and datasets in order: path, attributes, and for datasets shape and type.
        arrays: of the datasets, in order.
    """

    files: dict[str, bytes]
    tree: list[list[Any]]
    arrays: list[NDArray[Any]]


def read_keras(path: Path) -> KerasFile:
    """The parts of a file.

    Raises:
        ValueError, KeyError, OSError, zipfile.BadZipFile: no `.keras`, or one whose weights have a form of their own.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        check_growth(sum(each.file_size for each in archive.infolist()), path.stat().st_size)
        if WEIGHTS not in names or "config.json" not in names or len(set(names)) != len(names):
            raise ValueError(f"it holds {', '.join(names[:4])} and is no model of Keras 3")
        files = {name: archive.read(name) for name in names if name != WEIGHTS}
        with h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as weights:
            check_datasets(weights)
            tree: list[list[Any]] = []
            arrays: list[NDArray[Any]] = []
            _walk(weights, tree, arrays)
    return KerasFile(files, tree, arrays)


def _walk(group: h5py.Group, tree: list[list[Any]], arrays: list[NDArray[Any]]) -> None:
    tree.append([group.name, _attributes(group)])
    for name in group:
        item = group[name]
        if isinstance(item, h5py.Group):
            _walk(item, tree, arrays)
            continue
        if item.dtype.kind not in "fiub" or item.dtype.itemsize not in (1, 2, 4, 8):
            raise ValueError(f"weights of type {item.dtype} at {item.name}")
        tree.append([item.name, _attributes(item), list(item.shape), item.dtype.str])
        arrays.append(np.asarray(item[()]))


def _attributes(item: Any) -> dict[str, Any]:
    attributes = dict(item.attrs)
    if not all(isinstance(value, str) for value in attributes.values()):
        raise ValueError(f"attributes of {item.name} that are no texts")
    return attributes


def write_keras(path: Path, parts: KerasFile) -> None:
    """Write a file of the same files, weights and names."""
    buffer = io.BytesIO()
    arrays = iter(parts.arrays)
    with h5py.File(buffer, "w") as weights:
        for name, attributes, *array in parts.tree:
            if array:
                item: Any = weights.create_dataset(name, data=next(arrays).reshape(array[0]))
            else:
                item = weights.require_group(name)
            for key, value in attributes.items():
                item.attrs[key] = value
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts.files, WEIGHTS: buffer.getvalue()}.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), data)


def check_tree(tree: Any) -> list[tuple[list[int], np.dtype[Any]]]:
    """Shape and type of each dataset of a tree that was read from a header.

    Raises:
        ValueError: it is of another form.
    """
    found = []
    for entry in tree if isinstance(tree, list) else [None]:
        if not isinstance(entry, list) or len(entry) not in (2, 4) or not isinstance(entry[0], str):
            raise ValueError("a tree of another form")
        if not isinstance(entry[1], dict) or not all(isinstance(value, str) for value in entry[1].values()):
            raise ValueError("attributes of another form")
        if len(entry) == 4:
            shape, kind = entry[2:]
            if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape):
                raise ValueError("a shape of another form")
            dtype = np.dtype(str(kind))
            if dtype.kind not in "fiub" or dtype.itemsize not in (1, 2, 4, 8):
                raise ValueError(f"a type of unknown name {kind!r}")
            found.append((shape, dtype))
    return found
