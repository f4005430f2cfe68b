"""Models are wrapped, pruned in `fit`, rounded, saved and reloaded, on whichever backend runs the tests."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.measure import MEASURES

_L = keras.layers
ROUNDING_ERROR = 1e-5


@pytest.fixture(scope="module")
def data():
    """Training and validation images."""
    x, y = zoo.lit_rows(96)
    return (x[32:], y[32:]), (x[:32], y[:32])


def compiled(model):
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def pruned(data):
    """A model that was pruned at all granularities, the callback and the history."""
    samples, validation = data
    model = zoo.build("residual_projection")
    masked = sp.wrap(model)
    assert zoo.largest_difference(model, masked, samples[0][:6]) < ROUNDING_ERROR
    callback = sp.StructuredPruning(
        validation_data=validation,
        granularity=("feature_map", "kernel", "intra_kernel"),
        search=sp.search.EvolutionaryParticleFilter(particles=3, generations=2, elites=1),
        sparsity=0.5,
        tolerance=1.0,
        verbose=0,
    )
    return compiled(masked), callback, masked.fit(*samples, epochs=4, verbose=0, callbacks=[callback]).history


def test_fit_prunes_at_every_granularity_and_learns(pruned):
    _, callback, history = pruned
    assert [(report.granularity, report.accepted) for report in callback.reports] == [
        ("feature_map", True),
        ("kernel", True),
        ("intra_kernel", True),
    ]
    assert history["prune_sparsity"][-1] >= 0.5
    assert history["loss"][-1] < history["loss"][0]


def test_pruned_model_saves_reloads_and_unwraps(pruned, data, tmp_path):
    masked, _, _ = pruned
    x = data[1][0]
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    assert zoo.largest_difference(masked, loaded, x) == 0
    assert sp.get_masks(loaded).equals(sp.get_masks(masked))
    assert zoo.largest_difference(masked, sp.unwrap(masked), x) < ROUNDING_ERROR


def test_impossible_tolerance_rolls_back(data):
    samples, validation = data
    masked = compiled(sp.wrap(zoo.build("residual_projection")))
    falling = iter(range(0, -99, -1))  # each look is worse than the one before
    callback = sp.StructuredPruning(
        validation_data=validation,
        granularity="kernel",
        search=sp.search.RandomMask(),
        sparsity=0.8,
        tolerance=0,
        score=lambda labels, outputs: float(next(falling)),
        verbose=0,
    )
    before = masked.get_weights()
    masked.fit(*samples, epochs=1, verbose=0, callbacks=[callback])
    assert all(np.array_equal(old, new) for old, new in zip(before, masked.get_weights(), strict=True))


def test_fit_rounds_and_prunes_at_once(data, tmp_path):
    samples, validation = data
    masked = compiled(sp.wrap(sp.to_fixed_point(zoo.build("chain"), sp.FixedPoint(4, 5))))
    pruning = sp.StructuredPruning(
        validation_data=validation, search=sp.search.RandomMask(), sparsity=0.4, tolerance=1.0, verbose=0
    )
    rounding = sp.FixedPointTraining(calibration_data=samples[0])
    history = masked.fit(*samples, epochs=3, verbose=0, callbacks=[pruning, rounding]).history
    assert history["fixed_point_weights"] == [1.0] * 3
    assert history["fixed_point_signals"] == [0.0, 1.0, 1.0]
    assert history["prune_sparsity"][-1] >= 0.4
    masked.save(tmp_path / "fixed.keras")
    assert zoo.largest_difference(masked, keras.models.load_model(tmp_path / "fixed.keras"), validation[0]) == 0


def gated():
    """A nested model with a depthwise convolution behind a layer normalization, and a squeeze-and-excite gate."""
    inputs, inner = keras.Input(zoo.INPUT_SHAPE), keras.Input((8, 8, 6))
    x = zoo.conv(_L.LayerNormalization(name="norm")(inner), 10, 1, name="expand")
    x = zoo.conv(_L.DepthwiseConv2D(3, padding="same", name="depthwise")(x), 6, 1, name="project")
    block = keras.Model(inner, x, name="block")
    x = zoo.conv(zoo.conv(inputs, 4, name="stem"), 6, name="wide")
    x = _L.Add()([x, block(x)])
    squeezed = zoo.conv(_L.GlobalAveragePooling2D(keepdims=True)(x), 5, 1, name="squeeze")
    x = _L.Multiply()([x, zoo.conv(squeezed, 6, 1, name="excite", activation="sigmoid")])
    x = _L.Dense(3, activation="softmax", name="classifier")(_L.GlobalAveragePooling2D()(x))
    return zoo.randomize(keras.Model(inputs, x))


def test_nested_gated_model_is_traced_measured_masked_and_trained(data, tmp_path):
    (x, y), _ = data
    model = gated()
    masked = sp.wrap(model)
    assert zoo.largest_difference(model, masked, x) < ROUNDING_ERROR
    graph = sp.trace(masked)
    assert {group.producers for group in graph.prunable_groups} == {
        ("wide", "block/project", "excite"),
        ("block/expand", "block/depthwise"),
        ("squeeze",),
    }
    sums = MEASURES["activation_sums"](masked, graph, "feature_map", x)
    assert {name: value.shape[1] for name, value in sums.items()} == {"wide": 6, "block/expand": 10, "squeeze": 5}

    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.4, "intra_kernel": 0.2}))
    assert zoo.largest_difference(model, masked, x) > 1e-3
    assert not keras.ops.convert_to_numpy(masked.get_layer("block").get_layer("norm").keep).all()
    masked.save(tmp_path / "masked.keras")
    assert zoo.largest_difference(masked, keras.models.load_model(tmp_path / "masked.keras"), x) == 0
    assert np.isfinite(compiled(masked).fit(x, y, verbose=0).history["loss"]).all()


def test_budget_is_allocated(data):
    _, validation = data
    model = zoo.build("residual_projection")
    few = sp.search.EvolutionaryParticleFilter(particles=3, generations=2, elites=1)
    budget = sp.Budget("parameters", 0.7)
    allocation = sp.allocate(sp.wrap(model), budget, validation_data=validation, method=few, levels=2)
    assert allocation.cost_after <= 0.7 * allocation.cost_before == 0.7 * model.count_params()


def test_layers_go_and_the_rest_makes_up_for_them(data):
    (x, y), _ = data
    model = zoo.build("residual_twice")
    choice = sp.find_layers(model, lambda small: small.count_params() < 0.8 * model.count_params(), x)
    small = sp.remove_layers(model, choice.names, samples=x)
    plain = sp.remove_layers(model, choice.names)
    assert zoo.largest_difference(small, model, x) < zoo.largest_difference(plain, model, x)

    inputs = keras.Input(zoo.INPUT_SHAPE)
    plain = keras.Model(inputs, zoo._head(zoo.conv(zoo.conv(inputs, 4, name="stem"), 4, name="deep")))
    deep = compiled(sp.residual_convolutions(zoo.randomize(plain, 0), l1=1e-3))
    cut = sp.RemoveLayers(epoch=1, below=10.0)
    assert deep.fit(x, y, epochs=2, verbose=0, callbacks=[cut]).history["layers_removed"] == [0, len(cut.removed)]
    assert zoo.largest_difference(deep, sp.fuse_shortcuts(deep), x) < ROUNDING_ERROR


def test_model_teaches_itself(data):
    (x, y), _ = data
    taught = compiled(
        sp.SelfTaught(sp.wrap(sp.to_fixed_point(zoo.build("chain"), sp.FixedPoint(4, 5)), granularity="weight"))
    )
    rounding = sp.FixedPointTraining(calibration_data=x)
    history = taught.fit(x, y, epochs=3, verbose=0, callbacks=[sp.PQK(0.5, prune_epochs=1), rounding]).history
    assert history["pqk_phase"] == [1.0, 2.0, 2.0]
    assert sp.sparsity_of(sp.trace(taught.student), sp.get_masks(taught.student)) == pytest.approx(0.5, abs=0.01)
    assert np.isfinite(history["loss"]).all()


def test_weights_return_while_it_is_rounded(data):
    (x, y), _ = data
    fixed = sp.to_fixed_point(zoo.build("chain"), sp.FixedPoint(4, None))
    masked = sp.wrap(fixed, granularity="weight", keep_first=False)
    masked.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", jit_compile=False)
    pruning = sp.TaylorPruning(0.6, samples=(x, y), prune_epochs=2)
    rounding = sp.FixedPointTraining(calibration_data=x, refit_epochs=2)
    history = masked.fit(x, y, epochs=3, verbose=0, callbacks=[pruning, rounding]).history
    assert history["taylor_sparsity"][-2:] == pytest.approx([0.6, 0.6], abs=0.01)
    assert max(history["taylor_returned"][:2]) > 0 == history["taylor_returned"][2]
    bare = sp.unwrap(masked)
    assert zoo.largest_difference(masked, bare, x) < ROUNDING_ERROR
    cost, dense = sp.hardware_cost(bare), sp.hardware_cost(zoo.build("chain"))
    assert cost.bit_operations < dense.bit_operations / 10 and cost.memory_bits < dense.memory_bits


def test_rounds_of_pruning_need_no_labels(data):
    (x, _), _ = data
    masked = sp.wrap(zoo.build("chain"), granularity="weight")
    task = sp.pretext.RotationPrediction(sp.pretext.features_of(masked))
    pruning = sp.IterativePruning(0.5, share=0.3, round_epochs=1)
    task.compile(keras.optimizers.Adam(0.01))
    history = task.fit(x, epochs=pruning.epochs, verbose=0, callbacks=[pruning]).history
    assert history["iterative_sparsity"] == pytest.approx([0.0, 0.3, 0.5], abs=0.01)
