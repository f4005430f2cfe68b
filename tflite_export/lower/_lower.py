"""Turn the zeros that masks left in a model into less work, with standard operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import named_layers
from tf_structprune.layers import assign_weights, clone
from tflite_export.bench import benchmark_together
from tflite_export.lower._around import Convolution, convolutions
from tflite_export.lower._layer import GATHER, SUM, LoweredConv2D
from tflite_export.lower._order import reorder
from tflite_export.lower._plan import DENSE, LayerChoice, LowerPlan
from tflite_export.lower._structure import Block, blocks_of, even_edges, grid_of
from tflite_export.quantize import Quantize, convert
from tflite_export.runtime import arena_bytes
from tflite_export.shrink import ShrunkModel

_WORTH = 0.97  # a form that leaves more of the work than this is not tried
_GAIN = 0.98  # a form has to take less of the dense layer's time than this
_RUNS = 60

Form = Literal["auto", "gather", "sum"]
Target = Literal["cpu", "micro"]


@dataclass(frozen=True)
class LoweredModel:
    """A model that computes only what its masks keep.

    Attributes:
        model: a Keras model with the outputs of the one that was lowered.
        plan: what became of each layer.
    """

    model: keras.Model
    plan: LowerPlan


def lower(
    small: ShrunkModel | keras.Model,
    *,
    target: Target = "cpu",
    form: Form = "auto",
    quantize: Quantize = "int8",
) -> LoweredModel:
    """Replace convolutions with zeroed kernels or taps by smaller work in standard TFLite operations.

    A weight that is exactly zero is taken for removed. Channels are brought in an order in which
    those that need the same taps lie side by side; BatchNormalization and ReLU behind a lowered
    convolution become part of it.

    With form "auto", for a CPU every form of every layer is timed in LiteRT, one thread, in turns with
    the dense layer, and the fastest is taken: a layer that would not gain stays dense. For a
    microcontroller the layers are lowered one by one, those that save most first, as long as the
    arena of the whole model in TFLite Micro does not grow beyond that of the model as it is.

    Args:
        small: what `shrink` made, or a plain model.
        target: "cpu" or "micro".
        form: "auto", or one form for all layers that can have it, without measuring: "gather" (slices of
            each tap, one matrix product) or "sum" (one smaller convolution for each set of taps).
        quantize: number format of the file that is measured, "int8" or "none".

    Returns:
        The lowered model and the plan. The given model is not changed; where no layer is lowered it
        is handed back itself.

    Raises:
        ImportError: target "micro" without the `tflite-micro` package.
        ValueError: an unknown target or form.
    """
    if form not in ("auto", GATHER, SUM):
        raise ValueError(f"Unknown form. Received: form={form!r}. Use one of: auto, {GATHER}, {SUM}.")
    if target not in ("cpu", "micro"):
        raise ValueError(f"Unknown target. Received: target={target!r}. Use cpu or micro.")
    given = small.model if isinstance(small, ShrunkModel) else small
    if not any(_option(name, each) for name, each in convolutions(given).items()):
        return LoweredModel(given, LowerPlan(()))
    plain = reorder(given)
    found = convolutions(plain)
    options = [option for name, each in found.items() if (option := _option(name, each)) is not None]
    if form != "auto":
        choices = [_as_asked(option, form) for option in options]
    elif target == "cpu":
        choices = [_fastest(option, found[option.name], quantize) for option in options]
    else:
        choices = _within_arena(plain, found, options, quantize)
    chosen = {choice.name: choice for choice in choices if choice.form != DENSE}
    return LoweredModel(_rebuilt(plain, found, chosen) if chosen else given, LowerPlan(tuple(choices)))


@dataclass(frozen=True)
class _Option:
    """How one layer may be lowered.

    Attributes:
        name: path of the layer.
        blocks: what its blocks of output maps read.
        share: multiply-accumulates left, as a fraction.
        saved: multiply-accumulates saved for one output pixel.
        forms: the forms that it can have.
    """

    name: str
    blocks: tuple[Block, ...]
    share: float
    saved: int
    forms: tuple[str, ...]

    def choice(self, form: str, reason: str, latency: dict[str, float] | None = None) -> LayerChoice:
        """The plan's entry for a form."""
        blocks = () if form == DENSE else self.blocks
        return LayerChoice(self.name, form, blocks, self.share, latency or {}, reason)


def _option(name: str, each: Convolution) -> _Option | None:
    """What the zeros of a layer allow; None if it has next to nothing to leave out."""
    alive = (each.kernel != 0).reshape(-1, *each.kernel.shape[2:])
    blocks = blocks_of(alive, even_edges(alive))
    left = sum(block.maps * block.reads for block in blocks)
    if left > _WORTH * alive.size or any(not block.pieces for block in blocks):
        return None
    forms = (SUM, GATHER) if _can_sum(each.layer, blocks) else (GATHER,)
    return _Option(name, blocks, left / alive.size, alive.size - left, forms)


def _as_asked(option: _Option, form: str) -> LayerChoice:
    return option.choice(form, "as asked") if form in option.forms else option.choice(DENSE, "its taps are no grids")


def _fastest(option: _Option, each: Convolution, quantize: Quantize) -> LayerChoice:
    latency = _latencies(each, option, quantize)
    best = min(option.forms, key=latency.__getitem__)
    if latency[best] > _GAIN * latency[DENSE]:
        return option.choice(DENSE, f"{best} took {latency[best]:.0f} us", latency)
    return option.choice(best, f"dense took {latency[DENSE]:.0f} us", latency)


def _within_arena(
    plain: keras.Model, found: Mapping[str, Convolution], options: list[_Option], quantize: Quantize
) -> list[LayerChoice]:
    """Lower layer by layer as long as the arena of the whole model does not grow."""
    dense = _arena(plain, quantize) if options else 0
    taken: dict[str, LayerChoice] = {}
    for option in sorted(options, key=lambda option: -option.saved):
        for form in option.forms:
            tried = taken | {option.name: option.choice(form, "")}
            arena = _arena(_rebuilt(plain, found, tried), quantize)
            if arena <= dense:
                taken[option.name] = option.choice(form, f"arena {arena:,} bytes of {dense:,}")
                break
        else:
            taken[option.name] = option.choice(DENSE, f"{option.forms[-1]} needs an arena of {arena:,} bytes")
    return [taken[option.name] for option in options]


def _arena(model: keras.Model, quantize: Quantize) -> int:
    samples = _noise(model.input_shape[1:])
    return arena_bytes(convert(model, quantize=quantize, representative_data=samples))


def _noise(shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Samples that set some range of the signals; neither latency nor arena depends on which."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, *[int(size or 1) for size in shape])).astype(np.float32)


def _can_sum(layer: Any, blocks: tuple[Block, ...]) -> bool:
    """Whether all sets of taps are grids that one convolution can do."""
    grids = [grid_of(taps, layer.kernel_size[1]) for block in blocks for taps in block.by_taps()]
    if None in grids:
        return False
    spread = max(layer.dilation_rate) > 1 or any(g.row_step > 1 or g.column_step > 1 for g in grids if g is not None)
    return max(layer.strides) == 1 or not spread


def _latencies(each: Convolution, option: _Option, quantize: Quantize) -> dict[str, float]:
    """Median latency of the layer by form, in microseconds."""
    models = {DENSE: _alone(each, _dense_layer(each))}
    for form in option.forms:
        models[form] = _alone(each, _lowered_layer("lowered", each, option.blocks, form))
    samples = _noise(each.input_shape[1:])
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
    lowered = {name: choice for name, choice in lowered.items() if choice.form != DENSE}
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
            assign_weights(new[name], layer.get_weights())
    return result
