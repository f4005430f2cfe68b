"""TensorFlow without its greetings, and native code without its notes."""

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Iterator


def import_quietly() -> None:
    """Import TensorFlow while the process's stderr is closed to it.

    Its native libraries greet with half a dozen lines on CPU features and GPUs, which no setting
    silences and which would bury the one line of an error.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        importlib.import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The command line exports with TensorFlow. Received: {error}. Install it by pip install "
            "'tf-structprune[export]'."
        ) from error
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def native_code_silenced() -> Iterator[None]:
    """Within the block what native code writes to stderr goes nowhere, and what Python writes there still arrives.

    TensorFlow, XNNPACK and CUDA write to the file descriptor. A stderr that is replaced or closed stays as it is.
    """
    before = sys.stderr
    try:
        replaced = before.fileno() != 2
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):
        replaced = True
    if replaced:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with os.fdopen(kept, "w", buffering=1, errors="backslashreplace") as own:
        os.dup2(nowhere, 2)
        sys.stderr = own
        try:
            yield
        finally:
            own.flush()
            sys.stderr = before
            os.dup2(kept, 2)
            os.close(nowhere)
