"""Figures of a file for Model Explorer, which lays them over its graph."""

import json
from collections.abc import Callable

from tflite_export.report._values import Operator, Profile

_FEW, _MANY = "#fff7ec", "#fc8d59"  # ColorBrewer's OrRd, from its lightest to one on which black text is read

_OVERLAYS: dict[str, tuple[str, Callable[[Operator], float | None]]] = {
    "time": ("time (us)", lambda operator: operator.time_us),
    "bytes": ("constants (bytes)", lambda operator: operator.weight_bytes or None),
    "macs": ("MACs", lambda operator: operator.macs or None),
    "memory": ("live signals (bytes)", lambda operator: operator.live_bytes),
    "sparsity": ("zeros (%)", lambda operator: None if operator.zeros is None else round(100 * operator.zeros, 2)),
}
"""By name of the file: title and figure."""


def node_data(profile: Profile) -> dict[str, str]:
    """JSON texts by name, each of which `model-explorer FILE.tflite --node_data_paths=A.json,B.json` takes.

    Model Explorer takes one figure a file. A node is named by the place of its operator in the file, as it does itself,
    for most of our files have no tensor names. A figure that no operator has is left out.

    Args:
        profile: of the file.
    """
    found = {}
    for name, (title, of) in _OVERLAYS.items():
        values = {str(at): of(operator) for at, operator in enumerate(profile.operators)}
        results = {node: {"value": value} for node, value in values.items() if value is not None}
        if results:
            gradient = [{"stop": 0, "bgColor": _FEW}, {"stop": 1, "bgColor": _MANY}]
            found[name] = json.dumps({"name": title, "results": results, "gradient": gradient}, indent=1) + "\n"
    return found
