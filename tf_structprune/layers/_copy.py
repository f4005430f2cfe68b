"""New objects with the settings of others, made of what those hold and not of what can be written of it."""

from collections.abc import Callable
from typing import Any

import keras

from tf_structprune.graph import config_of


def copy_layer(layer: Any) -> Any:
    """A layer or operation for the place of one, without the weights of that.

    A layer of somebody else's code that holds no variables is given back itself: nothing in it can be trained, and
    its configuration, which may be wrong, need not describe it. Otherwise see `copy_of`.

    Args:
        layer: a layer whose place and input shapes stay the same.

    Raises:
        NotImplementedError, TypeError, ValueError: its configuration does not describe it.
    """
    own = type(layer).__module__.partition(".")[0] == "keras" and not isinstance(layer, keras.layers.Lambda)
    return copy_of(layer) if own or _holds_variables(layer) else layer


def copy_of(thing: Any, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Any:
    """A new object of the same class and settings, without the state.

    Functions, initializers and other objects among the settings are those that the old one holds, whether or not they
    could be registered, written and read again. Layers and optimizers among them are copied.

    Args:
        thing: a layer, operation, metric or optimizer.
        change: changes entries of its configuration, by default none.

    Raises:
        NotImplementedError, TypeError, ValueError: its configuration does not describe it.
    """
    kind, config = type(thing), config_of(thing)
    live = {name: _live(thing, name, told) for name, told in config.items()}
    change(live)
    for make in (kind.from_config, lambda settings: kind(**settings)):
        try:
            return make(dict(live))
        except Exception:  # noqa: BLE001, S112  # of somebody's from_config, which may expect configurations
            continue
    change(config)
    return kind.from_config(config)


def copy_core(layer: Any, change: Callable[[dict[str, Any]], None]) -> Any:
    """As `copy_of`, changing the layer inside a `TimeDistributed`."""
    if type(layer) is not keras.layers.TimeDistributed:
        return copy_of(layer, change)
    inside = copy_core(layer.layer, change)
    return copy_of(layer, lambda config: config.update(layer=inside))


def _holds_variables(layer: Any) -> bool:
    return bool(getattr(layer, "variables", ()) or getattr(layer, "metrics_variables", ()))


def _live(thing: Any, name: str, told: Any) -> Any:
    """What an object holds under the name of a setting, as Python classes do, or what its configuration says."""
    held = vars(thing)
    value = held.get(name, held.get(f"_{name}"))
    if isinstance(told, keras.layers.Layer):
        return copy_layer(told)
    if not isinstance(told, str | dict) or isinstance(value, type):
        return told
    if isinstance(value, keras.layers.Layer):
        return copy_layer(value) if isinstance(told, dict) else told
    if isinstance(value, keras.optimizers.Optimizer):
        return copy_of(value)
    return value if callable(value) else told
