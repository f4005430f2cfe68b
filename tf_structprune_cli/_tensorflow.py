"""Import TensorFlow without its greetings."""

import importlib
import logging
import os


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
