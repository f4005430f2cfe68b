"""Which rule a layer has."""

from typing import Any

import keras

from tf_structprune.graph._layer_rules import APPLICATION_RULES, LAYER_RULES
from tf_structprune.graph._operation_rules import OPERATION_RULES
from tf_structprune.graph._rules import LayerRule, inner_layer, registered_rule


def rule_for(layer: Any) -> LayerRule | None:
    """The rule of a layer's exact class (a subclass may do anything), None without one.

    The user's own rules come first.
    """
    kind = type(inner_layer(layer))
    return registered_rule(layer) or LAYER_RULES.get(kind) or _rule_by_name(kind)


def _rule_by_name(kind: type) -> LayerRule | None:
    """The rule of a class that Keras has but does not export."""
    package, _, module = kind.__module__.partition(".src.")
    if package != "keras":
        return None
    if module.startswith("ops.") and not issubclass(kind, keras.layers.Layer):
        return OPERATION_RULES.get(kind.__name__)
    return APPLICATION_RULES.get(f"{module}.{kind.__name__}")


def is_operation(layer: Any) -> bool:
    """Whether it is an operation of `keras.ops` and no layer."""
    return not isinstance(layer, keras.layers.Layer)
