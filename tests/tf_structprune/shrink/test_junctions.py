"""Every kind of layer and junction: what may be pruned, and that masked and shrunk are the same function."""

import functools
import math

import keras
import numpy as np
import pytest

from tests import zoo
from tests.allocated import counts
from tests.junctions import EXPECTED_PRUNABLE, JUNCTIONS, samples
from tests.marks import sweep_but
from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, set_masks, wrap
from tf_structprune.masks import MaskSet
from tf_structprune.shrink import shrink

SPARSITIES = [0.5, *(pytest.param(sparsity, marks=pytest.mark.sweep) for sparsity in (0.3, 0.7))]
TOLERANCE = 1e-4  # of the largest output
EVERY_KIND = [  # of layer and wiring; the others take the mark where little else can go wrong
    "conv1d_transpose",
    "separable_conv2d_multiplier",
    "grouped_conv_2",
    "two_flattens",
    "layer_norm",
    "group_norm_3",
    "prelu",
    "steps_of_images",
    "attention",
    "regularized",
    "squeeze_excite",
    "operator_with_a_vector",
    "ops_split",
    "channel_shuffle",
    "sequential",
    "nested_twice",
    "nested_backbone",
    "shared_across_sizes",
    "inputs_in_a_dict",
    "outputs_in_a_dict",
    "intermediate_output",
    "unet",
]

MOST_WITH_MARK = sweep_but(EVERY_KIND, {name: (name,) for name in JUNCTIONS})
SOME_WITH_MARK = sweep_but({*EVERY_KIND, *list(JUNCTIONS)[::3]}, {name: (name,) for name in JUNCTIONS})


@functools.lru_cache(maxsize=2)  # the tests of one junction follow each other
def _wrapped(name):
    """The junction, its masked copy, all of whose masks a test has to set, and the graph of that."""
    model = JUNCTIONS[name]()
    masked = wrap(model)
    return model, masked, trace(masked)


def _random_maps(groups, sparsity, seed=0):
    """Masks that remove that fraction of the units of every group and leave at least one."""
    rng = np.random.default_rng(seed)
    masks = {}
    for group in groups:
        masks[group.name] = np.zeros(group.size, bool)
        masks[group.name][rng.permutation(group.size)[: max(1, round((1 - sparsity) * group.size))]] = True
    return masks


def _shrunk(name, sparsity):
    """The junction without that fraction of its units, and whether that is anything."""
    _, masked, graph = _wrapped(name)
    maps = _random_maps(graph.prunable_groups, sparsity)
    set_masks(masked, MaskSet(feature_map=maps), graph=graph)
    return shrink(masked).model, not all(keep.all() for keep in maps.values())


def _difference(first, second, x):
    """Largest difference between the outputs of two models, relative to the largest output of the first."""
    return _relative(zoo.outputs_of(first, x), zoo.outputs_of(second, x))


def _relative(wanted, found):
    pairs = zip(wanted, found, strict=True)
    difference = max(float(np.abs(one.astype(np.float64) - other).max()) for one, other in pairs)
    return difference / max(float(np.abs(one).max()) for one in wanted)


def _layer_names(model, prefix=""):
    for layer in model.layers:
        yield prefix + layer.name
        if isinstance(layer, keras.Model):
            yield from _layer_names(layer, f"{prefix}{layer.name}/")


@pytest.mark.every(3)
@pytest.mark.parametrize("name", JUNCTIONS)
def test_expected_channels_may_go(name):
    graph = trace(JUNCTIONS[name]())
    found = {producer for group in graph.prunable_groups for producer in group.producers}
    assert not EXPECTED_PRUNABLE[name] - found, str(graph)
    assert not {"stem", "classifier"} & found, str(graph)


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("name", SOME_WITH_MARK)
def test_shrunk_junction_equals_the_masked_one(name, sparsity):
    model, masked, graph = _wrapped(name)
    small, removed = _shrunk(name, sparsity)
    maps, x = get_masks(masked, graph=graph).feature_map, samples(model)
    whole, wanted, found = (zoo.outputs_of(each, x) for each in (model, masked, small))

    assert _relative(wanted, found) < TOLERANCE, str(graph)
    assert (_relative(whole, wanted) > TOLERANCE) == removed
    assert (small.count_params() < model.count_params()) == removed
    macs = trace(small).macs
    assert (macs < graph.macs) == removed
    kept = np.array([maps[group.name].sum() for group in graph.prunable_groups], int)
    counted = counts(masked, graph, kept)
    assert (counted["macs"], counted["parameters"]) == (macs, small.count_params())
    assert sorted(_layer_names(small)) == sorted(_layer_names(model))


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", JUNCTIONS)
def test_shrunk_junction_equals_the_masked_one_under_all_masks(name, seed, tmp_path):
    model = JUNCTIONS[name]()
    masked = wrap(model, keep_first=seed % 2 == 0)
    graph, x = trace(masked), samples(model)
    set_masks(masked, _masks_of_all_kinds(masked, graph, np.random.default_rng(seed)), graph=graph)
    masked.save(tmp_path / "masked.keras")

    small, again = shrink(masked), keras.models.load_model(tmp_path / "masked.keras")

    assert _difference(masked, small.model, x) < TOLERANCE, f"{small.plan}\n{graph}"
    assert _difference(masked, again, x) < 1e-6
    assert get_masks(again).equals(get_masks(masked))


def _masks_of_all_kinds(masked, graph, rng):
    """Random masks by which some maps lose all kernels that they read, or all that read them."""
    masks = get_masks(masked)
    kernels = {name: rng.random(mask.shape) < 0.8 for name, mask in masks.kernel.items()}
    for kernel in kernels.values():
        kernel[rng.random(len(kernel)) < 0.3] = False
        kernel[:, rng.random(kernel.shape[1]) < 0.3] = False
    patterns = {name: rng.integers((1, 0), (4, 3), mask.shape) for name, mask in masks.intra_kernel.items()}
    return MaskSet(_random_maps(graph.prunable_groups, 0.3, rng.integers(99)), kernels, patterns)


@pytest.mark.parametrize("name", MOST_WITH_MARK)
def test_shrunk_junction_survives_saving(name, tmp_path):
    small, _ = _shrunk(name, 0.5)
    small.save(tmp_path / "small.keras")
    assert _difference(small, keras.models.load_model(tmp_path / "small.keras"), samples(small)) < 1e-6


@pytest.mark.parametrize("name", EVERY_KIND)
def test_shrunk_junction_trains(name):
    small, _ = _shrunk(name, 0.5)
    x = samples(small)
    targets = keras.tree.map_structure(keras.ops.convert_to_numpy, small(x, training=False))
    before = small.get_weights()

    small.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    targets = keras.tree.map_structure(lambda target: target + 1, targets)
    loss = small.train_on_batch(x, targets, return_dict=True)["loss"]

    assert math.isfinite(loss)
    assert any((old != new).any() for old, new in zip(before, small.get_weights(), strict=True))
    assert all(np.isfinite(weight).all() for weight in small.get_weights())


@pytest.mark.parametrize("name", MOST_WITH_MARK)
def test_masks_that_keep_everything_change_nothing(name):
    model, masked, graph = _wrapped(name)
    small, removed = _shrunk(name, 0)

    assert not removed
    assert _difference(model, masked, samples(model)) < TOLERANCE, str(graph)
    assert _difference(model, small, samples(model)) < 1e-6
    assert small.count_params() == model.count_params()
