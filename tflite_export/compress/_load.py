"""The user's model file, loaded safely."""

import os
import zipfile
from pathlib import Path

import keras

from tf_structprune.legacy import from_legacy


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """Load a `.keras` file in Keras's safe mode, or a Keras 2 `.h5` file: no code of the file is run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a Keras model file, a damaged one, or one with layers Keras does not know.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"No model file there. Received: {file}. Give a .keras file saved by Keras 3.")
    if file.suffix in (".h5", ".hdf5"):
        return from_legacy(file)
    if file.suffix != ".keras":
        raise ValueError(
            f"{file} is not a .keras or .h5 file. Received: suffix {file.suffix!r}. "
            "Save it with model.save('NAME.keras')."
        )
    if not zipfile.is_zipfile(file):
        raise ValueError(
            f"{file} is damaged or no Keras 3 model file. Received: {file.stat().st_size} bytes that are no zip "
            "archive. Save the model anew with model.save('NAME.keras')."
        )
    try:
        model = keras.models.load_model(file, safe_mode=True, compile=False)
    except Exception as error:  # Keras raises whatever the damaged part raises
        first = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f"{file} cannot be loaded as a Keras 3 model. Received: {type(error).__name__}: {first}. "
            "Save it anew with model.save; register custom layers and use the Python interface."
        ) from error
    if not isinstance(model, keras.Model):
        raise ValueError(f"{file} holds no model. Received: {type(model).__name__}. Save the whole model.")
    return model
