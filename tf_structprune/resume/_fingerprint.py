"""What a result depends on, as short texts that can be compared between processes."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


def digest(*values: Any) -> str:
    """SHA-256 of arrays.

    Args:
        values: arrays, or lists, tuples or dictionaries of them.
    """
    found = hashlib.sha256()
    for value in keras.tree.flatten(values):
        array = np.asarray(value)
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # no copy
    return found.hexdigest()


def wiring(model: keras.Model, *values: Any, names: bool = False) -> str:
    """SHA-256 of a model's layers and how they are connected, without its weights.

    Args:
        model: the model.
        values: arrays that count too, e.g. the weights.
        names: whether the layers' names count; Keras numbers those that it gives anew in each model of a process.
    """
    config = keras.saving.serialize_keras_object(model)["config"]
    if not names:
        config = _numbered(config, {})
    return digest(np.frombuffer(json.dumps(config, sort_keys=True, default=str).encode(), np.uint8), *values)


def identity(value: Any) -> str:
    """A setting as text that is the same in every process; a function counts by its name, not by what it does."""
    return json.dumps(_plain(value), sort_keys=True)


def differences(found: Any, wanted: Mapping[str, Any]) -> list[str]:
    """Names under which two fingerprints are not alike.

    Args:
        found: what was read, anything.
        wanted: the fingerprint of this run.
    """
    read = found if isinstance(found, Mapping) else {}
    return [name for name, value in wanted.items() if read.get(name) != value]


def _numbered(value: Any, numbers: dict[str, str]) -> Any:
    """A configuration in which every name is a number, counted from its beginning."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str):
            numbers.setdefault(value["name"], f"name {len(numbers)}")
        return {numbers.get(name, name): _numbered(part, numbers) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_numbered(part, numbers) for part in value]
    return numbers.get(value, value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """The value in words of JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return digest(value)
    if isinstance(value, keras.losses.Loss | keras.metrics.Metric):
        return json.loads(json.dumps(keras.saving.serialize_keras_object(value), default=str))
    if isinstance(value, type) or not (dataclasses.is_dataclass(value) or hasattr(value, "get_config")):
        return _name(value)
    settings = vars(value) if dataclasses.is_dataclass(value) else value.get_config()
    return {"kind": _name(value), "settings": _plain(settings)}


def _name(value: Any) -> str:
    """Where it is defined; of an object, where its class is."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{getattr(named, '__module__', '')}.{named.__qualname__}"
