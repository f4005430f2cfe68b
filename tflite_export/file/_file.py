"""A `.tflite` file as a value: whole, and parsed once."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tflite_export.child import NativeError, native
from tflite_export.file._constants import constant_values
from tflite_export.file._describe import ModelDescription, describe
from tflite_export.file._scores import last_squashing, without_softmax
from tflite_export.file._slim import written_once

_IDENTIFIER = b"TFL3"  # flatbuffer file identifier of the TFLite schema, bytes 4 to 8
_REMEDY = "Export the model again, or pass the path of another .tflite file."


@dataclass(frozen=True)
class TFLiteFile:
    """A whole `.tflite` file; what is in it is parsed when it is first asked for.

    Attributes:
        data: the bytes.
        name: how messages call it.

    Raises:
        ValueError: the bytes are empty, truncated, or of another format.
    """

    data: bytes
    name: str = field(default="model", compare=False)

    def __post_init__(self) -> None:
        if self.data[4:8] != _IDENTIFIER:
            raise ValueError(
                f"{self.name}: not a TFLite model, the identifier TFL3 is missing at byte 4. "
                f"Received: {len(self.data)} bytes starting {self.data[:8]!r}. {_REMEDY}"
            )
        try:
            # LiteRT verifies every offset in C++; only then is it safe to walk the file in Python.
            with native() as ask:
                ask("check", self.data)
        except NativeError as error:
            raise ValueError(
                f"{self.name}: damaged or truncated TFLite model. Received: {len(self.data)} bytes; "
                f"LiteRT says: {' '.join(str(error).split())}. {_REMEDY}"
            ) from error

    @cached_property
    def parsed(self) -> Any:
        """The flatbuffer as objects of the schema (`ModelT`), to be read only; see `edited`."""
        return schema.ModelT.InitFromPackedBuf(self.data)

    @cached_property
    def description(self) -> ModelDescription:
        """Operators and tensors.

        Raises:
            ValueError: the file has several subgraphs.
        """
        return describe(self.parsed, len(self.data))

    @cached_property
    def constants(self) -> dict[int, NDArray[Any]]:
        """Values of the constant tensors, see `constant_values`."""
        return constant_values(self.parsed)

    @cached_property
    def scores(self) -> "TFLiteFile":
        """The file whose outputs are those in front of a last softmax or sigmoid; itself where there is none.

        Quantized exponentials turn a difference of one step in a score into many steps of the probability, so
        two runtimes are compared in the scores.
        """
        places = last_squashing(self.description)
        return self.edited(partial(without_softmax, places=places)) if places else self

    def edited(self, *edits: Callable[[Any], None]) -> "TFLiteFile":
        """A file with changes, which are made one after the other on a copy of `parsed`, see `written_once`."""
        model = schema.ModelT.InitFromPackedBuf(self.data)
        for edit in edits:
            edit(model)
        return TFLiteFile(written_once(model))


TFLiteModel = str | os.PathLike[str] | bytes | TFLiteFile
"""A `.tflite` model: the path of the file, its bytes, or the file itself."""


def open_file(model: TFLiteModel) -> TFLiteFile:
    """The file of a path or of bytes.

    Args:
        model: path of the file, its bytes, or the file, which is given back.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: see `TFLiteFile`.
    """
    if isinstance(model, TFLiteFile):
        return model
    if isinstance(model, bytes):
        return TFLiteFile(model)
    path = Path(model)
    if not path.exists():
        raise FileNotFoundError(f"TFLite model '{path}': no such file. Check the path.")
    if not path.is_file():
        raise ValueError(f"TFLite model '{path}': must be a file. Received: a directory. Name a file in it.")
    return TFLiteFile(path.read_bytes(), f"'{os.fspath(model)}'")
