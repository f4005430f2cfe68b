"""The measures by name."""

from collections.abc import Callable
from typing import Any

import keras

from tf_structprune.channels import PrunableGraph
from tf_structprune.masks import Importance
from tf_structprune.measure._activations import activation_sums
from tf_structprune.measure._least_squares import least_squares
from tf_structprune.measure._magnitude import geometric_median, l1, l2, normalization_scale
from tf_structprune.measure._taylor import taylor

Measure = Callable[[keras.Model, PrunableGraph, str, Any, Any], Importance]
"""Of a model, its graph, a granularity, samples as the model takes them, and their targets, None without any."""

MEASURES: dict[str, Measure] = {
    "l1": l1,
    "l2": l2,
    "geometric_median": geometric_median,
    "normalization_scale": normalization_scale,
    "activation_sums": activation_sums,
    "least_squares": least_squares,
    "taylor": taylor,
}
