"""The networks of keras.applications: small, with weights in which every leak would show, and pruned at random."""

import inspect
import math
import re
import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tf_structprune.channels import PrunableGraph, Skipped
from tf_structprune.layers import set_masks
from tf_structprune.masks import MaskSet
from tf_structprune.shrink import shrink

CONSTRUCTORS = {
    name: function
    for name, function in inspect.getmembers(keras.applications, inspect.isfunction)
    if "weights" in inspect.signature(function).parameters
}
# The smallest of each module of keras.applications.
FAMILIES = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ConvNeXtTiny",
    "DenseNet121",
    "NASNetMobile",
    "InceptionV3",
    "InceptionResNetV2",
    "Xception",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "VGG19",
)
SPARSITIES = (0.3, 0.5, 0.7)
TOLERANCE = 1e-4  # of the largest output
LEAST_SPREAD = 0.1  # of the largest output
_EXPECTED = ("is the first convolution", "is the last layer with a kernel")


@dataclass(frozen=True)
class Pruned:
    """A shrunk network and how it compares with the masked one.

    Attributes:
        small: the shrunk network.
        difference: largest difference of the outputs, relative to the largest masked output.
        spread: largest range of a masked output over the samples, relative likewise. Outputs that hardly
            depend on the input would agree whatever is lost on the way to them.
        seconds: of `shrink`.
    """

    small: keras.Model
    difference: float
    spread: float
    seconds: float


def build(name: str, seed: int = 0) -> keras.Model:
    """A network with logits and random weights, for the smallest input that it takes."""
    size = _least_size(name)
    model = CONSTRUCTORS[name](weights=None, input_shape=(size, size, 3), classifier_activation=None)
    randomize(model, seed)
    enliven(model, samples(model))
    return model


def _least_size(name: str) -> int:
    """The smallest square input, as the refusal of a smaller one names it."""
    try:
        CONSTRUCTORS[name](weights=None, input_shape=(1, 1, 3))
    except ValueError as refusal:
        return int(re.search(r"at least (\d+)", str(refusal))[1])
    return 1


def randomize(model: keras.Model, seed: int = 0) -> None:
    """Fill all weights such that no offset or statistic is zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights([_random_weight(layer, variable, rng) for variable in layer.weights])
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with what it made of its weights


def _random_weight(layer: keras.layers.Layer, variable: Any, rng: np.random.Generator) -> np.ndarray:
    shape, name = tuple(variable.shape), variable.name
    if name == "count":  # of the samples that a Normalization saw
        return np.ones(shape, int)
    if "layer_scale" in variable.path:
        return rng.uniform(0.3, 1, shape)
    if name in ("gamma", "moving_variance", "variance"):
        return rng.uniform(0.7, 1.3, shape)
    if len(shape) < 2 or name == "mean":
        return rng.normal(0, 0.1, shape)
    depthwise = name == "depthwise_kernel" or isinstance(layer, keras.layers.DepthwiseConv2D)
    fan_in = math.prod(shape[: -2 if depthwise else -1])
    return rng.standard_normal(shape, np.float32) / np.float32(math.sqrt(fan_in))


def samples(model: keras.Model, count: int = 4, seed: int = 1) -> np.ndarray:
    """Images of coloured squares, in 0..255 for a network that scales its input and in -1..1 else."""
    height, width, maps = model.input_shape[1:]
    colours = np.random.default_rng(seed).uniform(-1, 1, (count, -(-height // 8), -(-width // 8), maps))
    images = np.kron(colours, np.ones((1, 8, 8, 1)))[:, :height, :width].astype(np.float32)
    scales = any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in model.layers)
    return (images + 1) * 127.5 if scales else images


def prune(masked: keras.Model, graph: PrunableGraph, sparsity: float, x: np.ndarray, seed: int = 0) -> Pruned:
    """Remove that fraction of the units of every group and compare; kernels of `masked` may be scaled up for it."""
    set_masks(masked, random_maps(graph, sparsity, seed), graph=graph)
    enliven(masked, x)
    started = time.perf_counter()
    small = shrink(masked).model
    seconds = time.perf_counter() - started
    expected = logits(masked, x)
    return Pruned(small, difference(expected, logits(small, x)), spread(expected), seconds)


def random_maps(graph: PrunableGraph, sparsity: float, seed: int = 0) -> MaskSet:
    """Masks that remove that fraction of the units of every group and leave at least one."""
    rng = np.random.default_rng(seed)
    masks = {}
    for group in graph.prunable_groups:
        masks[group.name] = np.zeros(group.size, bool)
        masks[group.name][rng.permutation(group.size)[: max(1, round((1 - sparsity) * group.size))]] = True
    return MaskSet(feature_map=masks)


def enliven(model: keras.Model, x: np.ndarray) -> None:
    """Scale all kernels to the least size at which the outputs depend on the input.

    With small kernels the signal fades from layer to layer behind the constant offsets, the more so the fewer
    inputs a kernel is left with; with large ones it grows until rounding errors decide.
    """
    kernels = [variable for variable in model.trainable_variables if len(variable.shape) > 1]

    def scale(factor: float) -> None:
        for kernel in kernels:
            kernel.assign(kernel * factor)

    step = 1.25
    while spread(logits(model, x)) < LEAST_SPREAD:
        scale(step)
    for _ in range(3):
        step **= 0.5
        scale(1 / step)
        if spread(logits(model, x)) < LEAST_SPREAD:
            scale(step)


def logits(model: keras.Model, x: np.ndarray) -> np.ndarray:
    """The one output of a network in inference."""
    return keras.ops.convert_to_numpy(model(x, training=False))


def spread(outputs: np.ndarray) -> float:
    """Largest range of an output over the samples, relative to the largest output."""
    return float(np.ptp(outputs, axis=0).max() / np.abs(outputs).max())


def difference(expected: np.ndarray, outputs: np.ndarray) -> float:
    """Largest difference of two outputs, relative to the largest expected one."""
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())


def reloaded_difference(model: keras.Model, x: np.ndarray, path: Any) -> float:
    """Difference between a network and what comes back when it is saved as `.keras`."""
    model.save(path)
    return difference(logits(model, x), logits(keras.models.load_model(path), x))


def train_one_step(model: keras.Model, x: np.ndarray, *, run_eagerly: bool = False) -> float:
    """The loss of one step, after which every weight has to be finite."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-4), loss, run_eagerly=run_eagerly, jit_compile=False)
    value = float(model.train_on_batch(x, np.arange(len(x)), return_dict=True)["loss"])
    finite = all(np.isfinite(weight).all() for weight in model.get_weights())
    return value if finite else math.nan


def unexpected(graph: PrunableGraph) -> list[Skipped]:
    """What stays whole besides the first convolution and the classifier."""
    return [item for item in graph.skipped if not item.reason.endswith(_EXPECTED)]
