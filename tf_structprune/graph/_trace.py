"""Trace a model: follow every channel from the layer that makes it to those that read it."""

import fnmatch
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph._calls import CallList, LayerCall, TensorKey, list_calls
from tf_structprune.graph._graph import Channels, Group, PrunableGraph, PrunableLayer, Skipped
from tf_structprune.graph._rules import Flow, LayerRule, inner_layer, mixes_channels, rule_for
from tf_structprune.graph._units import Atoms
from tf_structprune.graph._wrapper import TransparentWrapper

_BY_DESIGN = "Kept by design"


@dataclass(frozen=True)
class _Layout:
    """The atoms of a tensor's channels; `positions` features stand for each behind a Flatten."""

    atoms: NDArray[np.int64]
    positions: int = 1


@dataclass
class _Trace:
    """What is known while the calls are walked."""

    atoms: Atoms = field(default_factory=Atoms)
    layouts: dict[TensorKey, _Layout] = field(default_factory=dict)
    inputs: dict[str, _Layout] = field(default_factory=dict)
    outputs: dict[str, _Layout] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    layers: list[PrunableLayer] = field(default_factory=list)


def trace(model: keras.Model, *, keep: Sequence[str] = (), keep_first: bool = True) -> PrunableGraph:
    """Find the channel groups of a Sequential or functional model; the model is not changed.

    The first convolution and the classifier (the last layer with a kernel) are kept, as in Anwar
    and Sung, arXiv 1610.09639, section 3. A layer without a rule is a barrier: what feeds it
    stays whole, the rest is still pruned, and `PrunableGraph.skipped` names it.

    Args:
        model: a built Keras 3 model, masked or not. A masked model keeps the choice of layers
            that it was wrapped with.
        keep: names or patterns (`fnmatch`) of further layers that stay whole.
        keep_first: whether the first convolution stays whole; False prunes it like any other.

    Returns:
        The groups, layers and channels of the model.

    Raises:
        TypeError: not a Keras model.
        ValueError: a subclassed or unbuilt model, or a `keep` that matches no layer.
    """
    found = list_calls(model)
    kept = _kept_layers(model, found, keep, keep_first=keep_first)
    state = _Trace()
    calls_of = Counter(call.layer.name for call in found.calls)
    for call in found.calls:
        _visit(state, call, kept.get(call.layer.name, ""), shared=calls_of[call.layer.name] > 1)
    for key in found.outputs:
        if key in state.layouts:
            state.atoms.block(state.layouts[key].atoms, "it is an output of the model", _BY_DESIGN)
    return _graph(model, state)


def _kept_layers(model: keras.Model, found: CallList, keep: Sequence[str], *, keep_first: bool) -> dict[str, str]:
    """Reason by name of the layers that are kept whole by choice."""
    names = [call.layer.name for call in found.calls]
    kept = dict.fromkeys(found.last_with(_has_kernel), "it is the classifier")
    for call in found.calls:
        if isinstance(call.layer, TransparentWrapper) and not call.layer.prunable:
            kept.setdefault(call.layer.name, "it was kept when the model was wrapped")
    first = next((c.layer for c in found.calls if type(inner_layer(c.layer)) is keras.layers.Conv2D), None)
    if keep_first and first is not None and not isinstance(first, TransparentWrapper):
        kept.setdefault(first.name, "it is the first convolution")
    for pattern in keep:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise ValueError(
                f"Model '{model.name}' has no layer to keep by that name. Received: keep={pattern!r}. "
                f"Use one of: {', '.join(names)}."
            )
        for name in matches:
            kept.setdefault(name, "it was named in keep")
    return kept


def _has_kernel(layer: Any) -> bool:
    """Whether a layer mixes channels by weights; one without a rule does if it has any weight."""
    rule = rule_for(layer)
    return bool(getattr(layer, "weights", ())) if rule is None else rule.flow is Flow.PRODUCE


def _visit(state: _Trace, call: LayerCall, kept: str, *, shared: bool) -> None:
    layer, rule = call.layer, rule_for(call.layer)
    inputs = [_layout_of(state, key, shape) for key, shape in zip(call.inputs, call.input_shapes, strict=True)]
    reason, remedy = _barrier(layer, rule, inputs, call, shared=shared)
    if rule is None or reason:
        for layout in inputs:
            state.atoms.block(layout.atoms, f"it feeds {layer.name}: {reason}", remedy)
        state.skipped.append(Skipped(layer.name, reason, remedy))
        return
    _FLOWS[rule.flow](state, call, inputs, kept)


def _layout_of(state: _Trace, key: TensorKey, shape: tuple[int | None, ...]) -> _Layout:
    """The layout of a tensor; what a barrier or an input made gets channels that stay."""
    if key not in state.layouts:
        atoms = state.atoms.take(_last(shape))
        state.atoms.block(atoms, f"it comes from {key[0] or 'the input'}", _BY_DESIGN)
        state.layouts[key] = _Layout(atoms)
    return state.layouts[key]


def _last(shape: tuple[int | None, ...]) -> int:
    return int(shape[-1]) if len(shape) > 1 and shape[-1] else 1


def _barrier(
    layer: Any, rule: LayerRule | None, inputs: list[_Layout], call: LayerCall, *, shared: bool
) -> tuple[str, str]:
    """Why the layer stops channel removal and what would help; empty strings if it does not."""
    if rule is None:
        return (
            f"there is no rule for {type(layer).__name__}",
            "Replace it by supported layers, or add a row to graph.LAYER_RULES",
        )
    if shared:
        return "it is called more than once", "Use a layer of its own for each call"
    refusal = rule.refuse(inner_layer(layer))
    if refusal:
        return refusal, "Change that setting, or leave its channels unpruned"
    if any(size is None for shape in call.input_shapes for size in shape[1:]) and rule.flow is not Flow.SOURCE:
        return "its input size is not fixed", "Build the model with a fixed keras.Input shape"
    if rule.flow is Flow.JOIN and not _joinable(inputs, call):
        return "its inputs differ in rank or channels", "Give all inputs the same channels"
    return "", ""


def _joinable(inputs: list[_Layout], call: LayerCall) -> bool:
    ranks = {len(shape) for shape in call.input_shapes}
    return len(ranks) == 1 and len({(len(layout.atoms), layout.positions) for layout in inputs}) == 1


def _source(state: _Trace, call: LayerCall, inputs: list[_Layout], kept: str) -> None:
    del state, call, inputs, kept  # `_layout_of` gives the input its channels when somebody reads it


def _produce(state: _Trace, call: LayerCall, inputs: list[_Layout], kept: str) -> None:
    layer, (source,) = call.layer, inputs
    kernel_shape = tuple(int(size) for size in inner_layer(layer).kernel.shape)
    layout = _Layout(state.atoms.take(kernel_shape[-1]))
    if kept:
        state.atoms.block(layout.atoms, layer.name + kept.removeprefix("it"), _BY_DESIGN)
    _block_mixed(state, layer, layout)
    spatial = [size or 1 for size in layer.compute_output_shape(call.input_shapes[0])[1:-1]]
    state.layers.append(
        PrunableLayer(
            name=layer.name,
            kind=type(inner_layer(layer)).__name__,
            kernel_shape=kernel_shape,
            positions=math.prod(kernel_shape[:-2]) * source.positions,
            inputs=len(source.atoms),
            outputs=kernel_shape[-1],
            output_positions=math.prod(spatial),
            prunable=not kept,
            reason=kept,
        )
    )
    _record(state, call, source, layout)


def _follow(state: _Trace, call: LayerCall, inputs: list[_Layout], kept: str) -> None:
    del kept
    _block_mixed(state, call.layer, inputs[0])
    _record(state, call, inputs[0], inputs[0])


def _block_mixed(state: _Trace, layer: Any, layout: _Layout) -> None:
    activation = mixes_channels(layer)
    if activation:
        reason = f"the activation '{activation}' of {layer.name} mixes channels"
        state.atoms.block(layout.atoms, reason, "Use an activation that treats each channel alone")


def _flatten(state: _Trace, call: LayerCall, inputs: list[_Layout], kept: str) -> None:
    del kept
    pixels = math.prod(size or 1 for size in call.input_shapes[0][1:-1])
    layout = _Layout(inputs[0].atoms, inputs[0].positions * pixels)
    _record(state, call, inputs[0], layout)


def _join(state: _Trace, call: LayerCall, inputs: list[_Layout], kept: str) -> None:
    del kept
    for other in inputs[1:]:
        state.atoms.link(inputs[0].atoms, other.atoms)
    _record(state, call, inputs[0], inputs[0])


_FLOWS = {
    Flow.SOURCE: _source,
    Flow.PRODUCE: _produce,
    Flow.FOLLOW: _follow,
    Flow.FLATTEN: _flatten,
    Flow.JOIN: _join,
}


def _record(state: _Trace, call: LayerCall, source: _Layout, result: _Layout) -> None:
    state.inputs[call.layer.name] = source
    state.outputs[call.layer.name] = result
    state.layouts[call.output] = result


def _graph(model: keras.Model, state: _Trace) -> PrunableGraph:
    units = state.atoms.units()
    unit_count = int(units.max()) + 1 if len(units) else 0
    blocked = np.full(unit_count, -1, np.int64)
    for index, block in reversed(list(enumerate(state.atoms.blocks))):
        blocked[units[block.atoms]] = index
    channels = {
        name: Channels(units[source.atoms], units[state.outputs[name].atoms], source.positions)
        for name, source in state.inputs.items()
    }
    groups = _groups(state.layers, channels, blocked, state)
    return PrunableGraph(
        model_name=model.name,
        layers=tuple(state.layers),
        groups=groups,
        channels=channels,
        unit_count=unit_count,
        skipped=(*state.skipped, *_kept_groups(groups, blocked, state)),
        parameters=int(model.count_params()),
    )


def _kept_groups(groups: tuple[Group, ...], blocked: NDArray[np.int64], state: _Trace) -> Iterator[Skipped]:
    for group in groups:
        if not group.prunable:
            block = state.atoms.blocks[blocked[group.units[0]]]
            yield Skipped(group.name, block.reason, block.remedy)


def _groups(
    layers: list[PrunableLayer],
    channels: dict[str, Channels],
    blocked: NDArray[np.int64],
    state: _Trace,
) -> tuple[Group, ...]:
    producers: dict[int, list[str]] = {}
    consumers: dict[int, list[str]] = {}
    for layer in layers:
        for unit in dict.fromkeys(channels[layer.name].outputs.tolist()):
            producers.setdefault(unit, []).append(layer.name)
        for unit in dict.fromkeys(channels[layer.name].inputs.tolist()):
            consumers.setdefault(unit, []).append(layer.name)
    members: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for unit, names in producers.items():
        members.setdefault((tuple(names), int(blocked[unit])), []).append(unit)
    groups = []
    taken: Counter[str] = Counter()
    for (makers, block), unit_list in members.items():
        taken[makers[0]] += 1
        suffix = "" if taken[makers[0]] == 1 else f"/{taken[makers[0]]}"
        readers = dict.fromkeys(name for unit in unit_list for name in consumers.get(unit, ()))
        reason = state.atoms.blocks[block].reason if block >= 0 else ""
        groups.append(
            Group(makers[0] + suffix, np.array(unit_list, np.int64), makers, tuple(readers), block < 0, reason)
        )
    return tuple(groups)
