"""Turn the zeros that masks left in a model into less work, with standard operations."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import named_layers
from tf_structprune.layers import clone
from tflite_export.bench import benchmark_together
from tflite_export.lower._around import Convolution, convolutions
from tflite_export.lower._layer import GATHER, SUM, LoweredConv2D
from tflite_export.lower._order import reorder
from tflite_export.lower._plan import DENSE, LayerChoice, LowerPlan
from tflite_export.lower._structure import Block, blocks_of, even_edges, grid_of
from tflite_export.quantize import Quantize, convert
from tflite_export.shrink import ShrunkModel

_WORTH = 0.97  # a form that leaves more of the work than this is not tried
_GAIN = 0.98  # a form has to take less of the dense layer's time than this
_RUNS = 60

Form = Literal["auto", "gather", "sum"]


@dataclass(frozen=True)
class LoweredModel:
    """A model that computes only what its masks keep.

    Attributes:
        model: a Keras model with the outputs of the one that was lowered.
        plan: what became of each layer.
    """

    model: keras.Model
    plan: LowerPlan


def lower(small: ShrunkModel | keras.Model, *, form: Form = "auto", quantize: Quantize = "int8") -> LoweredModel:
    """Replace convolutions with zeroed kernels or taps by smaller work in standard TFLite operations.

    A weight that is exactly zero is taken for removed. Channels are brought in an order in which
    those that need the same taps lie side by side; BatchNormalization and ReLU behind a lowered
    convolution become part of it. With "auto" every form of every layer is timed in LiteRT, one
    thread, in turns with the dense layer, and the fastest is taken: a layer that would not gain
    stays dense.

    Args:
        small: what `shrink` made, or a plain model.
        form: "auto", or one form for all layers that can have it, without measuring: "gather" (slices of
            each tap, one matrix product) or "sum" (one smaller convolution for each set of taps).
        quantize: number format in which the forms are timed, "int8" or "none".

    Returns:
        The lowered model and the plan; the given model is not changed.

    Raises:
        ValueError: an unknown form.
    """
    if form not in ("auto", GATHER, SUM):
        raise ValueError(f"Unknown form. Received: form={form!r}. Use one of: auto, {GATHER}, {SUM}.")
    plain = reorder(small.model if isinstance(small, ShrunkModel) else small)
    found = {name: each for name, each in convolutions(plain).items() if not each.kernel.all()}
    choices = [choice for name, each in found.items() if (choice := _choose(name, each, form, quantize)) is not None]
    lowered = {choice.name: choice for choice in choices if choice.form != DENSE}
    return LoweredModel(_rebuilt(plain, found, lowered), LowerPlan(tuple(choices)))


def _choose(name: str, each: Convolution, form: Form, quantize: Quantize) -> LayerChoice | None:
    """The form of one layer; None if it has next to nothing to leave out."""
    alive = (each.kernel != 0).reshape(-1, *each.kernel.shape[2:])
    blocks = blocks_of(alive, even_edges(alive))
    share = sum(block.maps * block.reads for block in blocks) / math.prod(alive.shape)
    if share > _WORTH or any(not block.pieces for block in blocks):
        return None
    forms = [GATHER, SUM] if _can_sum(each.layer, blocks) else [GATHER]
    if form != "auto":
        chosen = form if form in forms else DENSE
        return LayerChoice(name, chosen, blocks, share, {}, "as asked" if chosen == form else "its taps are no grids")
    latency = _latencies(each, blocks, forms, quantize)
    best = min(forms, key=latency.__getitem__)
    if latency[best] > _GAIN * latency[DENSE]:
        return LayerChoice(name, DENSE, (), share, latency, f"{best} took {latency[best]:.0f} us")
    return LayerChoice(name, best, blocks, share, latency, f"dense took {latency[DENSE]:.0f} us")


def _can_sum(layer: Any, blocks: tuple[Block, ...]) -> bool:
    """Whether all sets of taps are grids that one convolution can do."""
    grids = [grid_of(taps, layer.kernel_size[1]) for block in blocks for taps in block.by_taps()]
    if None in grids:
        return False
    spread = max(layer.dilation_rate) > 1 or any(g.row_step > 1 or g.column_step > 1 for g in grids if g is not None)
    return max(layer.strides) == 1 or not spread


def _latencies(each: Convolution, blocks: tuple[Block, ...], forms: list[str], quantize: Quantize) -> dict[str, float]:
    """Median latency of the layer by form, in microseconds."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(8, *[int(size or 1) for size in each.input_shape[1:]])).astype(np.float32)
    models = {DENSE: _alone(each, _dense_layer(each))}
    for form in forms:
        models[form] = _alone(each, _lowered_layer("lowered", each, blocks, form))
    files = [convert(model, quantize=quantize, representative_data=samples) for model in models.values()]
    reports = benchmark_together(files, threads=1, runs=_RUNS)
    return {form: report.latency_us for form, report in zip(models, reports, strict=True)}


def _alone(each: Convolution, layer: Any) -> keras.Model:
    inputs = keras.Input(each.input_shape[1:])
    return keras.Model(inputs, layer(inputs))


def _dense_layer(each: Convolution) -> Any:
    config = {**each.layer.get_config(), "use_bias": True, "activation": keras.activations.serialize(each.activation)}
    layer = keras.layers.Conv2D.from_config(config)
    layer.build(each.input_shape)
    layer.set_weights([each.kernel, each.bias])
    return layer


def _lowered_layer(name: str, each: Convolution, blocks: tuple[Block, ...], form: str) -> LoweredConv2D:
    layer = LoweredConv2D(
        kernel_size=each.layer.kernel_size,
        strides=each.layer.strides,
        padding=each.layer.padding,
        dilation_rate=each.layer.dilation_rate,
        blocks=blocks,
        form=form,
        activation=each.activation,
        name=name,
        dtype=each.layer.dtype_policy,
    )
    layer.build(each.input_shape)
    layer.take(each.kernel, each.bias)
    return layer


def _rebuilt(model: keras.Model, found: Mapping[str, Convolution], lowered: Mapping[str, LayerChoice]) -> keras.Model:
    """The model with the lowered layers in their places."""
    absorbed = {name for choice in lowered for name in found[choice].absorbed}

    def made(name: str, layer: Any) -> Any:
        if name in lowered:
            choice = lowered[name]
            return _lowered_layer(layer.name, found[name], choice.blocks, choice.form)
        if name in absorbed:
            return keras.layers.Identity(name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # A normalization was called with a mask, which what takes its place does not know.
        return layer(*args, **({} if name in absorbed else kwargs))

    result = clone(model, made, call=called)
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        if name not in lowered and name not in absorbed and layer.weights:
            weights: list[NDArray[Any]] = layer.get_weights()
            new[name].set_weights(weights)
    return result
