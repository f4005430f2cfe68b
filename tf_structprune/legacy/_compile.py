"""Take over loss, metrics and optimizer configuration where Keras 3 can."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from absl import logging

_BY_NAME = ("accuracy", "acc", "crossentropy", "ce")  # Keras chooses the function by the model's output
_DEAD_OPTIMIZER_KEYS = ("jit_compile", "is_legacy_optimizer")


def take_over_compile(model: Any, training: Mapping[str, Any]) -> None:
    """Compile as the legacy model was, with a fresh optimizer; else leave it uncompiled and log why.

    Args:
        model: Keras 3 model, changed.
        training: the compile state of `LegacyModel`.
    """
    try:
        model.compile(
            optimizer=_optimizer(training["optimizer_config"]),
            loss=_converted(training.get("loss"), keras.losses.get),
            metrics=_metrics(model, training.get("metrics")),
            weighted_metrics=_metrics(model, training.get("weighted_metrics")),
            loss_weights=_loss_weights(model, training.get("loss_weights")),
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        logging.warning(
            "Model '%s' is left uncompiled: Keras 3 cannot take over its compile state (%s). Compile it yourself.",
            model.name,
            error,
        )


def _optimizer(saved: Mapping[str, Any]) -> Any:
    class_name = saved["class_name"].rpartition(">")[2]
    # A live optimizer has its learning rate as a NumPy scalar.
    config = {key: value.item() if isinstance(value, np.generic) else value for key, value in saved["config"].items()}
    if "inner_optimizer" in config:  # Keras 3 scales the loss by itself under a float16 policy
        return _optimizer(config["inner_optimizer"])
    for key in _DEAD_OPTIMIZER_KEYS:
        config.pop(key, None)
    if config.pop("decay", 0.0):
        raise ValueError(f"optimizer {class_name} has a decay, which Keras 3 has as a learning rate schedule")
    return keras.optimizers.deserialize({"class_name": class_name, "config": config})


def _metrics(model: Any, saved: Any) -> Any:
    """Metrics for `compile`; a file has one list per output, also where there is one output."""
    groups = saved if isinstance(saved, list) and all(isinstance(group, list) for group in saved) else []
    if len(groups) != len(model.outputs):
        return _converted(saved, keras.metrics.get)
    if len(groups) == 1:
        return _converted(groups[0], keras.metrics.get)
    return [
        [_converted(_without_prefix(metric, f"{name}_"), keras.metrics.get) for metric in group if metric is not None]
        for name, group in zip(model.output_names, groups, strict=True)
    ]


def _without_prefix(metric: Any, prefix: str) -> Any:
    """A saved metric without its output's name, which Keras puts in front again."""
    if not isinstance(metric, dict) or "config" not in metric:
        return metric
    return {**metric, "config": {**metric["config"], "name": metric["config"]["name"].removeprefix(prefix)}}


def _loss_weights(model: Any, saved: Any) -> Any:
    return saved[0] if isinstance(saved, list) and len(model.outputs) == 1 and len(saved) == 1 else saved


def _converted(saved: Any, get: Callable[[Any], Any]) -> Any:
    """Losses or metrics for `compile`; names stay names, but must be known."""
    if saved is None or saved in _BY_NAME:
        return saved
    if isinstance(saved, str):
        get(saved)
        return saved
    if isinstance(saved, (list, tuple)):
        return [_converted(item, get) for item in saved]
    if "class_name" not in saved:
        return {key: _converted(item, get) for key, item in saved.items()}
    class_name = saved["class_name"].rpartition(">")[2]
    config = saved["config"]
    if class_name == "function":
        return get(config)
    if class_name == "MeanMetricWrapper":
        # tf_keras guesses what "accuracy" means when it saves before a first batch, and often wrong.
        if config["name"] in _BY_NAME:
            return config["name"]
        return keras.metrics.MeanMetricWrapper(get(config["fn"]), name=config["name"], dtype=config["dtype"])
    config = {key: value for key, value in config.items() if key != "fn"}
    if config.get("reduction") == "auto":
        config["reduction"] = "sum_over_batch_size"
    return get({"class_name": class_name, "config": config})
