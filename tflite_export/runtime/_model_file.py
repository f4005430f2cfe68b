"""A `.tflite` file as bytes that are known to be one."""

import os
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter, OpResolverType

TFLiteModel = str | os.PathLike[str] | bytes
"""A `.tflite` model: the path of the file, or its bytes."""

_IDENTIFIER = b"TFL3"  # flatbuffer file identifier of the TFLite schema, bytes 4 to 8
_REMEDY = "Export the model again, or pass the path of another .tflite file."


def model_name(model: TFLiteModel) -> str:
    """The name of a model for messages: its path, or 'model' for bytes."""
    return "model" if isinstance(model, bytes) else f"'{os.fspath(model)}'"


def read_model(model: TFLiteModel) -> bytes:
    """Reads a `.tflite` model and checks that it is whole.

    Args:
        model: path of the file, or its bytes.

    Returns:
        The bytes of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated, or of another format.
    """
    name = model_name(model)
    data = model if isinstance(model, bytes) else _read_file(Path(model))
    if data[4:8] != _IDENTIFIER:
        raise ValueError(
            f"{name}: not a TFLite model, the identifier TFL3 is missing at byte 4. "
            f"Received: {len(data)} bytes starting {data[:8]!r}. {_REMEDY}"
        )
    try:
        # LiteRT verifies every offset in C++; only then is it safe to walk the file in Python.
        Interpreter(
            model_content=data,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name}: damaged or truncated TFLite model. Received: {len(data)} bytes; "
            f"LiteRT says: {str(error).strip()}. {_REMEDY}"
        ) from error
    return data


def _read_file(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"TFLite model '{path}': no such file. Check the path.")
    if not path.is_file():
        raise ValueError(f"TFLite model '{path}': must be a file. Received: a directory. Name a file in it.")
    return path.read_bytes()
