"""One sentence for whatever libraries raise over the bytes of a file."""

import contextlib
import os
from collections.abc import Iterator

_MOST_TOLD = 600  # characters; Keras prints whole configurations


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], kind: str, advice: str) -> Iterator[None]:
    """Any error of the block becomes a ValueError that names the file.

    Bytes of strangers make parsers raise whatever they like, up to MemoryError and RecursionError. This is the one
    place where all of that is caught; a `ValueError` that is a whole sentence stays what it says.

    Args:
        path: the file.
        kind: what it should be, e.g. "a Keras 2 model".
        advice: what to do instead, a sentence.

    Raises:
        ValueError: the block raised anything.
    """
    name = os.fspath(path)
    try:
        yield
    except Exception as error:
        told = " ".join(str(error).split())[:_MOST_TOLD]
        if type(error) is ValueError and told.endswith("."):
            raise ValueError(told if name in told else f"{name}: {told}") from error
        kind_of_error = "" if type(error) is ValueError else f"{type(error).__name__}: "
        told = told.partition(". ")[0].rstrip(".") or "no further words"
        raise ValueError(f"{name} cannot be read as {kind}. Received: {kind_of_error}{told}. {advice}") from error
