"""Keeps the converter's chatter off the terminal."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TensorFlow's log, Python warnings and everything that native code writes to stderr.

    The converter's C++ code writes notes to file descriptor 2, which no Python setting reaches. What it
    has to say about a failure is also in the exception.
    """
    logger = logging.getLogger("tensorflow")
    level = logger.level
    with warnings.catch_warnings(), _native_stderr_dropped():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def _native_stderr_dropped() -> Iterator[None]:
    try:
        saved = os.dup(2)
    except OSError:  # a daemon without stderr: nothing to silence
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
