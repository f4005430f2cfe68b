"""A Keras 2 model as plain data: its configuration, its weights, its compile state."""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tf_structprune.untrusted import check_counts, check_datasets

Weight = tuple[str, NDArray[Any]]
"""Legacy name, such as "conv/kernel:0", and value of a weight."""


@dataclass(frozen=True)
class LegacyModel:
    """What a Keras 2 model consists of.

    Attributes:
        origin: words for messages, e.g. "File 'a.h5'".
        entry: `class_name` and `config` of the model.
        weights: weights by name of the layer, those of a nested model as one list; of each list
            all that train come first.
        training: `optimizer_config`, `loss`, `metrics`, `weighted_metrics` and `loss_weights`;
            None: not compiled.
    """

    origin: str
    entry: dict[str, Any]
    weights: Mapping[str, Sequence[Weight]]
    training: dict[str, Any] | None


def read_file(path: str | os.PathLike[str]) -> LegacyModel:
    """Read a .h5 model file that `check_path` let pass.

    Raises:
        ValueError: it is not a Keras 2 model file. What is damaged raises anything.
    """
    with h5py.File(path, "r") as file:
        _check_content(file, Path(path))
        entry, training = json.loads(file.attrs["model_config"]), file.attrs.get("training_config")
        check_counts(entry, check_datasets(file))
        return LegacyModel(
            origin=f"File '{path}'",
            entry=entry,
            weights=_weights_in(file["model_weights"]),
            training=None if training is None else json.loads(training),
        )


def read_live(model: Any) -> LegacyModel:
    """Read a live tf_keras model; only public methods are called and nothing is changed.

    Raises:
        ValueError: a subclassed or unbuilt model.
    """
    origin = f"Model '{model.name}'"
    try:
        entry = json.loads(model.to_json())
    except (NotImplementedError, TypeError) as error:
        raise ValueError(f"{origin} ({type(model).__name__}) has no readable configuration: {error}") from error
    if "layers" not in entry["config"]:
        raise ValueError(
            f"{origin} is subclassed ({type(model).__name__}): its layers are Python code that cannot be converted. "
            "Build it with tf_keras.Sequential or tf_keras.Model(inputs, outputs)."
        )
    return LegacyModel(origin, entry, _weights_of(model, origin), _training_of(model))


def check_path(path: Path) -> None:
    """Refuse what is no HDF5 file.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: it is something else.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no file '{path}'. Give the path of a Keras 2 .h5 model file.")
    if path.is_dir():
        raise ValueError(
            f"'{path}' is a directory (SavedModel?), not a Keras 2 .h5 model file. Load it with "
            "tf_keras.models.load_model and pass the model."
        )
    if path.suffix == ".keras":
        raise ValueError(
            f"'{path}' is a .keras file, not a Keras 2 .h5 model file. Use keras.models.load_model; if tf_keras "
            "wrote it, load it with tf_keras.models.load_model and pass the model."
        )
    if not h5py.is_hdf5(path):
        raise ValueError(f"'{path}' is not an HDF5 file. Give the path of a Keras 2 .h5 model file.")


def _check_content(file: h5py.File, path: Path) -> None:
    if "model_config" not in file.attrs:
        found = "weights only" if "layer_names" in file.attrs else "no Keras model"
        raise ValueError(
            f"'{path}' holds {found}, not a whole model. Save the model with model.save('{path.stem}.h5'), or load "
            "the weights into the tf_keras model and pass that."
        )
    if "model_weights" not in file:
        raise ValueError(f"'{path}' holds a model without its weights. Save the whole model with model.save.")
    version = keras_version(file)
    if not is_legacy(version):
        raise ValueError(f"'{path}' was written by Keras {version} and is not legacy. Use keras.models.load_model.")


def keras_version(file: h5py.File) -> str:
    """Which Keras wrote the file; "" where it does not say."""
    return _text(file.attrs.get("keras_version", ""))


def is_legacy(version: str) -> bool:
    """Whether a version of Keras is one before 3."""
    return version.partition(".")[0] in ("", "1", "2")


def _weights_in(group: h5py.Group) -> dict[str, list[Weight]]:
    return {
        layer: [(weight, np.asarray(group[layer][weight])) for weight in _names(group[layer], "weight_names")]
        for layer in _names(group, "layer_names")
    }


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names; Keras cuts those above 64 KB into attributes with the suffixes 0, 1, ..."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    chunks = (f"{attribute}{index}" for index in itertools.count())
    found = itertools.takewhile(lambda chunk: chunk in group.attrs, chunks)
    return [_text(name) for chunk in found for name in group.attrs[chunk]]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _weights_of(model: Any, origin: str) -> dict[str, list[Weight]]:
    unbuilt = [layer.name for layer in model.layers if not layer.built]
    if unbuilt or not model.built:
        raise ValueError(
            f"{origin} is not built, it has no weights yet. Call it on data or give it an input shape first."
        )
    return {
        layer.name: [(w.name, w.numpy()) for w in layer.trainable_weights + layer.non_trainable_weights]
        for layer in model.layers
    }


def _training_of(model: Any) -> dict[str, Any] | None:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return None
    config = model.get_compile_config() or {}
    # The compile configuration has the optimizer as it was then; its learning rate may have moved.
    now = {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}
    return {**config, "optimizer_config": now}
