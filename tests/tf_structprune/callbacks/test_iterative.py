"""Iterative magnitude pruning inside `fit`: rounds, rewinding, what is left, resume."""

import math

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.callbacks.stops import Killed, Stop
from tf_structprune import pretext
from tf_structprune.callbacks._rounds import sparsities_of
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import GRANULARITIES, WEIGHT
from tf_structprune.shrink import shrink

QUICK = {"round_epochs": 2, "share": 0.4}
ROUNDS = (0.4, 0.64, 0.7)


def small_net(noise=0.0):
    """Two convolutions, of which the first stays, and a batch normalization."""
    layers = keras.layers
    stack = [layers.Conv2D(4, 3, 2, name="a"), layers.BatchNormalization(), layers.Conv2D(6, 3, name="b")]
    stack += [layers.Dropout(noise), layers.Flatten(), layers.Dense(5, "relu", name="c"), layers.Dense(3, "softmax")]
    return zoo.randomize(keras.Sequential([keras.Input(zoo.INPUT_SHAPE), *stack]))


def masked_model(granularity=WEIGHT, **settings):
    masked = sp.wrap(small_net(**settings), granularity=granularity)
    masked.compile(keras.optimizers.SGD(0.05, momentum=0.9), "sparse_categorical_crossentropy", run_eagerly=True)
    return masked


def rotation_task():
    """A pretext task around such a network; its head is the same each time."""
    keras.utils.set_random_seed(0)
    task = pretext.RotationPrediction(pretext.features_of(masked_model()))
    task.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
    return task


def fitted(callback, data, model=None, others=(), epochs=None):
    model = masked_model() if model is None else model
    count = callback.epochs if epochs is None else epochs
    done = model.fit(*data, batch_size=48, epochs=count, verbose=0, shuffle=False, callbacks=[callback, *others])
    return model, done.history


class Watch(keras.callbacks.Callback):
    """Keeps what the network is at the beginning and the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended, self.masks, self.rates, self.slots = [], [], [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(self.model.get_weights())
        self.masks.append(sp.get_masks(getattr(self.model, "student", self.model)))
        self.rates.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))
        self.slots.append([keras.ops.convert_to_numpy(v) for v in self.model.optimizer.variables])

    def on_epoch_end(self, epoch, logs=None):
        self.ended.append(self.model.get_weights())


def without_masks(arrays):
    return [array for array in arrays if array.dtype != np.bool_]


def test_rounds_remove_a_share_of_what_is_left_and_the_last_one_what_is_missing():
    assert sparsities_of(0.0, 0.7, 0.4) == pytest.approx(ROUNDS)
    assert sparsities_of(0.5, 0.7, 0.4) == pytest.approx((0.7,))
    assert sparsities_of(0.5, 0.75, 0.5) == (0.75,) and sparsities_of(0.7, 0.7, 0.5) == ()
    assert len(sparsities_of(0.0, 0.99, 0.2)) == 21


@pytest.mark.parametrize("rewind", ["weights", "random", "none"])
def test_masks_are_nested_and_end_with_the_sparsity(data, rewind):
    callback, watch = sp.IterativePruning(0.7, rewind=rewind, **QUICK), Watch()
    masked, history = fitted(callback, data, others=[watch])
    count = sp.trace(masked).prunable_weights
    assert MaskedModel(masked).sparsity == pytest.approx(0.7, abs=1.01 / count)
    assert [report.sparsity for report in callback.reports] == pytest.approx(ROUNDS, abs=1.01 / count)
    assert history["iterative_sparsity"] == pytest.approx(np.repeat((0, *ROUNDS), 2), abs=1.01 / count)
    assert all(map(math.isnan, history["iterative_score"]))
    for before, after in zip(watch.masks[:-1], watch.masks[1:], strict=True):
        for name, kept in after.weight.items():
            assert not (kept & ~before.weight[name]).any()


def test_what_goes_is_smallest_over_all_layers(data):
    callback, watch = sp.IterativePruning(0.4, **QUICK), Watch()
    masked, _ = fitted(callback, data, others=[watch])
    old = masked_model()
    old.set_weights(watch.ended[1])
    kernels = {name: np.abs(old.get_layer(name).get_weights()[0]) for name in watch.masks[2].weight}
    kept = np.concatenate([kernels[n][watch.masks[2].weight[n].reshape(kernels[n].shape)] for n in kernels])
    gone = np.concatenate([kernels[n][~watch.masks[2].weight[n].reshape(kernels[n].shape)] for n in kernels])
    assert gone.max() <= kept.min() and len({*watch.masks[2].weight}) == 2


@pytest.mark.parametrize("epoch", [0, 1])
def test_weights_are_rewound_to_those_of_the_epoch(data, epoch):
    callback, watch = sp.IterativePruning(0.7, rewind_epoch=epoch, **QUICK), Watch()
    fitted(callback, data, others=[watch])
    wanted = watch.begun[0] if epoch == 0 else watch.ended[epoch - 1]
    for begins in (2, 4, 6):
        for one, other in zip(without_masks(wanted), without_masks(watch.begun[begins]), strict=True):
            np.testing.assert_array_equal(one, other)
        steps, _, *momenta = watch.slots[begins]
        assert steps == 0 and not any(map(np.any, momenta)) and any(map(np.any, watch.slots[begins + 1][2:]))


def test_random_rewinding_is_new_and_follows_the_seed(data):
    def begun(seed):
        watch = Watch()
        fitted(sp.IterativePruning(0.7, rewind="random", seed=seed, **QUICK), data, others=[watch])
        return [without_masks(watch.begun[at]) for at in (2, 4)]

    first, again, other = begun(3), begun(3), begun(4)
    for one, same in zip(first[0] + first[1], again[0] + again[1], strict=True):
        np.testing.assert_array_equal(one, same)
    kernels = [at for at, array in enumerate(first[0]) if array.ndim > 1]
    for at in kernels:
        assert np.abs(first[0][at] - other[0][at]).max() > 0.1 and np.abs(first[0][at] - first[1][at]).max() > 0.1
    statistics = [array for array in first[0] if array.ndim == 1]
    assert all(np.isin(array, (0, 1)).all() for array in statistics)  # offsets, scales, means and variances


def test_nothing_is_rewound_but_the_optimizer(data):
    callback, watch = sp.IterativePruning(0.4, rewind="none", dense_epochs=0, **QUICK), Watch()
    masked, _ = fitted(callback, data, others=[watch])
    assert callback.epochs == 2 and len(callback.reports) == 1
    for one, other in zip(without_masks(masked_model().get_weights()), without_masks(watch.begun[0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_schedule_of_the_optimizer_begins_anew_in_each_round(data):
    model = masked_model()
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 2)
    model.compile(keras.optimizers.SGD(schedule), "sparse_categorical_crossentropy", run_eagerly=True)
    watch = Watch()
    fitted(sp.IterativePruning(0.4, **QUICK), data, model, others=[watch])
    np.testing.assert_allclose(watch.rates, [0.01, 0.005, 0.01, 0.005], rtol=1e-5)


def test_rate_falls_in_each_round_and_in_what_follows(data):
    watch = Watch()
    fitted(sp.IterativePruning(0.4, rate=0.01, **QUICK), data, others=[watch], epochs=5)
    np.testing.assert_allclose(watch.rates, [0.01, 0.005, 0.01, 0.005, 0.01], rtol=1e-5)


@pytest.mark.parametrize("granularity", ["feature_map", "kernel", "intra_kernel", "weight"])
def test_any_granularity_reaches_the_sparsity(data, granularity):
    callback = sp.IterativePruning(0.3, granularity=granularity, round_epochs=1)
    masked, _ = fitted(callback, data, masked_model(GRANULARITIES))
    assert MaskedModel(masked).sparsity >= 0.3 - 1e-9 and len(callback.reports) == 2


def test_feature_maps_before_stay_gone(data):
    masked = masked_model(("feature_map", "weight"))
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.3}))
    before = sp.get_masks(masked).feature_map
    callback = sp.IterativePruning(0.7, **QUICK)
    fitted(callback, data, masked, epochs=callback.epochs)
    for name, kept in sp.get_masks(masked).feature_map.items():
        np.testing.assert_array_equal(kept, before[name])
    assert MaskedModel(masked).sparsity == pytest.approx(0.7, abs=0.01) and callback.epochs < 8
    small = shrink(masked).model
    rounded = sp.to_fixed_point(small, sp.FixedPoint(4, 8))
    assert rounded.count_params() and zoo.largest_difference(masked, small, data[0]) < 1e-5


def test_round_that_costs_too_much_is_taken_back(data, scores):
    callback = sp.IterativePruning(
        0.7, validation_data=data, score=scores(-0.1, -0.12, -0.4, -0.5), tolerance=0.05, **QUICK
    )
    masked, history = fitted(callback, data)
    assert [report.accepted for report in callback.reports] == [True, False, False]
    assert history["iterative_score"][3::2] == pytest.approx([-0.12, -0.4, -0.5])
    assert MaskedModel(masked).sparsity == pytest.approx(0.4, abs=0.01)


def test_nothing_accepted_leaves_the_model_before_the_first_cut(data, scores):
    callback = sp.IterativePruning(0.4, validation_data=data, score=scores(-0.1, -0.4), tolerance=0.05, **QUICK)
    watch = Watch()
    masked, _ = fitted(callback, data, others=[watch], epochs=4)
    for one, other in zip(watch.ended[1], masked.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_student_is_pruned_and_its_teacher_is_let_be(data):
    teacher = zoo.build("chain")
    before = teacher.get_weights()
    taught = keras.distillation.Distiller(
        teacher, masked_model(), distillation_losses=keras.distillation.LogitsDistillation()
    )
    taught.compile(keras.optimizers.SGD(0.05), "sparse_categorical_crossentropy", run_eagerly=True)
    callback = sp.IterativePruning(0.4, rewind="random", **QUICK)
    fitted(callback, data, taught)
    assert MaskedModel(taught.student).sparsity == pytest.approx(0.4, abs=0.01)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rewind", ["weights", "random"])
def test_network_in_a_pretext_task_is_pruned_without_labels(data, rewind):
    watch, task = Watch(), rotation_task()
    fitted(sp.IterativePruning(0.4, rewind=rewind, **QUICK), data[:1], task, others=[watch])
    assert MaskedModel(task.features).sparsity == pytest.approx(0.4, abs=0.01)
    same = [np.array_equal(one, two) for one, two in zip(watch.ended[0], watch.begun[2], strict=True) if one.ndim > 1]
    assert all(same[-1:]) is (rewind == "weights")  # the task's own layer


def run_in(folder, data, rewind, *others):
    """A whole run with a network that draws numbers, or one that is stopped."""
    keras.utils.set_random_seed(0)
    callback = sp.IterativePruning(
        0.6, rewind=rewind, validation_data=data, tolerance=0.9, state_dir=folder / "state", **QUICK
    )
    both = [keras.callbacks.BackupAndRestore(folder / "backup"), *others]
    return callback, fitted(callback, data, masked_model(noise=0.3), others=both)[0]


@pytest.mark.parametrize("rewind, epochs", [("weights", (1, 4)), ("random", (3,))])
def test_killed_run_ends_as_the_whole_one(data, tmp_path, rewind, epochs):
    wanted, whole = run_in(tmp_path / "whole", data, rewind)
    for epoch in epochs:
        folder = tmp_path / str(epoch)
        with pytest.raises(Killed):
            run_in(folder, data, rewind, Stop(epoch, batch=0))
        found, again = run_in(folder, data, rewind)
        assert found.reports == wanted.reports and len(found.reports) == 2
        for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        assert not (folder / "state").exists()


def test_killed_pretext_ends_as_the_whole_one(data, tmp_path):
    """With random changes, negatives and a memory bank."""
    x = data[0]
    tasks = (
        lambda features: (pretext.ExemplarTriplets(features, dimension=4), x),
        lambda features: (
            pretext.InstanceDiscrimination(features, samples=len(x), negatives=8, dimension=4),
            (x, np.arange(len(x))),
        ),
    )

    def run(make, folder, *others):
        keras.utils.set_random_seed(0)
        task, samples = make(pretext.features_of(masked_model()))
        task.compile(keras.optimizers.SGD(0.05), run_eagerly=True)
        callback = sp.IterativePruning(0.4, state_dir=folder / "state", **QUICK)
        both = [keras.callbacks.BackupAndRestore(folder / "backup"), *others]
        return fitted(callback, (samples,), task, others=both)[0]

    for at, make in enumerate(tasks):
        whole, folder = run(make, tmp_path / f"whole{at}"), tmp_path / f"killed{at}"
        with pytest.raises(Killed):
            run(make, folder, Stop(3, batch=0))
        for one, other in zip(whole.get_weights(), run(make, folder).get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_state_of_another_run_is_refused(data, tmp_path):
    both = [keras.callbacks.BackupAndRestore(tmp_path / "backup"), Stop(2, batch=0)]
    with pytest.raises(Killed):
        fitted(sp.IterativePruning(0.5, state_dir=tmp_path / "state", **QUICK), data, others=both)
    with pytest.raises(ValueError, match="another sparsity"):
        fitted(sp.IterativePruning(0.6, state_dir=tmp_path / "state", **QUICK), data, others=both[:1])


REFUSED = {
    "sparsity of 1": ({"sparsity": 1.0}, r"IterativePruning: sparsity must be in \[0, 1\)"),
    "nothing": ({"sparsity": 0.0}, "removes something. Received: sparsity=0"),
    "all at once": ({"share": 1.0}, r"share must be in \(0, 1\)\. Received: share=1\.0"),
    "nan": ({"share": math.nan}, r"share must be in \(0, 1\)\. Received: share=nan"),
    "no epochs": ({"round_epochs": 0}, "round_epochs must be at least 1. Received: round_epochs=0"),
    "epochs below 0": ({"dense_epochs": -1}, "dense_epochs must be at least 0. Received: dense_epochs=-1"),
    "unknown": ({"rewind": "all"}, "Unknown rewinding. Received: rewind='all'. Use one of: weights, random, none"),
    "late": ({"rewind_epoch": 3, "round_epochs": 2}, "before the first cut. Received: rewind_epoch=3 with dense_epoch"),
    "no rate": ({"rate": 0.0}, "rate must be a number above 0. Received: rate=0.0"),
    "no scores": ({"tolerance": 0.1}, "A tolerance is one of a score. Received: tolerance=0.1 without"),
    "negative": ({"tolerance": -0.1}, "tolerance must be at least 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_setting_that_makes_no_sense_is_refused(case):
    settings, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        sp.IterativePruning(**{"sparsity": 0.5, **settings})


def test_fit_that_does_not_suit_is_refused(data):
    with pytest.raises(
        ValueError, match=r"3 rounds of 2 epochs, and 2 before them, take 8\. Received: fit\(epochs=2\)"
    ):
        fitted(sp.IterativePruning(0.7, **QUICK), data, epochs=2)
    with pytest.raises(ValueError, match="has no masks. Received: a plain model"):
        plain = zoo.build("chain")
        plain.compile("sgd", "sparse_categorical_crossentropy")
        fitted(sp.IterativePruning(0.7, **QUICK), data, plain)
    masked = masked_model()
    sp.set_masks(masked, sp.random_masks(masked, {"weight": 0.6}))
    with pytest.raises(ValueError, match="has so many zeros already. Received: sparsity=0.5 for one of 0.6"):
        fitted(sp.IterativePruning(0.5, **QUICK), data, masked)
    masked = masked_model()
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 10)
    masked.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="The optimizer has a schedule of its own. Received: rate="):
        fitted(sp.IterativePruning(0.5, rate=0.1, **QUICK), data, masked)
    with pytest.raises(RuntimeError, match="called outside of fit"):
        sp.IterativePruning(0.5).on_epoch_end(0)
