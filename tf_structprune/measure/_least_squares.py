"""What the layers lose when a unit goes and the others make up for it."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.allocation import FLOOR, Budget, Choices, Cost, CountedCost
from tf_structprune.channels import PrunableGraph, PrunableLayer
from tf_structprune.graph import kernel_of, kernel_view, list_calls, named_layers
from tf_structprune.layers import get_masks, is_masked
from tf_structprune.masks import FEATURE_MAP, KERNEL, WEIGHT, Importance, MaskSet, unit_mask
from tf_structprune.measure._magnitude import sum_of_inputs
from tf_structprune.observe import MOST_INPUTS, input_moments, patches_of
from tf_structprune.reconstruct import RIDGE, Elimination, LayerInputs, eliminate
from tf_structprune.task import Samples

_SAMPLES = 1000  # more change the order of the units hardly
_BATCH = 64


def least_squares(model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None) -> Importance:
    """What the layers lose in squared error when a unit goes and the weights that stay are fitted again.

    For feature maps the order in which `reconstruct.eliminate` takes them, for the MACs that each frees. For kernels,
    patterns and single weights the price of each by itself (optimal brain surgeon, Hassibi and Stork 1993, equation 5).

    Args:
        model: the traced model, masked or not.
        graph: its graph.
        granularity: what a unit is.
        x: samples as the model takes them; a thousand of them are used.
        y: not needed.

    Returns:
        feature_map: by group, how late each map goes, shape (units,);
        kernel: by layer, shape (inputs / groups, outputs);
        intra_kernel: by layer, for each position the sum over the map's kernels, shape (positions, inputs);
        weight: by layer, shape (positions, inputs / groups, outputs).
    """
    del y
    if granularity == FEATURE_MAP:
        cost = CountedCost.of(Budget("macs", 1.0), graph, ())
        return elimination_of(model, graph, x, Choices.of(graph, _masks_of(model)), cost).importance
    names = [layer.name for layer in graph.prunable_layers]
    layers = layer_inputs_of(model, graph, names, x)
    prices = {name: _prices(graph.layer(name), layers[name]) for name in names}
    if granularity == WEIGHT:
        return prices
    if granularity == KERNEL:
        return {name: price.sum(axis=0) for name, price in prices.items()}
    return {name: sum_of_inputs(graph.layer(name), price) for name, price in prices.items()}


def elimination_of(
    model: keras.Model,
    graph: PrunableGraph,
    x: Any,
    choices: Choices,
    cost: Cost,
    *,
    floor: float = FLOOR,
    layers: Mapping[str, LayerInputs] | None = None,
) -> Elimination:
    """The order in which the feature maps of a model go, on top of the masks that it has.

    Args:
        model: the traced model, masked or not.
        graph: its graph.
        x: samples as the model takes them.
        choices: what the groups may keep.
        cost: what they cost.
        floor: share of its units that every group keeps as long as others have more.
        layers: all layers of the graph as `layer_inputs_of` gives them, where they are known already.
    """
    names = list(dict.fromkeys(name for g in graph.prunable_groups for name in (*g.consumers, *g.producers)))
    known = layer_inputs_of(model, graph, names, x) if layers is None else {name: layers[name] for name in names}
    return eliminate(graph, known, choices, cost, unit_mask(graph, _masks_of(model)), floor=floor)


def layer_inputs_of(
    model: keras.Model, graph: PrunableGraph, names: list[str], x: Any, *, seed: int = 0
) -> dict[str, LayerInputs]:
    """Kernels of some layers, masks folded in, and moments of what they read.

    Args:
        model: the traced model, masked or not.
        graph: its graph.
        names: of layers with kernels.
        x: samples as the model takes them.
        seed: of the choice of samples and pixels.
    """
    rng, layers = np.random.default_rng(seed), named_layers(model)
    samples = Samples.of(model, x).fitting(model, "The data")
    if len(samples) > _SAMPLES:
        samples = samples[np.sort(rng.choice(len(samples), _SAMPLES, replace=False))]
    known = {name: patches_of(layers[name], graph.channels[name].positions) for name in names}
    patches = {name: found for name, found in known.items() if found and found.size <= MOST_INPUTS}
    batches = [samples[start : start + _BATCH].arrays for start in range(0, len(samples), _BATCH)]
    moments = input_moments(list_calls(model), patches, batches, rng)
    return {name: LayerInputs(_kernel(layers[name], graph, name), moments.get(name)) for name in names}


def _kernel(layer: Any, graph: PrunableGraph, name: str) -> NDArray[np.float32]:
    kernel: NDArray[np.float32] = keras.ops.convert_to_numpy(kernel_of(layer))
    view: NDArray[np.float32] = kernel_view(layer, graph.channels[name].positions).view(kernel, np)
    return view


def _masks_of(model: keras.Model) -> MaskSet:
    return get_masks(model) if is_masked(model) else MaskSet()


def _prices(layer: PrunableLayer, known: LayerInputs) -> NDArray[np.float64]:
    """What each weight costs as a share of the layer's variance, the others fitted again, as the kernel is viewed."""
    inverse = known.inverse(layer.groups, RIDGE)
    price = known.weights(layer.groups) ** 2 / np.einsum("gnn->gn", inverse)[..., None]
    return np.asarray(price.transpose(1, 0, 2).reshape(known.kernel.shape) / known.variance(layer.groups))
