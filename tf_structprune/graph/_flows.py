"""How channels pass through one call of a layer: one function a flow.

Each takes the state of the trace, the call and the layouts of its inputs, and gives the layouts of its
outputs. It raises `Barrier` before it says anything about the atoms.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import FIRST, PRUNE_FIRST, PrunableLayer
from tf_structprune.graph._calls import LayerCall
from tf_structprune.graph._kernel import kernel_view
from tf_structprune.graph._lookup import is_operation, rule_for
from tf_structprune.graph._rules import Flow, core_layer, kind_of, mixed_axes, step_axes
from tf_structprune.graph._tracing import BY_DESIGN, Barrier, Layout, Record, Tracing, made_shape

Layouts = list[Layout]
_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_UNPRUNED = "Change that, or leave its channels unpruned"


def channel_axis(layer: Any, rank: int) -> int:
    """The axis that a layer itself takes for channels, batch axis counted.

    Raises:
        Barrier: the layer works on several axes.
    """
    inner, steps = core_layer(layer), step_axes(layer)
    if getattr(inner, "data_format", None) == "channels_first":
        return 1 + steps
    axis = getattr(inner, "axis", -1)
    if isinstance(axis, (list, tuple)):
        if len(axis) != 1:
            raise Barrier(f"it works on the axes {tuple(axis)}, not on the channels alone", _UNPRUNED)
        (axis,) = axis
    return rank - 1 if axis is None else int(axis) % (rank - steps) + steps


def _only(call: LayerCall, inputs: Layouts) -> Layout:
    if len(inputs) != 1:
        raise Barrier(f"it is called with {len(inputs)} tensors", "Call it with one")
    return inputs[0]


def _on_channels(state: Tracing, call: LayerCall, inputs: Layouts) -> Layout:
    """The only input, with channels that lie where the layer looks for them; others have to stay."""
    layout = _only(call, inputs)
    axis = channel_axis(call.layer, len(layout.shape))
    if axis == layout.axis:
        return layout
    reason = f"{call.name} works on axis {axis}, but the channels lie on axis {layout.axis}"
    state.atoms.hold(layout.atoms, reason, _UNPRUNED)
    return state.fixed(layout.shape, reason, axis)


def _record(state: Tracing, call: LayerCall, reads: Layouts, makes: Layouts) -> Layouts:
    first, last = reads[0], makes[0]
    state.records.setdefault(call.name, Record(tuple(reads), tuple(makes), first.atoms, last.atoms))
    return makes


def _source(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    if inputs:  # the input of a nested model
        return _record(state, call, inputs, [inputs[0]])
    shape = call.output_shapes.get(0) or tuple(call.layer.batch_shape)
    made = state.fixed(shape, "it comes from the input")
    return _record(state, call, [made], [made])


def _produce(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    source = _on_channels(state, call, inputs)
    inner = core_layer(call.layer)
    maps, positions = source.atoms, 1
    repeat = int(getattr(inner, "depth_multiplier", 1))
    if repeat > 1:  # the depthwise part of a separable convolution
        maps = np.repeat(maps, repeat)
    if isinstance(inner, keras.layers.Dense):
        positions = _repetitions(maps)
        maps = maps[: len(maps) // positions]
    view = kernel_view(call.layer, positions)
    outputs = state.atoms.take(view.outputs)
    if view.groups > 1:  # whole groups go
        rows = np.concatenate([maps.reshape(view.groups, -1), outputs.reshape(view.groups, -1)], axis=1)
        state.link_rows(rows)
    made = Layout(outputs, source.axis, made_shape(call, source))
    _choose(state, call, outputs)
    _block_mixed(state, call, made)
    state.records.setdefault(call.name, Record((source,), (made,), maps, outputs, positions))
    _add_layer(state, call, source if isinstance(inner, _TRANSPOSED) else made, positions)
    return [made]


def _repetitions(atoms: NDArray[np.int64]) -> int:
    """How often a run of distinct atoms is repeated, 1 if it is not."""
    again = np.flatnonzero(atoms[1:] == atoms[0])
    period = int(again[0]) + 1 if len(again) else len(atoms)
    if len(atoms) % period:
        return 1
    rows = atoms.reshape(-1, period)
    distinct = len(np.unique(rows[0])) == period
    return len(rows) if distinct and bool((rows == rows[0]).all()) else 1


def _choose(state: Tracing, call: LayerCall, outputs: NDArray[np.int64]) -> None:
    """Apply the user's choices to the channels that a layer makes."""
    if call.name in state.kept:
        reason = state.kept[call.name]
        state.atoms.hold(outputs, call.name + reason.removeprefix("it"), PRUNE_FIRST if reason == FIRST else BY_DESIGN)
    run = state.limits[call.name].channel_block
    for start in range(0, len(outputs), run) if run > 1 else ():
        state.link_rows(outputs[None, start : start + run])


def _block_mixed(state: Tracing, call: LayerCall, layout: Layout) -> None:
    activation, axes = mixed_axes(call.layer, len(layout.shape))
    if layout.axis in axes:
        reason = f"the activation '{activation}' of {call.name} mixes channels"
        state.atoms.hold(layout.atoms, reason, "Use an activation that treats each channel alone")


def _add_layer(state: Tracing, call: LayerCall, applied: Layout, positions: int = 1) -> None:
    """Count the layer among those with weights; a further call adds its pixels.

    Args:
        state: what was found so far.
        call: of the layer.
        applied: the maps at each of whose pixels the kernel is applied.
        positions: input features that one input map stands for.
    """
    pixels = math.prod(size or 1 for axis, size in enumerate(applied.shape) if axis not in (0, applied.axis))
    known = state.layers.get(call.name)
    pixels += known.pixels if known is not None else 0
    inner, view = core_layer(call.layer), kernel_view(call.layer, positions)
    part = getattr(inner, "depthwise_kernel", None)
    reason = state.kept.get(call.name, "")
    state.layers[call.name] = PrunableLayer(
        name=call.name,
        kind=kind_of(call.layer),
        kernel_shape=view.shape,
        positions=view.positions,
        inputs=view.inputs,
        outputs=view.outputs,
        pixels=pixels,
        prunable=not reason,
        reason=reason,
        groups=view.groups,
        other_weights=0 if part is None else math.prod(part.shape[:-2]),
    )


def _depthwise(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    source = _on_channels(state, call, inputs)
    outputs = np.repeat(source.atoms, int(core_layer(call.layer).depth_multiplier))
    made = Layout(outputs, source.axis, made_shape(call, source))
    _choose(state, call, outputs)
    _block_mixed(state, call, made)
    _add_layer(state, call, made)
    return _record(state, call, inputs, [made])


def _follow(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    rule = rule_for(call.layer)
    layout = _on_channels(state, call, inputs) if rule is not None and rule.spatial else _only(call, inputs)
    shape = made_shape(call, layout)
    axis = layout.axis if len(shape) == len(layout.shape) or layout.axis == 1 else len(shape) - 1  # global pooling
    made = Layout(layout.atoms, axis, shape)
    if shape[axis] not in (None, len(layout.atoms)):
        raise Barrier("it changes the number of channels", _UNPRUNED)
    _block_mixed(state, call, made)
    return _record(state, call, inputs, [made])


def _group_normalize(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    layout = _on_channels(state, call, inputs)
    channels = len(layout.atoms)
    groups = int(core_layer(call.layer).groups)
    groups = channels if groups == -1 else groups
    if groups == 1 and channels > 1:
        raise Barrier("its one group mixes all channels", "Use more groups, or LayerNormalization")
    state.link_rows(layout.atoms.reshape(groups, -1))
    return _record(state, call, inputs, [Layout(layout.atoms, layout.axis, made_shape(call, layout))])


def _join(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    aligned = _aligned(call, inputs)
    channels = max(len(layout.atoms) for layout in aligned)
    wide = [layout for layout in aligned if len(layout.atoms) == channels]
    axis = wide[0].axis
    made = Layout(wide[0].atoms, axis, made_shape(call, wide[0]))
    narrow = [layout for layout in aligned if len(layout.atoms) != channels]
    fits = all(layout.axis == axis for layout in wide) and all(layout.shape[axis] == 1 for layout in narrow)
    if not fits or made.shape[axis] != channels:
        raise Barrier("its inputs hold different channels", "Give all inputs the same channels, or one")
    for layout in wide[1:]:
        state.atoms.link(wide[0].atoms, layout.atoms)
    for layout in narrow:
        state.atoms.hold(layout.atoms, f"{call.name} broadcasts it over other channels", BY_DESIGN)
    return _record(state, call, inputs, [made])


def _aligned(call: LayerCall, inputs: Layouts) -> Layouts:
    """The inputs in one rank; Keras's merging layers insert axes behind the batch axis."""
    rank = max(len(layout.shape) for layout in inputs)
    if is_operation(call.layer) and any(len(layout.shape) != rank for layout in inputs):
        raise Barrier("its inputs differ in rank", "Give all inputs the same rank")
    return [
        Layout(
            layout.atoms,
            layout.axis + rank - len(layout.shape),
            (layout.shape[0], *(1,) * (rank - len(layout.shape)), *layout.shape[1:]),
        )
        for layout in inputs
    ]


def _concatenate(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    first = inputs[0]
    rank = len(first.shape)
    if any(layout.axis != first.axis or len(layout.shape) != rank for layout in inputs):
        raise Barrier("its inputs hold their channels on different axes", "Transpose them to the same axis")
    if call.layer.axis % rank == first.axis:
        atoms = np.concatenate([layout.atoms for layout in inputs])
        return _record(state, call, inputs, [Layout(atoms, first.axis, made_shape(call, first))])
    if len({len(layout.atoms) for layout in inputs}) != 1:
        raise Barrier("its inputs differ in channels", "Give all inputs the same channels")
    for layout in inputs[1:]:
        state.atoms.link(first.atoms, layout.atoms)
    return _record(state, call, inputs, [Layout(first.atoms, first.axis, made_shape(call, first))])


def _stack(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    first = inputs[0]
    if any(layout.axis != first.axis or len(layout.atoms) != len(first.atoms) for layout in inputs):
        raise Barrier("its inputs hold different channels", "Give all inputs the same channels")
    for layout in inputs[1:]:
        state.atoms.link(first.atoms, layout.atoms)
    axis = call.layer.axis % (len(first.shape) + 1)
    shape = (*first.shape[:axis], len(inputs), *first.shape[axis:])
    made = Layout(first.atoms, first.axis + int(axis <= first.axis), call.output_shapes.get(0, shape))
    return _record(state, call, inputs, [made])


def _rearrange(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    layout = _only(call, inputs)
    labelled = _labels_of_outputs(call, layout)
    makes = [_layout_from_labels(state, labels) for labels in labelled]
    if len(makes) > 1:
        state.parts += [made.atoms for made in makes]
    return _record(state, call, inputs, makes)


def _labels_of_outputs(call: LayerCall, layout: Layout) -> list[NDArray[np.int64]]:
    """The atom of every value of the outputs, found by running the layer on atoms instead of values."""
    if any(size is None for size in layout.shape[1:]):
        raise Barrier("its input size is not fixed", "Build the model with a fixed keras.Input shape")
    along = np.arange(len(layout.shape)) == layout.axis
    atoms = layout.atoms.reshape(np.where(along, len(layout.atoms), 1))
    labels = np.broadcast_to(atoms, (1, *(int(size or 1) for size in layout.shape[1:]))).astype(np.int32)
    args, kwargs = call.arguments(lambda _: keras.ops.convert_to_tensor(labels))
    try:
        outputs = keras.tree.flatten(call.layer(*args, **kwargs))
    except Exception as error:  # whatever the backend raises for shapes that it cannot do
        raise Barrier("it cannot be followed for a batch of one", "Do not fix the batch size in it") from error
    arrays = [np.array(keras.ops.convert_to_numpy(output), np.int64) for output in outputs]
    if any(array.ndim < 2 or array.shape[0] != 1 for array in arrays):
        raise Barrier("it moves the batch axis", "Leave the first axis in its place")
    return arrays


def _layout_from_labels(state: Tracing, labels: NDArray[np.int64]) -> Layout:
    """A layout with one channel axis; where channels vary along several axes, slices go together."""
    shape = (None, *labels.shape[1:])
    varying = [axis for axis in range(1, labels.ndim) if (labels != np.take(labels, [0], axis=axis)).any()]
    axis = varying[-1] if varying else labels.ndim - 1
    rows = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1)
    if len(varying) > 1:
        state.link_rows(rows)
    return Layout(rows[:, 0], axis, shape)


def _slice(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    layout = _only(call, inputs)
    part = sliced_part(call.args[1], layout.axis, len(layout.shape))
    if not isinstance(part, slice) or (part.step or 1) < 1:
        raise Barrier("it takes single channels, or takes them backwards", "Take a run of channels, or every n-th")
    (labels,) = _labels_of_outputs(call, layout)
    if not labels.size:
        raise Barrier("it takes no channel", "Take a run of channels")
    first, _, step = part.indices(len(layout.atoms))
    for start in range(first, len(layout.atoms), step) if step > 1 else ():
        state.link_rows(layout.atoms[None, start : start + step])
    made = _layout_from_labels(state, labels)
    state.parts.append(made.atoms)
    return _record(state, call, inputs, [made])


def sliced_part(key: Any, axis: int, rank: int) -> Any:
    """What an indexing key takes of an axis: a slice, an index, or None if that cannot be said."""
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    place = key_place(keys, axis, rank)
    return slice(None) if place is None else keys[place]


def key_place(keys: list[Any], axis: int, rank: int) -> int | None:
    """Which entry of an indexing key is about an axis; None if none is, and all is taken."""
    if Ellipsis not in keys:
        keys = [*keys, Ellipsis]
    filled = rank - sum(key is not None and key is not Ellipsis for key in keys)
    at = 0
    for place, key in enumerate(keys):
        if key is Ellipsis:
            at += filled
            if axis < at:
                return None
        elif key is not None:
            if at == axis:
                return place
            at += 1
    return None


def _reduce(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    layout = _only(call, inputs)
    rank, axes = len(layout.shape), call.layer.axis
    axes = range(rank) if axes is None else [axes] if isinstance(axes, int) else axes
    reduced = {int(axis) % rank for axis in axes}
    if layout.axis in reduced or 0 in reduced:
        raise Barrier("it reduces the channels to one value", _UNPRUNED)
    axis = layout.axis
    if not call.layer.keepdims:
        axis -= sum(other < axis for other in reduced)
    kept = tuple(size for other, size in enumerate(layout.shape) if other not in reduced)
    made = Layout(layout.atoms, axis, call.output_shapes.get(0, kept))
    return _record(state, call, inputs, [made])


def _end(state: Tracing, call: LayerCall, inputs: Layouts) -> Layouts:
    del state, call, inputs
    raise Barrier("its channels depend on each other", "Kept by design")


FLOWS: dict[Flow, Callable[[Tracing, LayerCall, Layouts], Layouts]] = {
    Flow.SOURCE: _source,
    Flow.PRODUCE: _produce,
    Flow.DEPTHWISE: _depthwise,
    Flow.FOLLOW: _follow,
    Flow.NORMALIZE: _follow,
    Flow.GROUP_NORMALIZE: _group_normalize,
    Flow.JOIN: _join,
    Flow.CONCATENATE: _concatenate,
    Flow.STACK: _stack,
    Flow.REARRANGE: _rearrange,
    Flow.SLICE: _slice,
    Flow.REDUCE: _reduce,
    Flow.END: _end,
}
