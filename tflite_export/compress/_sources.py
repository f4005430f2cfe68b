"""Where data come from: files, folders, a function, or what `fit` takes."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.resume import read_arrays
from tf_structprune.task import collected, count_of
from tflite_export.compress._data import PARTS, Data, check_samples_of_part, check_targets_of_part, split
from tflite_export.compress._images import load_images
from tflite_export.compress._named import is_name, named

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_VALIDATION_KEYS = ("x_val", "y_val")
_KEY = re.compile(r"([xyw]_(?:train|val|test))(?:_(.+))?")
_CLASS_WEIGHT = "class_weight"
_FORMS = "a .npz, a folder of .npy files or of images, or module:function"


def load_data(
    path: str | os.PathLike[str], *, seed: int, model: keras.Model | None = None, skip_corrupt: bool = False
) -> Data:
    """Read data from where a text says.

    A `.npz` with x_train, y_train, x_test and y_test, as in `keras.datasets`; a folder with such arrays as `.npy`
    files, which are mapped into memory; a folder of images, one folder a class, in train/, test/ and perhaps val/, or
    all together; or `module:function`, which returns what `data_of` takes. Arrays of several inputs or outputs are
    x_train_NAME and so on; w_train has weights of the samples, class_weight one of each class. Without y there are no
    labels, and the given model's outputs are what is wanted.

    Validation data are x_val and y_val where they are there; they should be samples that the model has not been trained
    on. Without them, a tenth of the training part, at most 5,000 samples drawn by the seed, is split off.

    Args:
        path: the file or folder, or the function's place.
        seed: seed of the split.
        model: tells the size of images; needed for them alone.
        skip_corrupt: leave images out that cannot be read, with a warning that counts them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not one of these forms, a key that is missing, lengths that differ, values that are no numbers, or
            images that cannot be read.
    """
    file = Path(path)
    if is_name(os.fspath(path)) and not file.exists():
        return data_of(named(os.fspath(path), "data")(), seed=seed, model=model)
    if file.is_dir():
        if any(_KEY.fullmatch(each.stem) for each in file.glob("*.npy")):
            return _from_arrays(_mapped(file), str(file), seed)
        if any(file.iterdir()):
            return load_images(file, model, seed=seed, skip_corrupt=skip_corrupt)
    if not file.is_file():
        raise FileNotFoundError(
            f"No data file there. Received: {path}. Give a .npz with {', '.join(_KEYS)}, or another of: {_FORMS}."
        )
    arrays, names = read_arrays(
        file,
        wanted=lambda name: bool(_KEY.fullmatch(name)) or name == _CLASS_WEIGHT,
        advice="Write it with numpy.savez.",
    )
    class_weight = arrays.pop(_CLASS_WEIGHT, None)
    return replace(_from_arrays(arrays, str(path), seed, names), class_weight=class_weight)


def data_of(source: Any, *, seed: int, model: keras.Model | None = None) -> Data:
    """Data from what `fit` takes.

    Args:
        source: `Data`; a dictionary with "train", "test" and perhaps "val", or a tuple of (train, test) or (train, val,
            test), as `keras.datasets` gives: each a pair (x, y), a triple with sample weights, samples alone, a
            `tf.data.Dataset`, a `keras.utils.PyDataset` or a generator function of batches of these; or a dictionary of
            arrays named as in a `.npz`; or a text, see `load_data`. A dictionary may have "class_weight" too, as `fit`
            takes it.
        seed: seed of the split.
        model: tells the size of images, where the data are a folder of them.

    Raises:
        TypeError: none of these.
        ValueError: as of `load_data`.
    """
    if isinstance(source, Data):
        return source
    if isinstance(source, str | os.PathLike):
        return load_data(source, seed=seed, model=model)
    if isinstance(source, Mapping) and _CLASS_WEIGHT in source:
        rest = {key: value for key, value in source.items() if key != _CLASS_WEIGHT}
        return replace(data_of(rest, seed=seed, model=model), class_weight=source[_CLASS_WEIGHT])
    if isinstance(source, Mapping) and source and all(_KEY.fullmatch(str(key)) for key in source):
        return _from_arrays({str(key): np.asanyarray(value) for key, value in source.items()}, "data", seed)
    if isinstance(source, tuple | list) and len(source) in (2, 3):
        source = dict(zip(("train", "test") if len(source) == 2 else PARTS, source, strict=True))
    if not isinstance(source, Mapping) or not {"train", "test"} <= set(source) <= set(PARTS):
        told = f"keys {', '.join(map(str, source))}" if isinstance(source, Mapping) else type(source).__name__
        raise TypeError(
            f"Data must have a training and a test part. Received: {told}. Give a dictionary with train, test and "
            f"perhaps val, each (x, y) or a data set, or {_FORMS}."
        )
    parts = {name: _triple(collected(part, name)) for name, part in source.items()}
    (x, y, weights), (x_test, y_test, _) = parts["train"], parts["test"]
    if "val" in parts:
        return Data(x, y, *parts["val"][:2], x_test, y_test, weights)
    return split(x, y, x_test, y_test, seed=seed, w_train=weights)


def _triple(part: Any) -> tuple[Any, Any, Any]:
    """Samples, targets and weights; None for what is not there."""
    if isinstance(part, tuple) and len(part) in (2, 3):
        return (*part, None) if len(part) == 2 else part
    return part, None, None


def _mapped(folder: Path) -> dict[str, NDArray[Any]]:
    arrays = {}
    for file in sorted(folder.glob("*.npy")):
        if _KEY.fullmatch(file.stem):
            try:
                arrays[file.stem] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (ValueError, OSError, EOFError) as error:
                raise ValueError(
                    f"{file} cannot be read as .npy. Received: {str(error).splitlines()[0]}. Write it with numpy.save."
                ) from error
    return arrays


def _from_arrays(arrays: dict[str, NDArray[Any]], path: str, seed: int, names: Sequence[str] | None = None) -> Data:
    """Data from arrays by their keys."""
    groups = _grouped(arrays, path)
    labelled = any(key.startswith("y_") for key in groups)
    wanted = [key for key in _KEYS if labelled or key.startswith("x_")]
    if any(key in groups for key in _VALIDATION_KEYS):
        wanted += [key for key in _VALIDATION_KEYS if labelled or key.startswith("x_")]
    missing = [key for key in wanted if key not in groups]
    if missing:
        listed = list(arrays) if names is None else names
        wanted = [*_KEYS, *(_VALIDATION_KEYS if any(key in groups for key in _VALIDATION_KEYS) else ())]
        missing = missing if labelled or "x_train" in groups else [key for key in wanted if key not in groups]
        raise ValueError(
            f"{path} lacks {', '.join(missing)}. Received: {', '.join(listed) or 'no arrays'}. "
            f"Use the keys {', '.join(wanted)}."
        )
    for part in PARTS:
        if f"x_{part}" in groups:
            _check_part(groups[f"x_{part}"], groups.get(f"y_{part}"), part, path)
    x_train, x_test, weights = groups["x_train"], groups["x_test"], groups.get("w_train")
    y_train, y_test = groups.get("y_train"), groups.get("y_test")
    if "x_val" not in groups:
        return split(x_train, y_train, x_test, y_test, seed=seed, w_train=weights)
    return Data(x_train, y_train, groups["x_val"], groups.get("y_val"), x_test, y_test, weights)


def _grouped(arrays: dict[str, NDArray[Any]], path: str) -> dict[str, Any]:
    """The arrays by part; a dictionary by name for several inputs or outputs."""
    groups: dict[str, Any] = {}
    for key, array in arrays.items():
        found = _KEY.fullmatch(key)
        part, name = (key, None) if found is None else (found[1], found[2])
        if name is None and part not in groups:
            groups[part] = array
        elif name is not None and isinstance(groups.setdefault(part, {}), dict):
            groups[part][name] = array
        else:
            raise ValueError(
                f"{path} has {part} as one array and by names. Received: {', '.join(arrays)}. Leave one of them out."
            )
    return groups


def _check_part(x: Any, y: Any, part: str, path: str) -> None:
    xs, ys = keras.tree.flatten(x), [] if y is None else keras.tree.flatten(y)
    if any(each.ndim < 2 for each in xs) or any(each.ndim < 1 for each in ys):
        shapes = " and ".join(str(each.shape) for each in (*xs, *ys))
        raise ValueError(
            f"{path}: x_{part} and y_{part} need one entry for each sample. Received: shapes {shapes}. "
            "Give x as (samples, ...) and y as (samples,)."
        )
    lengths = [len(each) for each in (*xs, *ys)]
    if len(set(lengths)) > 1 or count_of(x) < 2:
        raise ValueError(
            f"{path}: x_{part} and y_{part} need the same length, at least 2. Received: "
            f"{' and '.join(map(str, lengths))}. Give one label for each sample."
        )
    for each in xs:
        check_samples_of_part(each, f"{path}: x_{part}")
    for each in ys:
        check_targets_of_part(each, f"{path}: y_{part}")
