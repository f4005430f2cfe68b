"""The texts of the firmware's files, with places for what belongs to a model."""

import string
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path(__file__).parent / "texts"


def filled(text: str, names: Mapping[str, object]) -> str:
    """A text with its places filled.

    Args:
        text: its path in the folder `texts`, where `${place}` is a place and `$$` a dollar.
        names: what comes into each place.
    """
    return string.Template((_FOLDER / text).read_text()).substitute(names)


def texts_in(folder: str) -> tuple[str, ...]:
    """Paths of the texts of a folder and its folders, within it."""
    root = _FOLDER / folder
    return tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()))
