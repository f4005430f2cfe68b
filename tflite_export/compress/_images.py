"""A folder of images as data: one folder a class."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tflite_export.compress._data import Data, split_rows

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}
_VALIDATION = ("val", "validation")
_TEST_SEED = 1  # beside the seed: validation and test data are drawn independently
_TOLD = 5

_Labelled = list[tuple[Path, int]]


def load_images(folder: Path, model: keras.Model | None, *, seed: int, skip_corrupt: bool = False) -> Data:
    """Images and the indices of their classes, which are the names of the folders in order.

    The images are in train/, test/ and perhaps val/, or in one folder a class, of which a tenth becomes test data. They
    are bytes in the size and the channels that the model takes, scaled where they have another; decoded once, into
    files without a name in the folder for temporary files, of which the system holds in memory what there is room for.

    Args:
        folder: the folder.
        model: takes one image.
        seed: of the splits.
        skip_corrupt: leave images out that cannot be read, with a warning that counts them.

    Raises:
        ValueError: no model or one that takes no image, folders without images, one class only, classes that the
            training part does not have, or images that cannot be read.
    """
    shape = _image_shape(folder, model)
    corrupt: list[Path] = []
    parts = _parts(folder, seed)
    arrays = {name: _read(part, shape, corrupt) for name, part in parts.items()}
    if corrupt:
        told = _corrupt_told(corrupt, sum(map(len, parts.values())))
        if not skip_corrupt:
            raise ValueError(f"{told} Remove them, or leave them out with --skip-corrupt.")
        logging.warning("%s They are left out.", told)
    (x, y), (x_val, y_val), (x_test, y_test) = (arrays[name] for name in ("train", "val", "test"))
    return Data(x, y, x_val, y_val, x_test, y_test)


def _image_shape(folder: Path, model: keras.Model | None) -> tuple[int, int, int]:
    if model is None:
        raise ValueError(f"{folder} has images. Received: no model that tells their size. Give the model too.")
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 3 or None in shapes[0] or shapes[0][-1] not in _MODES:
        told = ", ".join(map(str, shapes))
        raise ValueError(
            f"Model '{model.name}' takes no images of height x width x 1, 3 or 4 channels. Received: {told}, and a "
            f"folder of images, {folder}. Give arrays in a .npz."
        )
    height, width, channels = shapes[0]
    return height, width, channels


def _parts(folder: Path, seed: int) -> dict[str, _Labelled]:
    """Paths and classes of the training, validation and test part."""
    if not (folder / "train").is_dir():
        found = _classes(folder, sorted(_names(folder)))
        rest, held_out = split_rows(len(found), seed + _TEST_SEED)
        parts = {"train": [found[at] for at in rest], "test": [found[at] for at in held_out]}
    else:
        names = sorted(_names(folder / "train"))
        parts = {"train": _classes(folder / "train", names)}
        for name in ("test", *_VALIDATION):
            if (folder / name).is_dir():
                parts["val" if name in _VALIDATION else name] = _classes(folder / name, names)
        if "test" not in parts:
            rest, held_out = split_rows(len(parts["train"]), seed + _TEST_SEED)
            parts["test"] = [parts["train"][at] for at in held_out]
            parts["train"] = [parts["train"][at] for at in rest]
    if "val" not in parts:
        rest, held_out = split_rows(len(parts["train"]), seed)
        parts["val"] = [parts["train"][at] for at in held_out]
        parts["train"] = [parts["train"][at] for at in rest]
    return parts


def _names(folder: Path) -> list[str]:
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if len(names) < 2:
        raise ValueError(
            f"{folder} must have a folder for each of two or more classes. Received: {', '.join(names) or 'none'}. Put "
            "the images of each class in a folder of its name."
        )
    return names


def _classes(folder: Path, names: Sequence[str]) -> _Labelled:
    unknown = sorted(set(_names(folder)) - set(names))
    if unknown:
        raise ValueError(
            f"{folder} has classes that the training part has not. Received: {', '.join(unknown[:_TOLD])}. Use "
            f"{', '.join(names)}."
        )
    found: _Labelled = []
    for index, name in enumerate(names):
        files = sorted(path for path in folder.glob(f"{name}/**/*") if path.suffix.lower() in _ENDINGS)
        if not files and (folder / name).is_dir():
            raise ValueError(
                f"{folder / name} has no images. Received: no file that ends in {', '.join(_ENDINGS)}. Remove the "
                "folder, or put images there."
            )
        found += [(path, index) for path in files]
    return found


def _read(part: _Labelled, shape: tuple[int, int, int], corrupt: list[Path]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Images as bytes, shape (samples, height, width, channels), and classes; what cannot be read is noted."""
    labels: list[int] = []
    with tempfile.TemporaryFile() as file:
        for path, label in part:
            try:
                image = keras.utils.load_img(
                    path, color_mode=_MODES[shape[-1]], target_size=shape[:2], interpolation="bilinear"
                )
                pixels = np.asarray(image, np.uint8).reshape(shape)
            except Exception:  # Pillow raises whatever the damaged part raises
                corrupt.append(path)
                continue
            file.write(pixels.tobytes())
            labels.append(label)
        file.flush()
        images = np.memmap(file, np.uint8, "r", shape=(len(labels), *shape)) if labels else np.empty((0, *shape), "u1")
    return images, np.array(labels, np.int64)


def _corrupt_told(corrupt: Sequence[Path], count: int) -> str:
    more = f" and {len(corrupt) - _TOLD} more" if len(corrupt) > _TOLD else ""
    return f"{len(corrupt)} of {count} images cannot be read. Received: {', '.join(map(str, corrupt[:_TOLD]))}{more}."
