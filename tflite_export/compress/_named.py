"""What a text of the form `module:name` names in the user's code."""

import importlib
import os
import re
import sys
from typing import Any

from tf_structprune.task import Objective

_NAME = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


def is_name(text: str) -> bool:
    """Whether a text has the form `module:name`."""
    return _NAME.fullmatch(text) is not None


def objective_of(loss: Any, score: Any) -> Objective:
    """A loss and a score, each as it is or as the text `module:function` names it; of a class one is made.

    Raises:
        ValueError: there is no such function.
    """
    return Objective(_found(loss, "loss"), _found(score, "score"))


def _found(given: Any, what: str) -> Any:
    if not isinstance(given, str) or not is_name(given):
        return given
    found = named(given, what)
    return found() if isinstance(found, type) else found


def named(text: str, what: str) -> Any:
    """The function or class of a module; modules are also looked for in the working directory.

    Args:
        text: `module:name`.
        what: it is for, in an error.

    Raises:
        ValueError: there is none, or it cannot be called.
    """
    module, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"No function for the {what} there. Received: {text}: {error}. Name a function of a module that Python "
            "finds from here."
        ) from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise ValueError(f"{text} is no function. Received: {type(found).__name__}. Name one.")
    return found
