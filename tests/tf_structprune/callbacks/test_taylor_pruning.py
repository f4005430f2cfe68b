"""Taylor pruning inside `fit`: scores at the sparse network, weights that return, both orders with words, resume."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.callbacks.stops import Killed, Stop
from tf_structprune.layers import MaskedModel, let_pruned_learn, quantized_layers
from tf_structprune.masks import WEIGHT
from tf_structprune.measure import SparseTaylor
from tf_structprune.stages import magnitude_masks

WORDS = sp.FixedPoint(weight_bits=4, signal_bits=None)  # eager, signals would take most of the time
LOSS = "sparse_categorical_crossentropy"


def small():
    """A classifier of three in which two layers may be pruned."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(inputs, 4, strides=2, name="a")
    x = zoo.conv(x, 6, name="b")
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="classifier")(x)
    return zoo.randomize(keras.Model(inputs, outputs, name="small"))


def masked_model(granularity=WEIGHT, words=None):
    model = small()
    model = model if words is None else sp.to_fixed_point(model, words)
    return sp.wrap(model, granularity=granularity, keep_first=False)


def compiled(model, optimizer=None, *, eager=True):
    """Eager unless asked otherwise: compiling takes most of the time where the graph is not the point."""
    optimizer = keras.optimizers.Adam(5e-3) if optimizer is None else optimizer
    model.compile(optimizer, LOSS, run_eagerly=eager, jit_compile=False)
    return model


def fitted(model, data, *callbacks, epochs=4, **settings):
    given = {"batch_size": 48, "verbose": 0, "shuffle": False, **settings}
    return model.fit(*data, epochs=epochs, callbacks=list(callbacks), **given).history


def pruning(data, sparsity=0.6, prune_epochs=2, **settings):
    return sp.TaylorPruning(sparsity, samples=data, prune_epochs=prune_epochs, **settings)


def rounding(data, epochs=2):
    return sp.FixedPointTraining(calibration_data=data[0], signal_epoch=1, refit_epochs=epochs)


def prune(masked, sparsity):
    sp.set_masks(masked, magnitude_masks(MaskedModel(masked), sp.Weight(across="model"), sparsity))


def kernels(masked):
    return {
        name: keras.ops.convert_to_numpy(masked.get_layer(name).kernel_variable).reshape(mask.shape)
        for name, mask in sp.get_masks(masked).weight.items()
    }


def flat(masks):
    return np.concatenate([mask.ravel() for mask in masks.weight.values()])


def watching(masked, seen):
    """Keeps the masks of each epoch."""
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(flat(sp.get_masks(masked))))


@pytest.mark.parametrize("words", [None, WORDS], ids=["float", "words"])
def test_outputs_are_the_same_whether_pruned_weights_learn(data, words):
    masked = masked_model(words=words)
    if words is not None:
        sp.calibrate(masked, data[0])
    prune(masked, 0.7)
    before = zoo.outputs_of(masked, data[0])[0]
    assert let_pruned_learn(masked, on=True) and not let_pruned_learn(masked, on=True)
    np.testing.assert_array_equal(zoo.outputs_of(masked, data[0])[0], before)
    kernel, mask = masked.get_layer("b").effective_kernel(), sp.get_masks(masked).weight["b"]
    assert not keras.ops.convert_to_numpy(kernel).reshape(mask.shape)[~mask].any()


def test_it_is_neither_saved_nor_copied(data, tmp_path):
    masked = masked_model()
    prune(masked, 0.5)
    let_pruned_learn(masked, on=True)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    assert not let_pruned_learn(loaded, on=False)
    assert zoo.largest_difference(loaded, masked, data[0]) == 0
    assert zoo.largest_difference(sp.unwrap(masked), masked, data[0]) < 1e-6


@pytest.mark.parametrize("words", [None, sp.FixedPoint(weight_bits=8, signal_bits=None)], ids=["float", "gains"])
def test_score_is_what_the_loss_changes_by_when_a_weight_goes_or_returns(data, words):
    """By differences of the loss; in fixed point, not yet rounded, kernels are divided by a gain."""
    masked = compiled(masked_model(words=words))
    prune(masked, 0.5)
    x, y = data[0][:32], data[1][:32]
    for layer in quantized_layers(masked).values():  # gains that differ, as folded normalizations make them
        kernel = keras.ops.convert_to_numpy(layer.kernel_variable)
        layer.gain.assign(gain := 2.0 ** len(kernel))
        layer.kernel_variable.assign(kernel / gain)
    scores = SparseTaylor(masked, sp.trace(masked), x, y)("weight")

    def loss(name, at, share):
        """With so much of one weight, whatever its mask."""
        variable, mask = masked.get_layer(name).kernel_variable, masked.get_layer(name).weight_keep
        held, kept = keras.ops.convert_to_numpy(variable), keras.ops.convert_to_numpy(mask)
        changed, opened = held.copy().reshape(kept.shape), kept.copy()
        changed[at] *= share
        opened[at] = True
        variable.assign(changed.reshape(held.shape))
        mask.assign(opened)
        found = masked.evaluate(x, y, batch_size=32, verbose=0)
        variable.assign(held)
        mask.assign(kept)
        return found

    masks, rng = sp.get_masks(masked).weight, np.random.default_rng(0)
    for name, mask in masks.items():
        for kept in (True, False):
            at = tuple(rng.choice(np.argwhere(mask == kept)))
            slope = (loss(name, at, 1.01) - loss(name, at, 0.99)) / 0.02 if kept else loss(name, at, 0.01) / 0.01
            slope = slope if kept else slope - loss(name, at, 0.0) / 0.01
            assert scores[name][at] == pytest.approx(abs(slope), rel=0.05, abs=2e-4), (name, kept)


def test_score_adds_up_over_batches(data):
    masked = compiled(masked_model())
    prune(masked, 0.5)
    graph, (x, y) = sp.trace(masked), data

    def scores(rows):
        return SparseTaylor(masked, graph, x[rows], y[rows])("weight")["b"]

    halves = [np.r_[0:32], np.r_[16:48]]
    together = scores(np.concatenate(halves))
    np.testing.assert_allclose(together, sum(scores(half) for half in halves), rtol=1e-4, atol=1e-7)


def test_sparsity_rises_and_stays(data):
    masked = compiled(masked_model())
    history = fitted(masked, data, pruning(data, prune_epochs=3), epochs=4)
    first, second, *rest = history["taylor_sparsity"]
    assert 0 < first < second < rest[0] and len(set(rest)) == 1
    assert rest[0] == pytest.approx(0.6, abs=0.01)
    assert history["taylor_returned"][3] == 0


@pytest.mark.parametrize("score", ["taylor", "magnitude"])
def test_weights_may_return_until_masks_are_final(data, score):
    masked, seen = compiled(masked_model(), keras.optimizers.Adam(0.05)), []
    history = fitted(masked, data, pruning(data, prune_epochs=3, score=score), watching(masked, seen), epochs=4)
    back = [(later & ~former).mean() for former, later in zip(seen, seen[1:], strict=False)]
    assert max(back[:2]) > 0 == back[2]
    np.testing.assert_allclose(history["taylor_returned"][1:], back)


@pytest.mark.parametrize("score", ["taylor", "magnitude"])
def test_none_returns_where_none_may(data, score):
    masked, seen = compiled(masked_model(), keras.optimizers.Adam(0.05)), []
    fitted(masked, data, pruning(data, prune_epochs=3, again=False, score=score), watching(masked, seen), epochs=3)
    assert not any((later & ~former).any() for former, later in zip(seen, seen[1:], strict=False))


def test_random_masks_lie_within_each_other_and_follow_the_seed(data):
    found = {}
    for seed in (1, 2):
        masked, seen = compiled(masked_model()), []
        fitted(masked, data, pruning(None, score="random", seed=seed), watching(masked, seen), epochs=2)
        assert not (seen[1] & ~seen[0]).any()
        found[seed] = seen[1]
    assert (found[1] != found[2]).any() and found[1].sum() == found[2].sum()


@pytest.mark.parametrize("again", [True, False])
def test_pruned_weights_learn_as_long_as_they_may_return(data, again):
    """Under SGD what has no gradient does not move."""
    masked, held = compiled(masked_model(), keras.optimizers.SGD(0.05), eager=False), []
    copy = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: held.append(kernels(masked)))
    one = pruning(data, prune_epochs=1, again=again)
    fitted(masked, data, one, copy, epochs=2)
    held.append(kernels(masked))
    moved = {name: ~mask for name, mask in sp.get_masks(masked).weight.items()}
    for at, moves in ((0, again), (1, False)):
        assert any((held[at][name] != held[at + 1][name])[gone].any() for name, gone in moved.items()) == moves


def test_masks_that_were_given_hold(data):
    masked = compiled(masked_model())
    prune(masked, 0.3)
    before = flat(sp.get_masks(masked))
    history = fitted(masked, data, pruning(data, prune_epochs=3), epochs=3)
    assert not (flat(sp.get_masks(masked)) & ~before).any()
    assert 0.3 < history["taylor_sparsity"][0] < 0.6


def test_maps_go_before(data):
    """Its masks lie within those of removed maps, and the shrunk model is the masked one."""
    masked = masked_model(("feature_map", "weight"))
    masks = magnitude_masks(MaskedModel(masked), "feature_map", 0.3)
    sp.set_masks(masked, masks)
    fitted(compiled(masked), data, pruning(data, 0.7), epochs=3)
    assert MaskedModel(masked).sparsity == pytest.approx(0.7, abs=0.02)
    for name, mask in masks.feature_map.items():
        np.testing.assert_array_equal(sp.get_masks(masked).feature_map[name], mask)
    assert zoo.largest_difference(sp.unwrap(masked), masked, data[0]) < 1e-6


@pytest.mark.parametrize("granularity", ["kernel", "intra_kernel", sp.Weight(n=2, m=4)], ids=str)
def test_other_granularities_return_too(data, granularity):
    masked = compiled(masked_model(getattr(granularity, "name", granularity)))
    fitted(masked, data, pruning(data, 0.4 if isinstance(granularity, str) else 0.5, granularity=granularity), epochs=2)
    assert MaskedModel(masked).sparsity == pytest.approx(0.45, abs=0.08)
    assert zoo.largest_difference(masked, sp.unwrap(masked), data[0]) < 1e-5


def test_maps_of_numbers_with_several_outputs_are_a_task_too(data):
    x, y = data
    inputs = keras.Input(x.shape[1:])
    found = zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b")
    depth = keras.layers.Conv2D(1, 1, name="depth")(found)
    digit = keras.layers.Dense(3, name="digit")(keras.layers.Flatten()(found))
    masked = sp.wrap(keras.Model(inputs, {"depth": depth, "digit": digit}), granularity=WEIGHT)
    losses = {"depth": "mae", "digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    masked.compile("adam", losses, run_eagerly=True)
    targets = {"depth": x.mean(-1, keepdims=True), "digit": y}
    history = fitted(masked, (x, targets), pruning((x, targets), 0.8, 1), epochs=2)
    assert np.isfinite(history["loss"]).all()
    assert history["taylor_sparsity"][-1] == pytest.approx(0.8, abs=0.02)


def on_words(model):
    """How many numbers each kernel has."""
    return [len(np.unique(layer.effective_kernel())) for layer in quantized_layers(model).values()]


def test_pruned_then_quantized(data):
    masked = compiled(masked_model())
    fitted(masked, data, pruning(data, 0.7), epochs=2)
    fixed = sp.to_fixed_point(sp.unwrap(masked), WORDS)
    fitted(compiled(fixed), data, rounding(data), epochs=1)
    assert max(on_words(fixed)) <= 2**4
    for name, mask in sp.get_masks(masked).weight.items():
        words = keras.ops.convert_to_numpy(quantized_layers(fixed)[name].effective_kernel())
        assert not words.reshape(mask.shape)[~mask].any()


def test_quantized_then_pruned_on_grids_that_are_held(data):
    fixed = sp.to_fixed_point(small(), WORDS)
    fitted(compiled(fixed), data, rounding(data), epochs=1)
    steps = [layer.step_values() for layer in quantized_layers(fixed).values()]
    masked = compiled(sp.wrap(fixed, granularity=WEIGHT, keep_first=False))
    fitted(masked, data, pruning(data, 0.7), epochs=2)
    assert MaskedModel(masked).sparsity == pytest.approx(0.7, abs=0.02)
    assert [layer.step_values() for layer in quantized_layers(masked).values()] == steps
    assert max(on_words(sp.unwrap(masked))) <= 2**4
    assert zoo.largest_difference(masked, sp.unwrap(masked), data[0]) < 1e-6


def run_of(kind, data, folder, *others):
    """A run of three epochs that begins anew, and goes on from its backup; the model."""
    words = None if kind == "P" else WORDS
    if kind == "QP":
        fixed = sp.to_fixed_point(small(), words)
        sp.calibrate(fixed, data[0])
        masked = sp.wrap(fixed, granularity=WEIGHT, keep_first=False)
    else:
        masked = masked_model(words=words)
    more = [rounding(data)] if kind == "joint" else []
    backup = keras.callbacks.BackupAndRestore(folder)
    fitted(compiled(masked), data, pruning(data), *more, backup, *others, epochs=3)
    return masked


@pytest.mark.parametrize("kind, epoch", [("joint", 1), ("QP", 1), ("P", 2)], ids=str)
def test_killed_run_ends_as_the_whole_one(data, tmp_path, kind, epoch):
    """Weights, masks, and the weights behind them."""
    whole = run_of(kind, data, tmp_path / "whole")
    with pytest.raises(Killed):
        run_of(kind, data, tmp_path / "killed", Stop(epoch, 0))
    for one, other in zip(whole.get_weights(), run_of(kind, data, tmp_path / "killed").get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)


REFUSED = {
    "sparsity of 1": (lambda: sp.TaylorPruning(1.0), r"TaylorPruning: sparsity must be in \[0, 1\)"),
    "no samples": (lambda: sp.TaylorPruning(0.5), "needs the gradient of a loss. Received: no samples"),
    "no labels": (
        lambda: sp.TaylorPruning(0.5, samples=(np.zeros(3), None)),
        "needs the gradient of a loss. Received: samples without labels. Give samples",
    ),
    "score": (lambda: sp.TaylorPruning(0.5, score="l3"), "Unknown score. Received: score='l3'. Use one of: taylor"),
    "no epochs": (lambda: pruning((1, 1), prune_epochs=0), "prune_epochs must be at least 1. Received"),
    "maps": (
        lambda: pruning((1, 1), granularity="feature_map"),
        "A removed feature map has no gradient .* Received: granularity='feature_map'",
    ),
    "slow schedule": (
        lambda: pruning((1, 1), schedule=sp.schedule.Gradual(4)),
        r"must be reached within prune_epochs=2\. Received: 0\.875 of the way",
    ),
    "no schedule": (lambda: pruning((1, 1), schedule=3), "schedule must be a schedule or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_setting_that_makes_no_sense_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_fit_that_does_not_suit_is_refused(data):
    plain = compiled(small())
    with pytest.raises(ValueError, match="Model 'small' has no masks"):
        fitted(plain, data, pruning(data))
    masked = compiled(masked_model())
    with pytest.raises(ValueError, match=r"Masks are chosen for 2 epochs\. Received: fit\(epochs=1\)"):
        fitted(masked, data, pruning(data), epochs=1)
    with pytest.raises(ValueError, match=r"'weight' cannot remove that much here\. Received: sparsity=0\.9999"):
        fitted(masked, data, pruning(data, 0.9999), epochs=2)
    with pytest.raises(ValueError, match=r"Epoch 2 of TaylorPruning goes on .* sparsity 0\.000 as given, instead of"):
        fitted(masked, data, pruning(data), initial_epoch=2)
    targets = masked.predict(data[0], verbose=0)
    masked.compile("adam", "mse", run_eagerly=True)
    with pytest.raises(ValueError, match="which is 0 for targets that the model gives"):
        fitted(masked, (data[0], targets), pruning((data[0], targets)))


def test_backup_in_front_of_it_is_refused_in_words(data, tmp_path):
    """The masks of the epoch before would be taken for given ones."""

    def run(*others):
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        fitted(compiled(masked_model()), data, backup, pruning(data, prune_epochs=3), *others, epochs=3)

    with pytest.raises(Killed):
        run(Stop(1, 0))
    with pytest.raises(ValueError, match="Put BackupAndRestore behind TaylorPruning"):
        run()
