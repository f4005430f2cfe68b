"""A Keras 3 model from the configuration of a Keras 2 model, without its weights."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from tf_structprune.legacy._entries import (
    Config,
    LayerEntry,
    allowed_name,
    layer_entries,
    model_entry,
    modernise,
    plain_config,
)
from tf_structprune.legacy._operators import OPERATORS, slice_tensor
from tf_structprune.legacy._source import LegacyModel

_TensorKey = tuple[str, int, int]
_MODELS = ("Functional", "Model", "Sequential")
_REFUSED = ("Lambda", "TFOpLambda", "TensorFlowOpLayer")


@dataclass(frozen=True)
class Part:
    """A layer or model of the legacy model and what was built from it.

    Attributes:
        entry: the legacy layer.
        layer: the Keras 3 layer or model; None for inputs and operators.
        parts: the layers, where it is a model.
    """

    entry: LayerEntry
    layer: Any = None
    parts: tuple["Part", ...] = ()

    def leaves(self) -> Iterator["Part"]:
        """The layers with weights of their own, in the order of the legacy model."""
        if self.layer is not None and not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


def build(legacy: LegacyModel, custom_objects: Mapping[str, type]) -> Part:
    """Build the model; its weights are as Keras initialises them.

    Raises:
        ValueError: a layer or operator without an equivalent, named; an unbuilt Sequential model.
    """
    return _model(model_entry(legacy.entry, legacy.origin), custom_objects)


def _model(entry: LayerEntry, custom_objects: Mapping[str, type]) -> Part:
    entries = list(layer_entries(entry.config))
    if "input_layers" in entry.config:
        return _functional(entry, entries, custom_objects)
    return _sequential(entry, entries, custom_objects)


def _sequential(entry: LayerEntry, entries: list[LayerEntry], custom_objects: Mapping[str, type]) -> Part:
    name = allowed_name(entry.config.get("name"))
    start = []
    if entries and entries[0].class_name == "InputLayer":
        start = [keras.layers.InputLayer(**_input_arguments(entries.pop(0)))]
    elif entries and "batch_input_shape" in entries[0].config:  # before Keras 2.3
        start = [keras.layers.InputLayer(batch_shape=entries[0].config["batch_input_shape"])]
    parts = tuple(_part(each, custom_objects) for each in entries)
    model = keras.Sequential([*start, *(part.layer for part in parts)], name=name)
    if not model.built:
        raise ValueError(f"{entry.name}: Sequential model '{name}' has no input shape. Call it on data, then save it.")
    return Part(entry, model, parts)


def _functional(entry: LayerEntry, entries: list[LayerEntry], custom_objects: Mapping[str, type]) -> Part:
    parts, tensors = [], {}
    for each in entries:
        if each.class_name == "InputLayer":
            tensors[each.name, 0, 0] = keras.Input(**_input_arguments(each))
        else:
            parts.append(_part(each, custom_objects))
    _call_all(parts, tensors)
    inputs, outputs = (_resolve(_unpacked(entry.config[key]), tensors) for key in ("input_layers", "output_layers"))
    return Part(entry, keras.Model(inputs, outputs, name=allowed_name(entry.config.get("name"))), tuple(parts))


def _call_all(parts: list[Part], tensors: dict[_TensorKey, Any]) -> None:
    """Call every layer as often as the legacy model does; shared layers may wait for each other."""
    # Keras 2 counts a model's own construction as its call 0.
    pending = [
        (part, index, node)
        for part in parts
        for index, node in enumerate(part.entry.nodes, start=int(isinstance(part.layer, keras.Model)))
    ]
    while pending:
        waiting = []
        for part, index, node in pending:
            if any(key not in tensors for key in _references(node)):
                waiting.append((part, index, node))
                continue
            outputs = keras.tree.flatten(_call(part, node, tensors))
            tensors.update({(part.entry.name, index, position): out for position, out in enumerate(outputs)})
        if len(waiting) == len(pending):
            raise ValueError(
                f"Layer '{pending[0][0].entry.name}' reads a tensor that no layer makes. Received: {pending[0][2]}."
            )
        pending = waiting


def _call(part: Part, node: Any, tensors: Mapping[_TensorKey, Any]) -> Any:
    entry = part.entry
    given, options = _arguments(node, tensors)
    try:
        if part.layer is not None:
            return part.layer(given, **{key: value for key, value in options.items() if value is not None})
        options = {key: value for key, value in options.items() if key != "name"}
        if entry.class_name == "SlicingOpLambda":
            return slice_tensor(given, **options)
        return OPERATORS[entry.config["function"]](allowed_name(entry.name), given, **options)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"Layer '{entry.name}' ({entry.config.get('function', entry.class_name)}) cannot be called in Keras 3: "
            f"{_reason(error)} Replace it by a Keras layer in tf_keras."
        ) from error


def _arguments(node: Any, tensors: Mapping[_TensorKey, Any]) -> tuple[Any, dict[str, Any]]:
    """What a layer is called on, and with which keywords."""
    named = isinstance(node, dict)
    calls = list(node.values()) if named else [node] if _is_call(node) else node
    values = [call[2] if call[0] == "_CONSTANT_VALUE" else tensors[call[0], call[1], call[2]] for call in calls]
    options = _resolve(calls[0][3] if len(calls[0]) > 3 else {}, tensors)
    if named:
        return dict(zip(node, values, strict=True)), options
    return _unpacked(values), options


def _part(entry: LayerEntry, custom_objects: Mapping[str, type]) -> Part:
    if _is_operator(entry):
        return Part(entry)
    if entry.class_name in _MODELS or "input_layers" in entry.config:
        return _model(entry, custom_objects)
    return Part(entry, _layer(entry, custom_objects))


def _layer(entry: LayerEntry, custom_objects: Mapping[str, type]) -> keras.Layer:
    layer_class: Any = custom_objects.get(entry.class_name)
    custom = layer_class is not None
    class_name, config = ("", plain_config(entry.config)) if custom else modernise(entry.class_name, entry.config)
    if not custom and class_name not in _REFUSED:
        layer_class = getattr(keras.layers, class_name, None)
    if layer_class is None:
        raise ValueError(_no_equivalent(entry))
    try:
        layer = layer_class.from_config(config)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise ValueError(
            f"Layer '{entry.name}' ({entry.class_name}) cannot be built in Keras 3: {_reason(error)} Replace it in "
            f"tf_keras, or pass a Keras 3 class for '{entry.class_name}' in custom_objects."
        ) from error
    if not isinstance(layer, keras.Layer):
        raise ValueError(
            f"Layer '{entry.name}': custom_objects['{entry.class_name}'] must be a Keras 3 layer. "
            f"Received: {layer_class.__module__}.{layer_class.__name__}."
        )
    return layer


def _is_operator(entry: LayerEntry) -> bool:
    if entry.class_name == "TFOpLambda":
        return entry.config["function"] in OPERATORS
    return entry.class_name == "SlicingOpLambda"


def _reason(error: Exception) -> str:
    """What went wrong, without the whole configuration that Keras prints before it."""
    return str(error).rpartition("Exception encountered: ")[2].strip()


def _no_equivalent(entry: LayerEntry) -> str:
    if entry.class_name == "TFOpLambda":
        return (
            f"Layer '{entry.name}': the operator tf.{entry.config['function']} cannot be converted to Keras 3. "
            "Replace it by a Keras layer in tf_keras."
        )
    return (
        f"Layer '{entry.name}' ({entry.class_name}) has no equivalent in Keras 3. Replace it in tf_keras, or pass a "
        f"Keras 3 class for '{entry.class_name}' in custom_objects."
    )


def _input_arguments(entry: LayerEntry) -> Config:
    config = plain_config({"batch_shape": entry.config.get("batch_input_shape"), **entry.config})
    if config.get("sparse") or config.get("ragged"):
        raise ValueError(f"Layer '{entry.name}': sparse and ragged inputs cannot be converted. Use a dense input.")
    return {key: config[key] for key in ("batch_shape", "dtype", "name")}


def _is_call(value: Any) -> bool:
    """Whether it is `[layer, node, tensor, ...]`, a tensor's reference or a call on one."""
    if not isinstance(value, list) or len(value) < 3 or not isinstance(value[0], str):
        return False
    return value[0] == "_CONSTANT_VALUE" or (isinstance(value[1], int) and isinstance(value[2], int))


def _references(value: Any) -> Iterator[_TensorKey]:
    """Keys of the tensors that a call reads, in its arguments and its keywords."""
    if _is_call(value):
        if value[0] != "_CONSTANT_VALUE":
            yield (value[0], value[1], value[2])
        value = value[3:]
    if isinstance(value, dict):
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _references(item)


def _resolve(value: Any, tensors: Mapping[_TensorKey, Any]) -> Any:
    """The value with tensors in place of their references."""
    if _is_call(value) and tuple(value[:3]) in tensors:
        return tensors[value[0], value[1], value[2]]
    if isinstance(value, dict):
        return {key: _resolve(item, tensors) for key, item in value.items()}
    return [_resolve(item, tensors) for item in value] if isinstance(value, list) else value


def _unpacked(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
