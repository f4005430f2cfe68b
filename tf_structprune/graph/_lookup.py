"""Which rule a layer has."""

from dataclasses import replace
from typing import Any

import keras

from tf_structprune.graph._layer_rules import APPLICATION_RULES, LAYER_RULES
from tf_structprune.graph._operation_rules import OPERATION_RULES
from tf_structprune.graph._rules import Flow, LayerRule, core_layer, inner_layer, registered_rule, step_axes

# What is followed in the same way whether all steps are seen at once or one after the other.
_EACH_STEP = (Flow.PRODUCE, Flow.DEPTHWISE, Flow.FOLLOW, Flow.GROUP_NORMALIZE, Flow.REARRANGE)


def rule_for(layer: Any) -> LayerRule | None:
    """The rule of a layer's exact class (a subclass may do anything), None without one.

    The user's own rules come first. A `TimeDistributed` has that of the layer in it.
    """
    inner, core = inner_layer(layer), core_layer(layer)
    own = registered_rule(inner)
    rule = own or registered_rule(core) or LAYER_RULES.get(type(core)) or _rule_by_name(type(core))
    if own is not None or rule is None or not step_axes(layer) or rule.flow in _EACH_STEP:
        return rule
    return replace(rule, refuse=lambda each: rule.refuse(each) or "TimeDistributed cannot be followed around it")


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
