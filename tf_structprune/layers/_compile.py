"""Compile a model as another one was."""

from typing import Any

import keras
from absl import logging

from tf_structprune.layers._copy import copy_of
from tf_structprune.task import compile_arguments


def compile_alike(new: keras.Model, model: keras.Model) -> None:
    """Compile a model with what another one was compiled with, if it was.

    Losses are the same objects. Metrics and the optimizer, which hold variables, are new ones. Metrics that
    cannot be copied are left out, and without an optimizer the model is not compiled, with a warning.

    Args:
        new: the model; it is changed.
        model: the other one; it is not.
    """
    if not model.compiled:
        return
    if type(model).compile is not keras.Model.compile:  # only its own configuration knows what that takes
        new.compile_from_config(model.get_compile_config())
        return
    given = compile_arguments(model)
    try:
        optimizer = None if given["optimizer"] is None else copy_of(given["optimizer"])
    except (NotImplementedError, TypeError, ValueError) as error:
        logging.warning(
            "Model '%s': the copy is not compiled, its optimizer cannot be copied: %s Compile it anew.",
            model.name,
            error,
        )
        return
    metrics = {name: _fresh(given[name], model.name) for name in ("metrics", "weighted_metrics")}
    new.compile(**{**given, **metrics, "optimizer": optimizer})
    build_optimizer(new)  # Keras loads no file of a model whose optimizer had no variables yet


def build_optimizer(model: keras.Model) -> None:
    """Make the variables of a model's optimizer before its first step, if it has one and its weights are known.

    TensorFlow traces a step that makes variables twice.

    Args:
        model: the model that is trained; its optimizer is changed.
    """
    optimizer = getattr(model, "optimizer", None)
    if model.built and optimizer is not None and not optimizer.built:
        optimizer.build(model.trainable_variables)


def _fresh(metrics: Any, model: str) -> Any:
    """Metrics in the same structure, in new states; None where one of them cannot be copied."""
    try:
        return _copied(metrics)
    except (NotImplementedError, TypeError, ValueError) as error:
        logging.warning(
            "Model '%s': the copy is compiled without these metrics, of which one cannot be copied: %s. %s Compile it "
            "anew to have them.", model, metrics, error,
        )  # fmt: skip
        return None


def _copied(metrics: Any) -> Any:
    if isinstance(metrics, dict):
        return {name: _copied(value) for name, value in metrics.items()}
    if isinstance(metrics, list | tuple):
        return [_copied(value) for value in metrics]
    return copy_of(metrics) if isinstance(metrics, keras.metrics.Metric) else metrics  # a name or function
