"""Put masks on a model, take them off, read and write them."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import PrunableGraph, inner_layer, trace
from tf_structprune.layers._masked_layer import MaskedLayer
from tf_structprune.masks import (
    FEATURE_MAP,
    GRANULARITIES,
    INTRA_KERNEL,
    KEEP_ON_GRID,
    KERNEL,
    MaskSet,
    unit_mask,
)


def wrap(
    model: keras.Model,
    *,
    granularity: str | Sequence[str] = GRANULARITIES,
    keep: Sequence[str] = (),
    keep_first: bool = True,
    polarity: str = KEEP_ON_GRID,
) -> keras.Model:
    """A copy of the model with masks on every convolution and dense layer; nothing is pruned yet.

    Weights are copied and the compile configuration is taken over with a fresh optimizer, so the
    result trains, saves and reloads as the model did, and gives the same outputs.

    Args:
        model: a built Sequential or functional Keras 3 model, not masked; it is not changed.
        granularity: one granularity or several, of "feature_map", "kernel" and "intra_kernel".
        keep: names or patterns (`fnmatch`) of layers to keep whole.
        keep_first: whether the first convolution stays whole.
        polarity: meaning of intra-kernel patterns, "keep_on_grid" or "prune_on_grid".

    Raises:
        TypeError: not a Keras model.
        ValueError: a model that cannot be traced, is masked already or has nothing to prune; an
            unknown granularity, polarity or layer name.
    """
    kinds = (granularity,) if isinstance(granularity, str) else tuple(granularity)
    if is_masked(model):
        raise ValueError(
            f"Model '{model.name}' is masked already. Received: a model with MaskedLayer. Use set_masks "
            "to change its masks, or unwrap it first."
        )
    graph = trace(model, keep=keep, keep_first=keep_first)
    if not graph.prunable_layers:
        raise ValueError(
            f"Model '{model.name}' has nothing to prune: only {len(graph.layers)} convolutions and dense "
            "layers, all kept. See trace(model).skipped for the reasons."
        )
    choice = {layer.name: layer.prunable for layer in graph.layers}

    def masked(layer: keras.layers.Layer) -> keras.layers.Layer:
        copy = layer.__class__.from_config(layer.get_config())
        if layer.name not in choice:
            return copy
        positions = graph.channels[layer.name].positions
        prunable = choice[layer.name]
        return MaskedLayer(copy, granularity=kinds, prunable=prunable, positions=positions, polarity=polarity)

    result = keras.models.clone_model(model, clone_function=masked)
    for old, new in zip(_weighted(model), _weighted(result), strict=True):
        inner_layer(new).set_weights(old.get_weights())
    return result


def unwrap(masked: keras.Model) -> keras.Model:
    """The plain model of the same size with the masks folded into its kernels as zeros.

    Raises:
        ValueError: a model that is not masked.
    """
    _check_masked(masked)

    def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        inner = inner_layer(layer)
        return inner.__class__.from_config(inner.get_config())

    result = keras.models.clone_model(masked, clone_function=plain)
    for old, new in zip(_weighted(masked), _weighted(result), strict=True):
        new.set_weights(folded_weights(old))
    return result


def folded_weights(layer: keras.layers.Layer) -> list[NDArray[Any]]:
    """Weights of a layer, of the wrapped one with masks folded in if it is masked."""
    if not isinstance(layer, MaskedLayer):
        return list(layer.get_weights())
    weights = list(layer.layer.get_weights())
    weights[0] = keras.ops.convert_to_numpy(layer.effective_kernel())  # the kernel is a layer's first weight
    return weights


def is_masked(model: keras.Model) -> bool:
    """Whether the model has masked layers."""
    return any(isinstance(layer, MaskedLayer) for layer in getattr(model, "layers", ()))


def polarity_of(masked: keras.Model) -> str:
    """The intra-kernel polarity that a masked model was wrapped with."""
    _check_masked(masked)
    return str(_masked_layers(masked)[0].polarity)


def get_masks(masked: keras.Model) -> MaskSet:
    """The masks that a masked model holds, complete for the granularities it was wrapped with.

    Raises:
        ValueError: a model that is not masked.
    """
    _check_masked(masked)
    graph = trace(masked)
    layers = {layer.name: layer for layer in _masked_layers(masked)}
    feature_map = {
        group.name: _group_mask(graph, group.units, layers[group.producers[0]])
        for group in graph.prunable_groups
        if layers[group.producers[0]].output_keep is not None
    }
    kernel = {n: _read(layer.kernel_keep) for n, layer in layers.items() if layer.kernel_keep is not None}
    patterns = {n: _read(layer.pattern) for n, layer in layers.items() if layer.pattern is not None}
    return MaskSet(feature_map, kernel, patterns)


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
    _check_masked(masked)
    graph = graph or trace(masked)
    layers = {layer.name: layer for layer in _masked_layers(masked)}
    merged = get_masks(masked) if masks.feature_map else MaskSet()
    unit_keep = unit_mask(graph, merged.updated(FEATURE_MAP, masks.feature_map))
    writes: list[tuple[Any, NDArray[Any]]] = []
    if masks.feature_map:
        writes += _feature_map_writes(graph, layers, unit_keep)
    writes += _kernel_writes(layers, masks)
    writes += _pattern_writes(layers, masks)
    for variable, value in writes:
        variable.assign(value)


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


def _kernel_writes(layers: dict[str, MaskedLayer], masks: MaskSet) -> list[tuple[Any, NDArray[Any]]]:
    writes = []
    for name, mask in masks.kernel.items():
        variable = _variable(layers, name, KERNEL)
        _check_shape(name, KERNEL, mask, tuple(variable.shape))
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
    variable = layer.kernel_keep if granularity == KERNEL else layer.pattern
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


def _group_mask(graph: PrunableGraph, units: NDArray[np.int64], producer: MaskedLayer) -> NDArray[np.bool_]:
    unit_keep = np.ones(graph.unit_count, np.bool_)
    unit_keep[graph.channels[producer.name].outputs] = _read(producer.output_keep)
    return unit_keep[units]


def _read(variable: Any) -> NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))


def _masked_layers(model: keras.Model) -> list[MaskedLayer]:
    return [layer for layer in model.layers if isinstance(layer, MaskedLayer)]


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights; input layers come and go when a model is cloned."""
    return [layer for layer in model.layers if layer.weights]


def _check_masked(model: keras.Model) -> None:
    if not is_masked(model):
        raise ValueError(
            f"Model '{getattr(model, 'name', model)}' has no masks. Received: a plain model. Use wrap(model) first."
        )
