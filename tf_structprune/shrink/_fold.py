"""Fold constant maps into the layers that read them, so that they can go and nothing changes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Channels, PrunableGraph, PrunableLayer
from tf_structprune.graph import (
    Flow,
    config_of,
    inner_layer,
    kernel_of,
    kernel_variable,
    kernel_view,
    layer_inputs,
    named_layers,
    rule_for,
)
from tf_structprune.layers import FoldedIn, copy_of, folded_weights, polarity_of, quantizer_of
from tf_structprune.masks import MaskSet, masks_by_layer, unit_mask
from tf_structprune.shrink._dead import Units, constant_units, gated_units, most_removed, unread_units, within_limits

_EXACT = 1e-6  # relative: what float32 rounding leaves of a constant
_OPEN_SIZES = (64, 128)  # pixels, where the model leaves its input size open: a constant is the same in both


@dataclass(frozen=True)
class Folding:
    """Dead maps and what is left of them in their readers.

    Attributes:
        removed: units that go, shape (unit count,).
        folded: what goes into the biases and kernels of the readers.
        merged: by layer, (kept, gone) input maps: the kernels of the latter were added to the former.
    """

    removed: Units
    folded: FoldedIn = field(default_factory=FoldedIn)
    merged: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)


def fold_dead_maps(masked: keras.Model, graph: PrunableGraph, masks: MaskSet) -> Folding:
    """Find the maps that kernel masks have killed, transitively, and fold their constants.

    A map that nothing reads goes as it is. A map that reads nothing is a constant, such as its bias
    after BatchNormalization and activation; where a reader sees the same value at every pixel it
    computes, that value moves into the reader's bias. Where zero padding makes the border see
    another value, one constant map of the group stays and stands for all others, whose kernels are
    added to its own in proportion.

    Args:
        masked: the masked model.
        graph: its trace.
        masks: its masks.
    """
    keep = unit_mask(graph, masks)
    if all(mask.all() for mask in (*masks.kernel.values(), *masks.weight.values())):
        return Folding(np.zeros_like(keep))
    by_layer = masks_by_layer(graph, masks, polarity_of(masked))
    fixed = _in_statistics(masked, graph)
    unread = within_limits(graph, unread_units(graph, by_layer, keep, fixed), keep)
    constant = constant_units(graph, by_layer, keep & ~unread, fixed | unread | gated_units(graph))
    if not constant.any():
        return Folding(unread)
    readers = _readers(masked, graph, constant)
    uneven = np.isin(np.arange(graph.unit_count), [unit for reader in readers for unit in reader.uneven])
    folded = within_limits(graph, constant & ~uneven, keep & ~unread)
    merges = _merges(graph, readers, constant & uneven, keep & ~unread & ~folded)
    removed = unread | folded
    removed[[gone for _, gone in merges]] = True
    bias = {reader.layer.name: reader.bias(folded) for reader in readers}
    merged = {reader.layer.name: tuple(reader.pairs(merges)) for reader in readers}
    return Folding(
        removed=removed,
        folded=FoldedIn(
            bias={name: value for name, value in bias.items() if value.any()},
            kernels={r.layer.name: r.merged_kernel(merges) for r in readers if merged[r.layer.name]},
        ),
        merged={name: pairs for name, pairs in merged.items() if pairs},
    )


def _in_statistics(masked: keras.Model, graph: PrunableGraph) -> Units:
    """Units that a normalization over all channels counts: without them the others would change."""
    counted = np.zeros(graph.unit_count, np.bool_)
    for name, layer in named_layers(masked).items():
        rule = rule_for(layer)
        if rule is not None and rule.flow is Flow.NORMALIZE and name in graph.channels:
            counted[graph.channels[name].inputs] = True
    return counted


@dataclass(frozen=True)
class _Reader:
    """A layer that mixes constant maps with others.

    Attributes:
        layer: what the graph says of it.
        keras_layer: the masked layer.
        inputs: unit of each input map.
        positions: features that stand for one input map.
        seen: by unit, the constant that the layer reads, over all its calls and sizes, shape (values,).
        added: by unit, what it adds to every pixel of the outputs, shape (outputs,).
        uneven: units that do not add the same to every pixel.
        mergeable: whether maps that are proportional may share a kernel: not where another weight,
            as in a separable convolution, acts on them before, and not in fixed point, where the sum of two
            words is none.
    """

    layer: PrunableLayer
    keras_layer: Any
    inputs: NDArray[np.int64]
    positions: int
    seen: Mapping[int, NDArray[np.float64]]
    added: Mapping[int, NDArray[np.float64]]
    uneven: tuple[int, ...]
    mergeable: bool

    def bias(self, folded: Units) -> NDArray[np.float64]:
        """What the folded units add to the outputs."""
        values = [value for unit, value in self.added.items() if folded[unit]]
        total: NDArray[np.float64] = np.sum([np.zeros(self.layer.outputs), *values], axis=0)
        return total

    def ratio(self, kept: int, gone: int) -> float | None:
        """How many times the constant of one unit the other's is; None if that differs by pixel."""
        other = self.seen.get(gone, np.zeros(1))
        if not other.any():
            return 0.0
        reference = self.seen[kept]
        if not reference.any() or not self.mergeable:
            return None
        ratio = float(reference @ other / (reference @ reference))
        far = np.abs(other - ratio * reference).max()
        return ratio if far <= _EXACT * np.abs(other).max() else None

    def pairs(self, merges: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """(kept, gone) input maps of the merged units."""
        for pair in merges:
            kept, gone = (np.flatnonzero(self.inputs == unit).tolist() for unit in pair)
            yield from zip(kept, gone, strict=True)

    def merged_kernel(self, merges: list[tuple[int, int]]) -> NDArray[Any]:
        """The kernel with the rows of merged units added up."""
        view = kernel_view(self.keras_layer, self.positions)
        kernel = view.view(keras.ops.convert_to_numpy(kernel_of(self.keras_layer)), np).copy()
        for pair in merges:
            ratio = self.ratio(*pair) or 0.0
            for kept, gone in self.pairs([pair]):
                kernel[:, kept] += ratio * kernel[:, gone]
        restored: NDArray[Any] = view.restore(kernel, np)
        return restored


def _merges(graph: PrunableGraph, readers: list[_Reader], dead: Units, keep: Units) -> list[tuple[int, int]]:
    """(kept, gone) units: one constant map of a group stands for others that are proportional to it."""
    merges = []
    for group in graph.prunable_groups:
        units = group.units[dead[group.units]].tolist()
        mine = [reader for reader in readers if reader.layer.name in group.consumers]
        strength = {unit: sum(float(np.abs(reader.seen[unit]).sum()) for reader in mine) for unit in units}
        kept = max(units, key=lambda unit: strength[unit], default=-1)
        alike = [u for u in units if u != kept and all(reader.ratio(kept, u) is not None for reader in mine)]
        going = most_removed(group, int(keep[group.units].sum()), len(alike))
        merges += [(kept, gone) for gone in alike[:going]]
    return merges


def _readers(masked: keras.Model, graph: PrunableGraph, constant: Units) -> list[_Reader]:
    mixing = [
        layer for layer in graph.layers if layer.groups == 1 and constant[graph.channels[layer.name].inputs].any()
    ]
    names = [layer.name for layer in mixing]
    tensors: dict[str, list[Any]] = {name: [] for name in names}
    for blank in _blanks(masked):
        for name, read in layer_inputs(masked, names, blank).items():
            tensors[name] += read
    layers = named_layers(masked)
    return [_reader(graph.channels[n.name], n, layers[n.name], tensors[n.name], constant) for n in mixing]


def _blanks(model: keras.Model) -> Iterator[list[NDArray[Any]]]:
    """Samples of zeros; constant maps are the same for every sample, and for every size."""
    is_open = any(None in tensor.shape[1:] for tensor in model.inputs)
    for size in _OPEN_SIZES if is_open else _OPEN_SIZES[:1]:
        shapes = [[1, *(known or size for known in tensor.shape[1:])] for tensor in model.inputs]
        yield [np.zeros(shape, tensor.dtype) for shape, tensor in zip(shapes, model.inputs, strict=True)]


def _reader(channels: Channels, layer: PrunableLayer, keras_layer: Any, tensors: list[Any], constant: Units) -> _Reader:
    read = channels.reads[0]
    values = [keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")) for tensor in tensors]
    features = {
        unit: np.flatnonzero(read.units == unit) for unit in np.unique(read.units[constant[read.units]]).tolist()
    }
    seen = {
        unit: np.concatenate([np.take(v, at, axis=read.axis).ravel() for v in values]).astype(np.float64)
        for unit, at in features.items()
    }
    live = {unit: at for unit, at in features.items() if seen[unit].any()}
    added = _added(keras_layer, values, live, read.axis) if live else {}
    uneven = tuple(unit for unit in live if unit not in added)
    return _Reader(
        layer, keras_layer, channels.inputs, channels.positions, seen, added, uneven, _is_mergeable(keras_layer)
    )


def _is_mergeable(keras_layer: Any) -> bool:
    rule = rule_for(keras_layer)
    if quantizer_of(keras_layer) is not None:
        return False
    return rule is not None and sum("in" in roles for roles in rule.weight_axes.values()) == 1


def _added(
    keras_layer: Any, values: list[NDArray[Any]], features: Mapping[int, NDArray[np.int64]], axis: int
) -> dict[int, NDArray[np.float64]]:
    """What each unit adds to the outputs, shape (outputs,), for those that add the same to every pixel."""
    linear = _linear(keras_layer, np.moveaxis(values[0], axis, -1).shape)
    added = {}
    for unit, at in features.items() if linear is not None else ():
        index: Any = (*(slice(None),) * axis, at)
        pixels = []
        for value in values:
            alone = np.zeros_like(value)
            alone[index] = value[index]
            made = keras.ops.convert_to_numpy(linear(np.moveaxis(alone, axis, -1)))
            pixels.append(made.reshape(-1, made.shape[-1]).astype(np.float64))
        rows = np.concatenate(pixels)
        if np.abs(rows - rows[0]).max() <= _EXACT * np.abs(rows).max():
            added[unit] = rows[0]
    return added


def _linear(keras_layer: Any, shape: tuple[int, ...]) -> Any:
    """The layer without bias and activation, its masks folded in, channels last; None if it cannot be had so."""
    inner = inner_layer(keras_layer)
    if not {"use_bias", "activation"} <= set(config_of(inner)):
        return None
    changes = {"use_bias": False, "activation": None, "dtype": "float32", "data_format": "channels_last"}
    linear = copy_of(inner, lambda config: config.update({key: changes[key] for key in changes if key in config}))
    linear.build(shape)
    weights = {v.name: value for v, value in zip(inner.weights, folded_weights(keras_layer), strict=True)}
    weights[kernel_variable(keras_layer).name] = keras.ops.convert_to_numpy(kernel_of(keras_layer))  # rounded if it is
    linear.set_weights([weights[variable.name] for variable in linear.weights])
    return linear
