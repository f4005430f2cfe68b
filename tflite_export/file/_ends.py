"""The inputs and outputs of a `.tflite` file: their order and their names."""

import re
from collections.abc import Sequence
from typing import Any


def identifiers(names: Sequence[str]) -> tuple[str, ...]:
    """Names as identifiers of letters, digits and single underscores that begin with a letter.

    All are different, whatever capitals count for: TensorFlow's graphs and file systems do not tell them apart.

    Args:
        names: names of layers.
    """
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
        plain = plain if plain[:1].isalpha() else f"n_{plain}".rstrip("_")
        number, chosen = 1, plain
        while chosen.lower() in (each.lower() for each in found):
            number += 1
            chosen = f"{plain}_{number}"
        found.append(chosen)
    return tuple(found)


def order_ends(model: Any, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Edit of a file: its inputs and outputs in the order in which names of its signature are given.

    Args:
        model: a parsed file with one signature.
        inputs: names of all inputs; a single one stays where it is.
        outputs: names of all outputs.
    """
    (signature,) = model.signatureDefs
    (graph,) = model.subgraphs
    for side, ends, names in (("inputs", signature.inputs, inputs), ("outputs", signature.outputs, outputs)):
        if len(names) > 1:
            places = {bytes(end.name).decode(): int(end.tensorIndex) for end in ends}
            setattr(graph, side, [places[name] for name in names])
