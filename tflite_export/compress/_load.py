"""The user's model file, loaded safely."""

import json
import os
import warnings
import zipfile
from pathlib import Path

import h5py
import keras

from tf_structprune.legacy import from_legacy, is_legacy, keras_version
from tf_structprune.resume import check_archive
from tf_structprune.untrusted import check_counts, check_datasets

_HDF5 = (".h5", ".hdf5")
_WEIGHTS = ("model.weights.h5", "model.weights.npz")


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` or `.h5` file in Keras's safe mode, or a Keras 2 `.h5` file: no code of the file is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a Keras model file, a damaged one, or one with layers Keras does not know.
    """
    file = Path(path)
    if (file / "saved_model.pb").is_file():
        raise ValueError(
            f"{file} is a SavedModel folder, not a model file. Load it with tf_keras.models.load_model, pass the "
            "model to tf_structprune.from_legacy and save what that returns with model.save('NAME.keras')."
        )
    if not file.is_file():
        raise FileNotFoundError(f"No model file there. Received: {file}. Give a .keras file saved by Keras 3.")
    if file.suffix not in (".keras", *_HDF5):
        raise ValueError(
            f"{file} is not a .keras or .h5 file. Received: suffix {file.suffix!r}. "
            "Save it with model.save('NAME.keras')."
        )
    if file.suffix in _HDF5:
        return _from_keras_3(file) if h5py.is_hdf5(file) and not _is_legacy_h5(file) else from_legacy(file)
    if not zipfile.is_zipfile(file):
        raise ValueError(
            f"{file} is damaged or no Keras 3 model file. Received: {file.stat().st_size} bytes that are no zip "
            "archive. Save the model anew with model.save('NAME.keras')."
        )
    return _from_keras_3(file)


def _from_keras_3(file: Path) -> keras.Model:
    try:
        version = _check_hdf5(file) if file.suffix in _HDF5 else _check_zip(file)
        model = None if is_legacy(version) else _loaded(file)
    except Exception as error:  # Keras raises whatever the damaged part raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f"{file} cannot be loaded as a Keras 3 model. Received: {type(error).__name__}: {first}. "
            "Save it anew with model.save; register custom layers and use the Python interface."
        ) from error
    if model is None:
        raise ValueError(
            f"{file} was written by Keras {version}. Load it with tf_keras.models.load_model, pass the "
            "model to tf_structprune.from_legacy and save what that returns with model.save('NAME.keras')."
        )
    if not isinstance(model, keras.Model):
        raise ValueError(f"{file} holds no model. Received: {type(model).__name__}. Save the whole model.")
    return model


def _loaded(file: Path) -> object:
    with warnings.catch_warnings():
        # Else layers whose weights the file lacks keep those that they were made with.
        warnings.filterwarnings("error", "Skipping nested container", UserWarning)
        return keras.models.load_model(file, safe_mode=True, compile=False)


def _is_legacy_h5(file: Path) -> bool:
    """Whether it is one for `from_legacy`, which says what is wrong with a damaged one."""
    try:
        with h5py.File(file, "r") as opened:
            return is_legacy(keras_version(opened))
    except Exception:
        return True


def _check_hdf5(file: Path) -> str:
    """Refuses sizes that cannot be; gives the version of Keras that wrote it."""
    with h5py.File(file, "r") as opened:
        check_counts(json.loads(opened.attrs["model_config"]), check_datasets(opened))
        return keras_version(opened)


def _check_zip(file: Path) -> str:
    with zipfile.ZipFile(file) as archive:
        check_archive(archive)
        weights = [name for name in archive.namelist() if name in _WEIGHTS]
        if _WEIGHTS[0] in weights:
            with archive.open(_WEIGHTS[0]) as entry, h5py.File(entry, "r") as opened:
                check_datasets(opened)
        if weights:  # else Keras says what is missing
            check_counts(json.loads(archive.read("config.json")), archive.getinfo(weights[0]).file_size)
        told = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
        return str(told.get("keras_version") or "3")
