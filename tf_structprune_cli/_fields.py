"""The fields of a settings class, read from its source: importing it takes TensorFlow, and --help answers at once."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Field:
    """A field as it is declared.

    Attributes:
        name: its name.
        kind: its type, as text.
        default: its value if nothing is given.
        told: what it is, from the `Attributes:` of the class.
    """

    name: str
    kind: str
    default: Any
    told: str


def fields_of(path: str, name: str) -> tuple[Field, ...]:
    """The fields of a dataclass whose defaults are literals.

    Args:
        path: source file, within the folder that the packages lie in.
        name: of the class.
    """
    module = ast.parse((_ROOT / path).read_text(encoding="utf-8"))
    (found,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    section = (ast.get_docstring(found) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    told = {key: " ".join(text.split()) for key, text in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", section, re.M)}
    return tuple(
        Field(line.target.id, ast.unparse(line.annotation), ast.literal_eval(line.value), told[line.target.id])
        for line in found.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None
    )
