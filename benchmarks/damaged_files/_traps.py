"""Models that would write a file if any part of them were run."""

import base64
import marshal
from typing import Any

import numpy as np


class Trap:
    """Unpickled, it writes the file that must not be there."""

    flag = ""

    def __reduce__(self) -> Any:
        return open, (self.flag, "w")


def _lambda_layer(name: str) -> dict[str, Any]:
    """A layer that would write the flag when it is made, as Keras 2 and 3 write functions."""
    code = compile(f"open({Trap.flag!r}, 'w')", "trap", "eval")
    told = {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None}
    function = {"class_name": "__lambda__", "config": told}
    config = {"name": name, "function": function, "function_type": "lambda", "trainable": True, "arguments": {}}
    return {"class_name": "Lambda", "config": config, "module": "keras.layers", "registered_name": None}


def _foreign_layer(name: str, rng: np.random.Generator) -> dict[str, Any]:
    """A "layer" that is a function of a module, called with the flag."""
    module, kind = (("os", "mkdir"), ("builtins", "open"), ("pathlib", "Path"), ("subprocess", "Popen"))[
        int(rng.integers(4))
    ]
    config = {"name": name, "path": Trap.flag, "file": Trap.flag, "mode": "w", "args": ["touch", Trap.flag]}
    return {"class_name": kind, "module": module, "config": config, "registered_name": None}


def trapped(config: Any, rng: np.random.Generator) -> Any:
    """The configuration with a trap in the place of a layer or inside one."""
    layers = config["config"]["layers"]
    layer = layers[int(rng.integers(1, len(layers)))]
    trap = (
        _lambda_layer(layer["config"]["name"]) if rng.random() < 0.5 else _foreign_layer(layer["config"]["name"], rng)
    )
    if rng.random() < 0.5:
        layer.update({key: value for key, value in trap.items() if key != "inbound_nodes"})
    else:
        key = ("activation", "kernel_initializer", "kernel_regularizer", "dtype")[int(rng.integers(4))]
        layer["config"][key] = trap
    return config
