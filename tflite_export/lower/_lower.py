"""Turn the zeros that masks left in a model into less work, with standard operations."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import trace
from tf_structprune.layers import is_masked
from tf_structprune.shrink import ShrunkModel
from tflite_export.devices import HOST, Device
from tflite_export.file import TFLiteFile
from tflite_export.lower._around import Weighted, weighted_layers
from tflite_export.lower._build import alone, dense_layer, lowered_layer, lowered_model
from tflite_export.lower._forms import DENSE, FORMS, Form, Option, option
from tflite_export.lower._order import reorder
from tflite_export.lower._plan import LayerChoice, LowerPlan
from tflite_export.quantize import Quantize, convert
from tflite_export.runtime import arena_bytes

_GAIN = 0.98  # a form has to take less of the dense layer's time than this
_RUNS = 60
_HOPELESS = 1.5  # forms that should take so many times the dense layer's time are not timed
_TRIED = 3  # forms of a layer that are timed, those of least predicted cost
_COPY = {"cpu": 64, "micro": 2}
"""Multiplications that take as long as copying one value: 50 to 100 measured with XNNPACK on x86, int8 and
float32; the plain loops of a microcontroller multiply about as fast as they copy."""
_CALL = {"cpu": 250_000, "micro": 1_000}
"""Multiplications that take as long as one more operation: about a microsecond with XNNPACK."""

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


def check_target(name: str) -> str:
    """The name itself.

    Raises:
        ValueError: it is no target.
    """
    if name not in ("cpu", "micro"):
        raise ValueError(f"Unknown target. Received: target={name!r}. Use one of: cpu, micro.")
    return name


def lower(
    small: ShrunkModel | keras.Model,
    *,
    target: Target = "cpu",
    form: str = "auto",
    quantize: Quantize = "int8",
    dense: bool = True,
    device: Device = HOST,
) -> LoweredModel:
    """Replace convolutions and dense layers with zeroed kernels or taps by smaller work in standard operations.

    A weight that is exactly zero is taken for removed. Channels are brought in an order in which
    those that need the same taps, or are read by the same outputs, lie side by side; normalization and
    ReLU behind a lowered layer become part of it. The forms:

    - "gather": a slice of the input for each tap of each run of maps, concatenated, and one matrix product.
    - "shift": a smaller convolution (a column, a row, a dilated one...) over shifted copies of the maps;
      without a copy where all maps need the same taps.
    - "grouped": either of these, all blocks of outputs as one grouped convolution.
    - "sum": a smaller convolution for each set of taps, added up; for int8 the partial sums are rounded,
      so "auto" uses it in float files only.

    With form "auto", for a CPU the most promising forms of every layer are timed on the device, in
    turns with the dense layer, and the fastest is taken: a layer that would not gain stays dense, and if
    the whole model does not gain, it is given back as it is. For a microcontroller the layers are lowered
    one by one, those that save most first, each in the form of fewest cycles with which the arena of the
    whole model in TFLite Micro does not grow beyond that of the model as it is.

    Args:
        small: what `shrink` made, or a plain model.
        target: "cpu" or "micro".
        form: "auto", or one form for all layers that can have it, without measuring.
        quantize: number format of the file that is measured, "int8" or "none".
        dense: whether dense layers may be lowered too.
        device: what times the forms for target "cpu"; by default LiteRT on this machine with one thread.

    Returns:
        The lowered model and the plan. The given model is not changed; where no layer is lowered it
        is handed back itself.

    Raises:
        ImportError: target "micro" without the `tflite-micro` package.
        ValueError: an unknown target, form or number format, or a model that is still masked.
    """
    if form not in ("auto", *FORMS):
        raise ValueError(f"Unknown form. Received: form={form!r}. Use one of: auto, {', '.join(FORMS)}.")
    check_target(target)
    if quantize not in ("int8", "none"):
        raise ValueError(f"quantize must be 'none' or 'int8'. Received: quantize={quantize!r}.")
    given = small.model if isinstance(small, ShrunkModel) else small
    if is_masked(given):
        raise ValueError(
            f"Model '{given.name}' still has its masks. Received: a masked model. Use lower(shrink(model))."
        )
    plain = reorder(given)  # first: blocks under a permutation show only then
    options = {name: pair for name, pair in _options(plain, target).items() if dense or not pair[0].is_dense}
    if not options:
        return LoweredModel(given, LowerPlan(()))
    timed = partial(_latencies, quantize=quantize, device=device)
    if form != "auto":
        decided = {each.name: _as_asked(each, form) for _, each in options.values()}
    elif target == "cpu":
        decided = {name: _fastest(*pair, quantize, timed) for name, pair in options.items()}
    else:
        decided = _within_arena(plain, options, quantize)
    return _built(given, plain, options, decided, timed if form == "auto" and target == "cpu" else None)


_Options = Mapping[str, tuple[Weighted, Option]]
_Decision = tuple[Form | None, LayerChoice]
_Timed = Callable[[list[keras.Model]], list[float]]


def _options(model: keras.Model, target: Target) -> _Options:
    """What may be lowered, by path."""
    channels = trace(model, keep_first=False).channels
    found = weighted_layers(model, {name: each.positions for name, each in channels.items()})
    tried = {name: option(each, copy=_COPY[target], call=_CALL[target]) for name, each in found.items()}
    return {name: (found[name], each) for name, each in tried.items() if each is not None}


def _built(
    given: keras.Model,
    plain: keras.Model,
    options: _Options,
    decided: Mapping[str, _Decision],
    timed: _Timed | None,
) -> LoweredModel:
    """The model of what was decided, unless it is timed and takes longer than the given one."""
    choices = tuple(choice for _, choice in decided.values())
    chosen = {name: form for name, (form, _) in decided.items() if form is not None}
    if not chosen:
        return LoweredModel(given, LowerPlan(choices))
    model = lowered_model(plain, {name: each for name, (each, _) in options.items()}, chosen)
    if timed is not None:
        before, after = timed([given, model])
        if after > before:
            note = f"left as it was: {after:.0f} us lowered, {before:.0f} us as it was"
            return LoweredModel(given, LowerPlan(choices, note))
    return LoweredModel(model, LowerPlan(choices))


def _choice(each: Option, form: Form | None, reason: str, latency: dict[str, float] | None = None) -> _Decision:
    """The decision for a form, or to stay dense, with the plan's entry."""
    predicted = 1 / (form or each.forms[0]).cost
    blocks = () if form is None else form.blocks
    name = DENSE if form is None else form.label
    return form, LayerChoice(each.name, name, blocks, each.share, predicted, latency or {}, reason)


def _as_asked(each: Option, name: str) -> _Decision:
    form = each.form(name)
    return _choice(each, form, "as asked" if form is not None else f"it has no form '{name}'")


def _fastest(layer: Weighted, each: Option, quantize: Quantize, timed: _Timed) -> _Decision:
    exact = [form for form in each.forms if form.exact or quantize == "none"]
    forms = _promising([form for form in exact if form.cost < _HOPELESS])
    if not forms:
        return _choice(each, None, "no form promises a gain" if exact else "no form is exact in integers")
    models = [alone(layer, dense_layer(layer))]
    models += [alone(layer, lowered_layer(layer, form, name="lowered")) for form in forms]
    dense, *times = timed(models)
    latency = {DENSE: dense} | {form.label: time for form, time in zip(forms, times, strict=True)}
    best = min(forms, key=lambda form: latency[form.label])
    if latency[best.label] > _GAIN * dense:
        return _choice(each, None, f"{best.label} took {latency[best.label]:.0f} us", latency)
    return _choice(each, best, f"dense took {dense:.0f} us", latency)


def _promising(forms: list[Form]) -> list[Form]:
    """The forms to time: those of least predicted cost, and the best that does all outputs at once."""
    tried = forms[:_TRIED]
    whole = [form for form in forms if len(form.blocks) == 1]
    return tried if not whole or whole[0] in tried else [*tried, whole[0]]


def _within_arena(plain: keras.Model, options: _Options, quantize: Quantize) -> dict[str, _Decision]:
    """Lower layer by layer as long as the arena of the whole model does not grow."""
    dense = _arena(plain, quantize)
    found = {name: layer for name, (layer, _) in options.items()}
    taken: dict[str, Form] = {}
    decided = {}
    for name, (_, each) in sorted(options.items(), key=lambda item: -item[1][1].saved):
        decided[name] = _choice(each, None, "no form takes fewer cycles")
        for form in each.forms:
            if form.cost >= 1 or not (form.exact or quantize == "none"):
                continue
            arena = _arena(lowered_model(plain, found, taken | {name: form}), quantize)
            if arena <= dense:
                taken[name] = form
                decided[name] = _choice(each, form, f"arena {arena:,} bytes of {dense:,}")
                break
            decided[name] = _choice(each, None, f"{form.label} needs an arena of {arena:,} bytes")
    return {name: decided[name] for name in options}


def _arena(model: keras.Model, quantize: Quantize) -> int:
    return arena_bytes(_file(model, quantize))


def _latencies(models: list[keras.Model], *, quantize: Quantize, device: Device) -> list[float]:
    """Median latency of each, timed in turns, in microseconds."""
    times = device.latencies_us([_file(model, quantize) for model in models], runs=_RUNS)
    return [float(median) for median in np.median(times, axis=1)]


def _file(model: keras.Model, quantize: Quantize) -> TFLiteFile:
    return TFLiteFile(convert(model, quantize=quantize, representative_data=_noise(model.input_shape[1:])))


def _noise(shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Samples that set some range of the signals; neither latency nor arena depends on which."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(8, *[int(size or 1) for size in shape])).astype(np.float32)
