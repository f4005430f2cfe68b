"""Put masks on a model, take them off, read and write them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import Group, PerLayer, PrunableGraph
from tf_structprune.graph import Flow, named_layers, rule_for, trace
from tf_structprune.layers._clone import clone
from tf_structprune.layers._copy import copy_layer
from tf_structprune.layers._masked_layer import MaskedLayer
from tf_structprune.layers._masked_normalization import MaskedNormalization
from tf_structprune.layers._weights import copy_weights
from tf_structprune.masks import (
    FEATURE_MAP,
    INTRA_KERNEL,
    KEEP_ON_GRID,
    KERNEL,
    STRUCTURED,
    WEIGHT,
    MaskSet,
    unit_mask,
)


def wrap(
    model: keras.Model,
    *,
    granularity: str | Sequence[str] = STRUCTURED,
    keep: Sequence[str] = (),
    keep_first: bool = True,
    keep_last: bool = True,
    round_to: PerLayer = 1,
    min_channels: PerLayer = 1,
    channel_block: PerLayer = 1,
    polarity: str = KEEP_ON_GRID,
    admm: bool = False,
) -> keras.Model:
    """A copy of the model with masks on every convolution and dense layer; nothing is pruned yet.

    Weights are copied and what the model was compiled with is taken over with a fresh optimizer and fresh
    metrics, so the result trains, saves and reloads as the model did, and gives the same outputs. Layers inside
    nested models are masked in their places. Nothing is written and read again on the way: losses, functions and
    layers without variables need not be registered, and those of your own are the same objects.

    Args:
        model: a built Sequential or functional Keras 3 model, not masked; it is not changed.
        granularity: one granularity or several, of "feature_map", "kernel", "intra_kernel" and "weight", whose masks
            are as large as the kernels.
        keep: names or patterns (`fnmatch`) of layers to keep whole; "model/layer" in a nested model.
        keep_first: whether the first convolution stays whole.
        keep_last: whether the last layer with a kernel (the classifier) stays whole; with False it loses kernels,
            patterns and weights, but no outputs.
        round_to: the number of channels that a layer is left with is a multiple of this, unless
            none is removed; one number for all layers, or numbers by name or pattern.
        min_channels: least number of channels that a layer is left with, likewise.
        channel_block: so many consecutive channels of a layer are removed or kept as one, likewise.
        polarity: meaning of intra-kernel patterns, "keep_on_grid" or "prune_on_grid".
        admm: whether the callback `ADMM` can pull the kernels; it takes twice their size more.

    Raises:
        TypeError: not a Keras model.
        ValueError: a model that cannot be traced, is masked already or has nothing to prune; an
            unknown granularity, polarity or layer name, or a limit below 1.
    """
    # Eleven names: what a user may demand of a pruned model, each by keyword.
    kinds = (granularity,) if isinstance(granularity, str) else tuple(granularity)
    if is_masked(model):
        raise ValueError(
            f"Model '{model.name}' is masked already. Received: a model with MaskedLayer. Use set_masks "
            "to change its masks, or unwrap it first."
        )
    graph = trace(
        model,
        keep=keep,
        keep_first=keep_first,
        keep_last=keep_last,
        round_to=round_to,
        min_channels=min_channels,
        channel_block=channel_block,
    )
    graph.check_prunable()
    choice = {layer.name: layer for layer in graph.layers}

    def masked(name: str, layer: Any) -> Any:
        copy, rule = copy_layer(layer), rule_for(layer)
        if name in choice:
            limits = graph.limits[name]
            return MaskedLayer(
                copy,
                granularity=kinds,
                prunable=choice[name].prunable,
                positions=graph.channels[name].positions,
                polarity=polarity,
                limits=(limits.round_to, limits.min_channels, limits.channel_block),
                pulled=admm,
            )
        if rule is not None and rule.flow is Flow.NORMALIZE and name in graph.channels and FEATURE_MAP in kinds:
            return MaskedNormalization(copy)
        return copy

    result = clone(model, masked)
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        copy_weights(layer, new[name])
    return result


def unwrap(masked: keras.Model) -> keras.Model:
    """The plain model of the same size with the masks folded into its kernels as zeros.

    Raises:
        ValueError: a model that is not masked, or one with a normalization over channels that are
            removed: only `shrink` can make that plain.
    """
    _check_masked(masked)
    old = named_layers(masked)
    for name, layer in old.items():
        if isinstance(layer, MaskedNormalization) and not _read(layer.keep).all():
            raise ValueError(
                f"Layer '{name}' normalizes over channels of which some are removed, which a plain layer of the "
                f"same size cannot. Received: {int((~_read(layer.keep)).sum())} removed channels. Use shrink."
            )
    result = clone(masked, lambda _, layer: _without_masks(layer))
    new = named_layers(result)
    for name, layer in old.items():
        copy_weights(layer, new[name])
    return result


def _without_masks(layer: Any) -> Any:
    while isinstance(layer, MaskedLayer | MaskedNormalization):
        layer = layer.layer
    return copy_layer(layer)


def is_masked(model: keras.Model) -> bool:
    """Whether the model has masked layers."""
    return isinstance(model, keras.Model) and any(
        isinstance(layer, MaskedLayer | MaskedNormalization) for layer in named_layers(model).values()
    )


def polarity_of(masked: keras.Model) -> str:
    """The intra-kernel polarity that a masked model was wrapped with."""
    _check_masked(masked)
    return str(next(iter(_masked_layers(masked).values())).polarity)


def get_masks(masked: keras.Model, *, graph: PrunableGraph | None = None) -> MaskSet:
    """The masks that a masked model holds, complete for the granularities it was wrapped with.

    Args:
        masked: a model from `wrap`.
        graph: `trace(masked)` where the caller has it already.

    Raises:
        ValueError: a model that is not masked.
    """
    _check_masked(masked)
    graph = graph or trace(masked)
    layers = _masked_layers(masked)
    feature_map = {
        group.name: _group_mask(graph, group, layers[group.producers[0]])
        for group in graph.prunable_groups
        if layers[group.producers[0]].output_keep is not None
    }
    kernel = {n: _read(layer.kernel_keep) for n, layer in layers.items() if layer.kernel_keep is not None}
    patterns = {n: _read(layer.pattern) for n, layer in layers.items() if layer.pattern is not None}
    weight = {n: _read(layer.weight_keep) for n, layer in layers.items() if layer.weight_keep is not None}
    return MaskSet(feature_map, kernel, patterns, weight)


def set_masks(masked: keras.Model, masks: MaskSet, *, graph: PrunableGraph | None = None) -> None:
    """Write masks into a masked model; groups and layers without an entry keep theirs.

    Args:
        masked: a model from `wrap`.
        masks: the masks; granularities that the model was not wrapped with must keep everything.
        graph: `trace(masked)` where the caller has it already.

    Raises:
        ValueError: a model that is not masked, an unknown group or layer, a wrong shape, a group or
            layer that is kept, or a granularity without masks. Nothing is written then.
    """
    for variable, value in _writes(masked, masks, graph or trace(masked)):
        variable.assign(value)


def check_masks(masked: keras.Model, masks: MaskSet, *, graph: PrunableGraph | None = None) -> None:
    """Refuse masks that `set_masks` would refuse; nothing is written.

    Args:
        masked: a model from `wrap`.
        masks: the masks.
        graph: `trace(masked)` where the caller has it already.

    Raises:
        ValueError: see `set_masks`.
    """
    _writes(masked, masks, graph or trace(masked))


def keep_everything(masks: MaskSet) -> MaskSet:
    """Masks of the same names and shapes that remove nothing."""
    return MaskSet(
        {name: np.ones_like(mask) for name, mask in masks.feature_map.items()},
        {name: np.ones_like(mask) for name, mask in masks.kernel.items()},
        {name: np.tile(np.array([[1, 0]], np.int32), (len(p), 1)) for name, p in masks.intra_kernel.items()},
        {name: np.ones_like(mask) for name, mask in masks.weight.items()},
    )


def _writes(masked: keras.Model, masks: MaskSet, graph: PrunableGraph) -> list[tuple[Any, NDArray[Any]]]:
    """The mask variables of a model that a set of masks sets, and their values."""
    _check_masked(masked)
    layers = _masked_layers(masked)
    merged = get_masks(masked, graph=graph) if masks.feature_map else MaskSet()
    unit_keep = unit_mask(graph, merged.updated(FEATURE_MAP, masks.feature_map))
    writes: list[tuple[Any, NDArray[Any]]] = []
    if masks.feature_map:
        writes += _feature_map_writes(graph, layers, unit_keep)
        writes += [
            (layer.keep, unit_keep[graph.channels[name].outputs])
            for name, layer in named_layers(masked).items()
            if isinstance(layer, MaskedNormalization)
        ]
    writes += [*_writes_of(KERNEL, layers, masks.kernel), *_writes_of(WEIGHT, layers, masks.weight)]
    return writes + _pattern_writes(layers, masks)


def _feature_map_writes(
    graph: PrunableGraph, layers: dict[str, MaskedLayer], unit_keep: NDArray[np.bool_]
) -> list[tuple[Any, NDArray[Any]]]:
    writes = []
    for name, layer in layers.items():
        channels = graph.channels[name]
        if layer.input_keep is None:
            if unit_keep.all():
                continue
            raise _not_wrapped(FEATURE_MAP, name)
        writes.append((layer.input_keep, unit_keep[channels.inputs]))
        writes.append((layer.output_keep, unit_keep[channels.outputs]))
    return writes


def _writes_of(
    granularity: str, layers: dict[str, MaskedLayer], masks: Mapping[str, NDArray[np.bool_]]
) -> list[tuple[Any, NDArray[Any]]]:
    writes = []
    for name, mask in masks.items():
        variable = _variable(layers, name, granularity)
        _check_shape(name, granularity, mask, tuple(variable.shape))
        writes.append((variable, mask))
    return writes


def _pattern_writes(layers: dict[str, MaskedLayer], masks: MaskSet) -> list[tuple[Any, NDArray[Any]]]:
    writes = []
    for name, patterns in masks.intra_kernel.items():
        variable = _variable(layers, name, INTRA_KERNEL)
        _check_shape(name, INTRA_KERNEL, patterns, tuple(variable.shape))
        if (patterns[:, 0] < 1).any() or (patterns[:, 1] < 0).any():
            raise ValueError(
                f"Layer '{name}': intra-kernel patterns are (stride >= 1, offset >= 0). Received: "
                f"least stride={patterns[:, 0].min()}, least offset={patterns[:, 1].min()}. Use (1, 0) to keep all."
            )
        writes.append((variable, patterns))
    return writes


def _variable(layers: dict[str, MaskedLayer], name: str, granularity: str) -> Any:
    if name not in layers:
        raise ValueError(
            f"The masked model has no layer of that name. Received: layer={name!r}. Use one of: {', '.join(layers)}."
        )
    layer = layers[name]
    variable = {KERNEL: layer.kernel_keep, INTRA_KERNEL: layer.pattern, WEIGHT: layer.weight_keep}[granularity]
    if variable is None:
        raise _not_wrapped(granularity, name)
    return variable


def _not_wrapped(granularity: str, name: str) -> ValueError:
    return ValueError(
        f"Layer '{name}' holds no {granularity} masks: the model was wrapped without that granularity, or "
        f"the layer is kept. Received: {granularity} masks. Use wrap(model, granularity=(..., '{granularity}'))."
    )


def _check_shape(name: str, granularity: str, mask: NDArray[Any], shape: tuple[int, ...]) -> None:
    if mask.shape != shape:
        raise ValueError(
            f"Layer '{name}': {granularity} masks of the wrong shape. Received: shape={mask.shape}. Use shape {shape}."
        )


def _group_mask(graph: PrunableGraph, group: Group, producer: MaskedLayer) -> NDArray[np.bool_]:
    unit_keep = np.ones(graph.unit_count, np.bool_)
    unit_keep[graph.channels[group.producers[0]].outputs] = _read(producer.output_keep)
    return unit_keep[group.units]


def _read(variable: Any) -> NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))


def _masked_layers(model: keras.Model) -> dict[str, MaskedLayer]:
    return {name: layer for name, layer in named_layers(model).items() if isinstance(layer, MaskedLayer)}


def _check_masked(model: keras.Model) -> None:
    if not is_masked(model):
        raise ValueError(
            f"Model '{getattr(model, 'name', model)}' has no masks. Received: a plain model. Use wrap(model) first."
        )
