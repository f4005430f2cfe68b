"""Layers of a Keras 2 configuration, edited into what Keras 3 takes: plain data in, plain data out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PRUNED = "PruneLowMagnitude"
CLUSTERED = "ClusterWeights"

Config = dict[str, Any]


@dataclass(frozen=True)
class LayerEntry:
    """One layer of a Keras 2 configuration, its tfmot wrapper taken off.

    Attributes:
        name: name in the legacy model, the wrapper's if there is one.
        class_name: class of the layer itself.
        config: its arguments, as Keras 3 takes them.
        nodes: its calls, each as Keras 2 writes them.
        wrapper: class of the wrapper that was taken off; "" for none.
    """

    name: str
    class_name: str
    config: Config
    nodes: tuple[Any, ...] = ()
    wrapper: str = ""


def layer_entries(config: Config) -> Iterator[LayerEntry]:
    """The layers of a model's configuration, in its order.

    Raises:
        ValueError: a layer whose wrapper cannot be taken off.
    """
    for layer in config["layers"]:
        yield _entry(layer)


def model_entry(saved: Config, name: str) -> LayerEntry:
    """The model itself as an entry, under a name for messages."""
    return LayerEntry(name, _class_name(saved), _model_config(saved["config"]))


def modernise(class_name: str, config: Config) -> tuple[str, Config]:
    """Class and arguments of a Keras layer as Keras 3 has them; the given ones are not changed.

    Raises:
        ValueError: an argument that Keras 3 has not, or reads differently.
    """
    renewed = plain_config(config)
    for key, value in renewed.items():
        if key.endswith("activation") and value == "hard_sigmoid":
            raise ValueError(
                f"Layer '{config.get('name')}': {key}='hard_sigmoid' is clip(0.2 x + 0.5, 0, 1) in Keras 2 and "
                "relu6(x + 3) / 6 in Keras 3. Replace the activation in tf_keras, or pass a Keras 3 class for "
                f"'{class_name}' in custom_objects."
            )
    for key in _DROPPED.get(class_name, ()):
        renewed.pop(key, None)
    if class_name in _CHANGED:
        renewed = _CHANGED[class_name](renewed)
    return _RENAMED.get(class_name, class_name), renewed


def plain_config(config: Config) -> Config:
    """Arguments of any layer without the marks of the Keras 2 format, with a name that Keras 3 allows."""
    renewed = {key: _modern_value(value) for key, value in config.items() if key != "batch_input_shape"}
    return {**renewed, "name": allowed_name(config["name"])} if "name" in config else renewed


def allowed_name(name: str | None) -> str | None:
    """A name without the `/` that Keras 3 forbids."""
    return name.replace("/", "_") if name else name


def _entry(layer: Config) -> LayerEntry:
    config = _model_config(layer["config"])
    name = layer.get("name") or config.get("name") or layer["class_name"]
    class_name, nodes = _class_name(layer), tuple(layer.get("inbound_nodes", ()))
    if class_name not in (PRUNED, CLUSTERED):
        return LayerEntry(name, class_name, config, nodes)
    if config.get("preserve_sparsity"):
        raise ValueError(
            f"Layer '{name}': which weights preserve_sparsity=True holds at zero is not saved with the model. "
            "Call tfmot.clustering.keras.strip_clustering first and pass what it returns."
        )
    shape = {"batch_input_shape": config["batch_input_shape"]} if "batch_input_shape" in config else {}
    return LayerEntry(name, _class_name(config["layer"]), {**config["layer"]["config"], **shape}, nodes, class_name)


def _model_config(config: Any) -> Config:
    """Sequential models were a bare list of layers before Keras 2.2.3."""
    return {"layers": config} if isinstance(config, list) else config


def _class_name(layer: Config) -> str:
    return str(layer["class_name"]).rpartition(">")[2]  # "Custom>Name" of registered classes


def _modern_value(value: Any) -> Any:
    """A value without the serialization marks that Keras 3 does not read."""
    if isinstance(value, list):
        return [_modern_value(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = str(value.get("class_name", "")).rpartition(">")[2]
    if kind in ("__tuple__", "TensorShape"):
        return tuple(_modern_value(item) for item in value["items"])
    if kind in ("Policy", "PolicyV1"):
        return value["config"]["name"]
    if "class_name" in value and isinstance(value.get("config"), dict):
        kind, config = modernise(value["class_name"], value["config"])
        kept = {key: item for key, item in value.items() if key != "build_config"}
        return {**kept, "class_name": kind, "config": config}
    return {key: _modern_value(item) for key, item in value.items()}


def _one_axis(config: Config) -> Config:
    axis = config.get("axis", -1)
    return {**config, "axis": axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis}


def _negative_slope(config: Config) -> Config:
    return {("negative_slope" if key == "alpha" else key): value for key, value in config.items()}


def _synchronized(config: Config) -> Config:
    return {**_one_axis(config), "synchronized": True}


def _ungrouped(config: Config) -> Config:
    if config.get("groups", 1) != 1:
        raise ValueError(f"Layer '{config.get('name')}': groups must be 1 in Keras 3. Received: {config['groups']}.")
    return {key: value for key, value in config.items() if key != "groups"}


def _batch_major(config: Config) -> Config:
    if config.get("time_major"):
        raise ValueError(f"Layer '{config.get('name')}': Keras 3 has no time_major=True. Transpose the input instead.")
    return {key: value for key, value in config.items() if key != "time_major"}


_RENAMED = {
    "SyncBatchNormalization": "BatchNormalization",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
}

_DROPPED = {
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), ("noise_shape", "trainable")),
    **dict.fromkeys(
        ("RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomCrop"),
        ("rng_type",),
    ),
    **dict.fromkeys(("RandomBrightness", "RandomHeight", "RandomWidth"), ("rng_type",)),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"), ("kernel_initializer", "kernel_regularizer", "kernel_constraint")
    ),
    "Embedding": ("input_length",),
    "Discretization": ("trainable",),
    "MultiHeadAttention": ("query_shape", "key_shape", "value_shape", "softmax_robust_masking"),
}
"""Arguments that change nothing in the outputs and that Keras 3 refuses, by class."""

_CHANGED: dict[str, Callable[[Config], Config]] = {
    **dict.fromkeys(("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"), _one_axis),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"), _ungrouped),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _ungrouped),
    **dict.fromkeys(("RNN", "SimpleRNN", "GRU", "LSTM"), _batch_major),
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _batch_major),
    "LeakyReLU": _negative_slope,
    "SyncBatchNormalization": _synchronized,
}
"""Arguments that are renamed, converted or checked, by class."""
