"""Trace a model: follow every channel from the layer that makes it to those that read it."""

import fnmatch
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import (
    FIRST,
    LAST,
    ChannelLimits,
    Channels,
    Group,
    PerLayer,
    PrunableGraph,
    PrunableLayer,
    Skipped,
    TensorChannels,
    limits_by_layer,
)
from tf_structprune.graph._calls import CallList, LayerCall, list_calls
from tf_structprune.graph._flows import FLOWS
from tf_structprune.graph._lookup import is_operation, rule_for
from tf_structprune.graph._rules import Flow, core_layer, kind_of
from tf_structprune.graph._tracing import BY_DESIGN, Barrier, Layout, Record, Tracing
from tf_structprune.graph._wrapper import TransparentWrapper

_WITH_KERNEL = (Flow.PRODUCE, Flow.DEPTHWISE)


def trace(
    model: keras.Model,
    *,
    keep: Sequence[str] = (),
    keep_first: bool = True,
    keep_last: bool = True,
    round_to: PerLayer = 1,
    min_channels: PerLayer = 1,
    channel_block: PerLayer = 1,
) -> PrunableGraph:
    """Find the channel groups of a Sequential or functional model; the model is not changed.

    The first convolution and the last layer with a kernel (the classifier) are kept, as in Anwar
    and Sung, arXiv 1610.09639, section 3. A layer without a rule is a barrier: what feeds it
    stays whole, the rest is still pruned, and `PrunableGraph.skipped` names it. Layers of nested
    models have the name "model/layer".

    A masked model keeps the choices that it was wrapped with; further ones may only be added.

    Args:
        model: a built Keras 3 model, masked or not.
        keep: names or patterns (`fnmatch`) of further layers that stay whole.
        keep_first: whether the first convolution stays whole; False prunes it like any other.
        keep_last: whether the last layer with a kernel stays whole; with False it loses kernels, patterns and
            weights like any other, but no outputs of the model.
        round_to: the number of channels that a layer is left with is a multiple of this, unless
            none is removed; one number for all layers, or numbers by name or pattern.
        min_channels: least number of channels that a layer is left with, likewise.
        channel_block: so many consecutive channels of a layer are removed or kept as one, likewise.

    Returns:
        The groups, layers and channels of the model.

    Raises:
        TypeError: not a Keras model, or limits that are no whole numbers.
        ValueError: a subclassed or unbuilt model, a limit below 1, or a name that matches no layer.
    """
    found = list_calls(model)
    kernels = list(dict.fromkeys(call.name for call in found.calls if _makes_channels(call.layer)))
    chosen = limits_by_layer(kernels, round_to=round_to, min_channels=min_channels, channel_block=channel_block)
    remembered = {c.name: c.layer.limits for c in found.calls if _remembers(c.layer)}
    limits = chosen | {name: given for name, given in remembered.items() if chosen.get(name) == ChannelLimits()}
    state = Tracing(_kept_layers(model, found, keep, keep_first=keep_first, keep_last=keep_last), limits)
    for call in found.calls:
        _visit(state, call)
    for key in found.outputs:
        if key in state.layouts:
            state.atoms.hold(state.layouts[key].atoms, "it is an output of the model", BY_DESIGN)
    return _graph(model, state)


def _makes_channels(layer: Any) -> bool:
    rule = rule_for(layer)
    return rule is not None and rule.flow in _WITH_KERNEL


def _kept_layers(
    model: keras.Model, found: CallList, keep: Sequence[str], *, keep_first: bool, keep_last: bool
) -> dict[str, str]:
    """Reason by name of the layers that are kept whole by choice."""
    names = list(dict.fromkeys(call.name for call in found.calls))
    chosen = {call.name for call in found.calls if _remembers(call.layer) and call.layer.prunable}
    kept = dict.fromkeys(found.last_with(has_kernel) - chosen, LAST) if keep_last else {}
    for call in found.calls:
        if _remembers(call.layer) and not call.layer.prunable:
            kept.setdefault(call.name, "it was kept when the model was wrapped")
    first = next((call for call in found.calls if _is_convolution(call.layer)), None)
    if keep_first and first is not None and not _remembers(first.layer):
        kept.setdefault(first.name, FIRST)
    for name in named_in_keep(model.name, names, keep):
        kept.setdefault(name, "it was named in keep")
    return kept


def named_in_keep(model_name: str, names: Sequence[str], keep: Sequence[str]) -> list[str]:
    """The layers of a model that names or patterns (`fnmatch`) mean.

    Raises:
        ValueError: one that means none, or one in the place of a list.
    """
    if isinstance(keep, str):
        raise ValueError(f"keep must be a list of names. Received: keep={keep!r}. Use [{keep!r}].")
    found = []
    for pattern in keep:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise ValueError(
                f"Model '{model_name}' has no layer to keep by that name. Received: keep={pattern!r}. "
                f"Use one of: {', '.join(names)}."
            )
        found += matches
    return found


def _remembers(layer: Any) -> bool:
    """Whether a layer holds the choices of an earlier trace."""
    return isinstance(layer, TransparentWrapper) and layer.limits is not None


def has_kernel(layer: Any) -> bool:
    """Whether a layer mixes channels by weights; one without a rule does if it has any weight."""
    rule = rule_for(layer)
    if rule is None or rule.flow is Flow.END:
        return bool(getattr(layer, "weights", ()))
    return rule.flow is Flow.PRODUCE


def _is_convolution(layer: Any) -> bool:
    rule = rule_for(layer)
    return rule is not None and rule.flow is Flow.PRODUCE and len(rule.weight_axes[rule.kernel]) > 2


def _visit(state: Tracing, call: LayerCall) -> None:
    inputs = [state.layout_of(key, shape) for key, shape in zip(call.inputs, call.input_shapes, strict=True)]
    try:
        makes = _flow(state, call, inputs)
    except Barrier as barrier:
        for layout in inputs:
            state.atoms.hold(layout.atoms, f"it feeds {call.name}: {barrier.reason}", barrier.remedy)
        state.skipped.append(Skipped(call.name, barrier.reason, barrier.remedy))
        return
    for index, layout in enumerate(makes):
        state.layouts[call.output.output(index)] = layout
    if call.repeated and _is_bound(call.layer):
        _tie_to_first_call(state, state.records[call.name], inputs, makes)


def _flow(state: Tracing, call: LayerCall, inputs: list[Layout]) -> list[Layout]:
    rule = rule_for(call.layer)
    if rule is None:
        raise Barrier(
            f"there is no rule for {kind_of(call.layer)}",
            "Replace it by supported layers, or teach the tracer with register_rule",
        )
    refusal = rule.refuse(core_layer(call.layer))
    if refusal:
        raise Barrier(refusal, "Change that setting, or leave its channels unpruned")
    if call.repeated and _is_bound(call.layer) and call.name not in state.records:
        raise Barrier("another call of it is a barrier", "Use a layer of its own for each call")
    return FLOWS[rule.flow](state, call, inputs)


def _is_bound(layer: Any) -> bool:
    """Whether all calls of a layer must see the same channels: its weights or settings count them."""
    rule = rule_for(layer)
    settings = rule is not None and (rule.counts_channels or rule.flow is Flow.SOURCE)
    return settings or is_operation(layer) or bool(getattr(layer, "weights", ()))


def _tie_to_first_call(state: Tracing, first: Record, reads: list[Layout], makes: list[Layout]) -> None:
    for one, other in zip((*first.reads, *first.makes), (*reads, *makes), strict=True):
        if len(one.atoms) == len(other.atoms):
            state.atoms.link(one.atoms, other.atoms)
        else:
            for layout in (one, other):
                state.atoms.hold(layout.atoms, "a layer is called with different channels", BY_DESIGN)


def _graph(model: keras.Model, state: Tracing) -> PrunableGraph:
    units = state.atoms.units()
    unit_count = int(units.max()) + 1 if len(units) else 0
    held = np.full(unit_count, -1, np.int64)
    for index, hold in reversed(list(enumerate(state.atoms.holds))):
        held[units[hold.atoms]] = index
    channels = {name: _channels(record, units) for name, record in state.records.items()}
    groups = tuple(_groups(state, channels, units, held))
    return PrunableGraph(
        model_name=model.name,
        layers=tuple(state.layers.values()),
        groups=groups,
        channels=channels,
        unit_count=unit_count,
        skipped=(*state.skipped, *_kept_groups(groups, held, state)),
        parameters=int(model.count_params()),
        limits=state.limits,
    )


def _channels(record: Record, units: NDArray[np.int64]) -> Channels:
    def tensors(layouts: tuple[Layout, ...]) -> tuple[TensorChannels, ...]:
        return tuple(TensorChannels(units[layout.atoms], layout.axis, layout.shape) for layout in layouts)

    inputs, outputs = units[record.inputs], units[record.outputs]
    return Channels(inputs, outputs, record.positions, tensors(record.reads), tensors(record.makes))


def _kept_groups(groups: tuple[Group, ...], held: NDArray[np.int64], state: Tracing) -> Iterator[Skipped]:
    for group in groups:
        if not group.prunable:
            hold = held[group.units[0]]
            remedy = state.atoms.holds[hold].remedy if hold >= 0 else "Couple fewer channels"
            yield Skipped(group.name, group.reason, remedy)


def _groups(
    state: Tracing, channels: dict[str, Channels], units: NDArray[np.int64], held: NDArray[np.int64]
) -> Iterator[Group]:
    layers = list(state.layers.values())
    taken: Counter[str] = Counter()
    for signature, members in _alike(state, layers, channels, units, held).items():
        producers = [(layers[at], count) for at, side, count in signature if side == _OUT]
        consumers = [layers[at] for at, side, _ in signature if side == _IN]
        if not producers:
            continue
        first, unit_channels = producers[0]
        taken[first.name] += 1
        suffix = "" if taken[first.name] == 1 else f"/{taken[first.name]}"
        reason = _why_kept(state, members, held)
        limits = [state.limits[layer.name] for layer, _ in producers]
        yield Group(
            name=first.name + suffix,
            units=np.array(members, np.int64),
            producers=tuple(layer.name for layer, _ in producers),
            consumers=tuple(layer.name for layer in consumers),
            prunable=not reason,
            reason=reason,
            unit_channels=unit_channels,
            round_to=int(np.lcm.reduce([limit.round_to for limit in limits])),
            min_channels=max(limit.min_channels for limit in limits),
        )


_OUT, _IN, _PART, _HELD = "outputs", "inputs", "part", "held"


def _alike(
    state: Tracing,
    layers: list[PrunableLayer],
    channels: dict[str, Channels],
    units: NDArray[np.int64],
    held: NDArray[np.int64],
) -> dict[tuple[tuple[int, str, int], ...], list[int]]:
    """Units by signature: how many channels they have where; only such are exchangeable."""
    signatures: dict[int, list[tuple[int, str, int]]] = {}

    def add(at: int, side: str, members: NDArray[np.int64]) -> None:
        for unit, count in zip(*(a.tolist() for a in np.unique(members, return_counts=True)), strict=True):
            signatures.setdefault(unit, []).append((at, side, count))

    for at, layer in enumerate(layers):
        add(at, _OUT, channels[layer.name].outputs)
        add(at, _IN, channels[layer.name].inputs)
    for at, part in enumerate(state.parts):
        add(at, _PART, units[part])
    alike: dict[tuple[tuple[int, str, int], ...], list[int]] = {}
    for unit, signature in signatures.items():
        alike.setdefault((*signature, (int(held[unit]), _HELD, 0)), []).append(unit)
    return alike


def _why_kept(state: Tracing, members: list[int], held: NDArray[np.int64]) -> str:
    hold = int(held[members[0]])
    if hold >= 0:
        return state.atoms.holds[hold].reason
    return "its channels go together, and some have to stay" if len(members) == 1 else ""
