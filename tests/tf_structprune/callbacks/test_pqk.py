"""PQK inside `fit`: both phases, what student and teacher share and what they do not, words, resume."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.callbacks.stops import Killed, Stop
from tf_structprune.layers import MaskedModel, quantized_layers
from tf_structprune.masks import WEIGHT
from tf_structprune.stages import magnitude_masks

WORDS = sp.FixedPoint(weight_bits=4, signal_bits=None)  # eager, signals would take most of the time


def small(norm=False):
    """A classifier of three in which one convolution may be pruned, behind a normalization or not."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(inputs, 4, strides=2, name="a")
    x = zoo.conv(x, 6, activation=None, name="b")
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x) if norm else x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="classifier")(x)
    return zoo.randomize(keras.Model(inputs, outputs, name="small"))


def masked_model(granularity=WEIGHT, *, norm=False, words=None):
    model = small(norm)
    return sp.wrap(model if words is None else sp.to_fixed_point(model, words), granularity=granularity)


def compiled(model, optimizer=None, *, eager=True):
    """Eager unless asked otherwise: compiling takes most of the time where the graph is not the point."""
    optimizer = keras.optimizers.Adam(5e-3) if optimizer is None else optimizer
    model.compile(optimizer, "sparse_categorical_crossentropy", run_eagerly=eager, jit_compile=False)
    return model


def self_taught(masked, optimizer=None, *, eager=True, **settings):
    return compiled(sp.SelfTaught(masked, **settings), optimizer, eager=eager)


def fitted(model, data, *callbacks, epochs=4, **settings):
    given = {"batch_size": 24, "verbose": 0, "shuffle": False, **settings}
    return model.fit(*data, epochs=epochs, callbacks=list(callbacks), **given).history


def pqk(sparsity=0.6, prune_epochs=2, **settings):
    return sp.PQK(sparsity, prune_epochs=prune_epochs, **settings)


def rounding(data, epochs=2):
    return sp.FixedPointTraining(calibration_data=data[0], signal_epoch=1, refit_epochs=epochs)


def prune(masked, sparsity, granularity=WEIGHT):
    masks = magnitude_masks(MaskedModel(masked), granularity, sparsity, given=sp.get_masks(masked))
    sp.set_masks(masked, masks)
    return masks


def kernels(masked):
    return {
        name: keras.ops.convert_to_numpy(masked.get_layer(name).kernel_variable)
        for name in MaskedModel(masked).masks.weight
    }


def by_name(model):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}


def assert_same(first, second, **tolerance):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, **{"atol": 0, "rtol": 0, **tolerance})


def test_sparsity_rises_in_phase_1_and_stays_in_phase_2(data):
    model = self_taught(masked_model())
    history = fitted(model, data, pqk(prune_epochs=3), epochs=5)
    assert history["pqk_phase"] == [1, 1, 1, 2, 2]
    first, second, *rest = history["pqk_sparsity"]
    assert 0 < first < second < rest[0] and rest == [pytest.approx(0.6, abs=0.02)] * 3
    assert len(set(rest)) == 1


def test_a_weight_may_come_back_in_phase_1_and_none_in_phase_2(data):
    masked = masked_model()
    model, seen = self_taught(masked, keras.optimizers.Adam(0.05)), []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(np.concatenate([mask.ravel() for mask in MaskedModel(masked).masks.weight.values()]))

    fitted(model, data, pqk(prune_epochs=4), Watch(), epochs=6)
    assert any((later & ~former).any() for former, later in zip(seen, seen[1:4], strict=False))
    np.testing.assert_array_equal(seen[3], seen[5])


def test_pruned_weights_learn_from_the_teacher_alone(data):
    """Under SGD what has no gradient does not move."""
    for teacher_weight, moves in ((0.0, False), (1.0, True)):
        masked = masked_model()
        model = self_taught(masked, keras.optimizers.SGD(0.05), teacher_weight=teacher_weight)
        held = []
        copy = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: held.append(kernels(masked)))  # noqa: B023
        fitted(model, data, pqk(prune_epochs=1), copy, epochs=3)
        for name, gone in {n: ~mask for n, mask in MaskedModel(masked).masks.weight.items()}.items():
            flat = [each[name].reshape(gone.shape)[gone] for each in (*held, kernels(masked))]
            np.testing.assert_array_equal(flat[0], flat[1])  # phase 1
            assert (np.abs(flat[1] - flat[3]) > 0).any() == moves
            kept = [each[name].reshape(gone.shape)[~gone] for each in (held[0], kernels(masked))]
            assert (kept[0] != kept[1]).any()


@pytest.mark.parametrize("granularity", ["feature_map", "kernel", "intra_kernel", "weight"])
def test_teacher_is_the_dense_model(data, granularity):
    """Whatever the masks, and with nothing rounded."""
    dense, kinds = zoo.build("batch_norm_chain"), ("feature_map", "kernel", "intra_kernel", "weight")
    masked = sp.wrap(dense, granularity=kinds)
    model = sp.SelfTaught(masked)
    prune(masked, 0.5, granularity)
    assert zoo.largest_difference(masked, dense, data[0]) > 1e-2
    found = keras.ops.convert_to_numpy(model.teacher(data[0]))
    np.testing.assert_allclose(found, zoo.outputs_of(dense, data[0])[0], atol=1e-6)


def test_teacher_rounds_nothing(data):
    dense = small()
    masked = masked_model(words=sp.FixedPoint(weight_bits=2, signal_bits=3))
    model = sp.SelfTaught(masked)
    sp.calibrate(masked, data[0])
    assert zoo.largest_difference(masked, dense, data[0]) > 1e-2
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.teacher(data[0])), zoo.outputs_of(dense, data[0])[0], atol=1e-5
    )


def test_masks_of_before_are_closed_to_the_teacher_too(data):
    masked = masked_model()
    first = prune(masked, 0.3)
    before = zoo.outputs_of(masked, data[0])[0]
    model = self_taught(masked)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.teacher(data[0])), before, atol=1e-6)
    fitted(model, data, pqk(), epochs=3)
    for name, mask in MaskedModel(masked).masks.weight.items():
        assert not (mask & ~first.weight[name]).any()


def test_without_a_teacher_it_is_plain_training_with_these_masks(data):
    masked = masked_model(norm=True)
    masks, model = [], self_taught(masked, weight=0.0, teacher_weight=0.0)
    keep = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: masks.append(sp.get_masks(masked)))
    fitted(model, data, pqk(), keep, epochs=3)
    plain = compiled(masked_model(norm=True))
    put = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: sp.set_masks(plain, masks[epoch]))
    fitted(plain, data, put, epochs=3)
    assert_same(masked.get_weights(), plain.get_weights())


def test_loss_is_the_sum_that_is_told(data):
    """Student's, teacher's and what is learned, regularizers once, by hand."""
    masked = masked_model()
    masked.get_layer("b").kernel_variable.regularizer = keras.regularizers.L2(0.1)
    model = self_taught(masked, weight=0.5, teacher_weight=0.25)
    prune(masked, 0.7)
    x, y = data
    student, teacher = (np.asarray(each, np.float64) for each in (zoo.outputs_of(masked, x)[0], model.teacher(x)))
    rows, penalty = np.arange(len(y)), 0.1 * float((kernels(masked)["b"] ** 2).sum())
    own = -np.log(student[rows, y]).mean()
    soft = [power / power.sum(1, keepdims=True) for power in (teacher ** (1 / 3), student ** (1 / 3))]
    learned = 9 * (soft[0] * np.log(soft[0] / soft[1])).sum(1).mean()
    wanted = own + 0.25 * -np.log(teacher[rows, y]).mean() + 0.5 * learned + penalty
    assert learned > 0.01
    for teaches, value in ((False, own + penalty), (True, wanted)):
        model.teaches = teaches
        assert float(model.compute_loss(x, y, masked(x))) == pytest.approx(value, rel=1e-4)
    assert float(model.compute_loss(x, y, masked(x), training=False)) == pytest.approx(own + penalty, rel=1e-4)


def test_statistics_are_each_one_s_own(data):
    """Those of the student are the same whether it is taught or not while no weight moves; the teacher's follow it."""
    found = {}
    for teacher_weight in (0.0, 1.0):
        masked = masked_model(norm=True)
        model = self_taught(masked, keras.optimizers.SGD(0.0), weight=0.0, teacher_weight=teacher_weight)
        fitted(model, data, pqk(0.9, 1), epochs=2)
        found[teacher_weight] = masked.get_weights(), by_name(model)
    assert_same(found[0.0][0], found[1.0][0])
    student = {path: value for path, value in found[1.0][1].items() if "moving" in path and "teacher" not in path}
    teacher = {path: value for path, value in found[1.0][1].items() if "teacher" in path}
    assert len(student) == len(teacher) == 2
    assert max(np.abs(s - t).max() for s, t in zip(student.values(), teacher.values(), strict=True)) > 1e-2


def test_teacher_s_statistics_are_those_of_dense_training(data):
    """From where the student's were when the teacher joined."""
    masked = masked_model(norm=True)
    model = self_taught(masked, keras.optimizers.SGD(0.0))
    held = []
    copy = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: held.append(masked.get_weights()))
    fitted(model, data, pqk(0.9, 1), copy, epochs=2)
    dense = masked_model(norm=True)
    dense.set_weights(held[1])
    sp.set_masks(dense, model.given)
    fitted(compiled(dense, keras.optimizers.SGD(0.0)), data, epochs=1)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model.teacher(data[0])), zoo.outputs_of(dense, data[0])[0], atol=1e-5
    )


def test_student_is_pruned_and_on_its_words(data, tmp_path):
    masked = masked_model(words=sp.FixedPoint(weight_bits=4, signal_bits=8))
    history = fitted(self_taught(masked, eager=False), data, pqk(0.7, 1), rounding(data, 1), epochs=2)
    assert history["fixed_point_weights"][-1] == history["fixed_point_signals"][-1] == 1
    assert MaskedModel(masked).sparsity == pytest.approx(0.7, abs=0.02)
    for name, mask in MaskedModel(masked).masks.weight.items():
        kernel = keras.ops.convert_to_numpy(masked.get_layer(name).effective_kernel())
        assert not kernel.reshape(mask.shape)[~mask].any()
        assert len(np.unique(kernel)) <= 2**4
    masked.save(tmp_path / "student.keras")
    assert zoo.largest_difference(masked, keras.models.load_model(tmp_path / "student.keras"), data[0]) == 0
    assert zoo.largest_difference(masked, sp.unwrap(masked), data[0]) < 1e-6
    assert set(quantized_layers(sp.unwrap(masked))) == set(quantized_layers(masked))


def test_equal_seeds_equal_weights(data):
    def trained():
        keras.utils.set_random_seed(3)
        model = self_taught(masked_model(norm=True))
        fitted(model, data, pqk(prune_epochs=1), shuffle=True, epochs=2)
        return model.get_weights()

    assert_same(trained(), trained())


@pytest.mark.parametrize("granularity", ["feature_map", "kernel", sp.Weight(across="model")], ids=str)
def test_any_granularity_will_do(data, granularity):
    masked = masked_model(getattr(granularity, "name", granularity))
    fitted(self_taught(masked), data, pqk(0.4, 1, granularity=granularity), epochs=2)
    assert MaskedModel(masked).sparsity >= 0.39
    assert zoo.largest_difference(masked, sp.unwrap(masked), data[0]) < 1e-5


def test_masks_without_steps_in_between_come_at_once(data):
    masked = masked_model()
    history = fitted(self_taught(masked), data, pqk(0.5, 2, schedule=sp.schedule.OneShot(1)), epochs=3)
    assert history["pqk_sparsity"][0] == 0 and history["pqk_sparsity"][1:] == [pytest.approx(0.5, abs=0.02)] * 2


def test_several_outputs_are_taught_each_with_its_loss(data):
    x, y = data
    inputs = keras.Input(x.shape[1:])
    found = keras.layers.Flatten()(zoo.conv(zoo.conv(inputs, 4, name="a"), 5, name="b"))
    heads = {
        "digit": keras.layers.Dense(3, name="digit")(found),
        "size": keras.layers.Dense(1, name="size")(found),
    }
    masked = sp.wrap(keras.Model(inputs, heads), granularity=WEIGHT)
    model = sp.SelfTaught(masked)
    losses = {"digit": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"}
    model.compile("adam", losses, loss_weights={"digit": 1.0, "size": 0.5}, run_eagerly=True)
    targets = {"digit": y, "size": x.mean((1, 2, 3))}
    history = fitted(model, (x, targets), pqk(0.5, 1), epochs=3)
    assert np.isfinite(history["loss"]).all()
    student, teacher = masked(x), model.teacher(x)
    learned = float(model._loss.compute_loss(teacher, student))
    size = 0.5 * float(np.mean(np.square(np.asarray(student["size"]) - np.asarray(teacher["size"]))))
    digits = sp_soft(np.asarray(teacher["digit"]), np.asarray(student["digit"]))
    assert learned == pytest.approx(digits + size, rel=1e-3)


def sp_soft(teacher, student):
    soft = [np.exp(each / 3) / np.exp(each / 3).sum(1, keepdims=True) for each in (teacher, student)]
    return 9 * float((soft[0] * np.log(soft[0] / soft[1])).sum(1).mean())


KILLS = {"phase 1, in words": (2, 1, WORDS), "between": (1, 1, None), "phase 2": (1, 2, None)}


@pytest.mark.parametrize("case", KILLS)
def test_killed_run_ends_as_the_whole_one(data, tmp_path, case):
    """Weights, masks and the teacher's statistics."""
    pruned, epoch, words = KILLS[case]

    def run(folder, *others):
        model = self_taught(masked_model(norm=words is None, words=words))
        more = [] if words is None else [rounding(data)]
        backup = keras.callbacks.BackupAndRestore(folder)
        fitted(model, data, pqk(prune_epochs=pruned), *more, backup, *others, epochs=3)
        return model

    whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", Stop(epoch))
    assert_same(whole.get_weights(), run(tmp_path / "killed").get_weights(), atol=1e-6)


REFUSED = {
    "sparsity of 1": (lambda: sp.PQK(1.0), r"PQK: sparsity must be in \[0, 1\)"),
    "no epochs": (lambda: sp.PQK(0.5, prune_epochs=0), "prune_epochs must be at least 1. Received: prune_epochs=0"),
    "half epochs": (
        lambda: sp.PQK(0.5, prune_epochs=1.5),
        "prune_epochs must be a whole number. Received: prune_epochs=1",
    ),
    "text": (lambda: sp.PQK("0.5"), r"PQK: sparsity must be in \[0, 1\). Received: sparsity=0.5"),
    "loss": (
        lambda: sp.SelfTaught(masked_model(), loss="mse"),
        r"loss must be a keras.distillation.DistillationLoss. Received: loss='mse'",
    ),
    "slow schedule": (
        lambda: sp.PQK(0.5, prune_epochs=2, schedule=sp.schedule.Gradual(4)),
        r"must be reached within prune_epochs=2\. Received: 0\.4\d+ instead of 0\.5",
    ),
    "no schedule": (lambda: sp.PQK(0.5, schedule=3), "schedule must be a schedule or"),
    "negative weight": (
        lambda: sp.SelfTaught(masked_model(), weight=-1.0),
        "weight must be 0 or more. Received: weight=-1",
    ),
    "nan": (
        lambda: sp.SelfTaught(masked_model(), teacher_weight=float("nan")),
        "teacher_weight must be 0 or more. Received: teacher_weight=nan",
    ),
    "no masks": (
        lambda: sp.SelfTaught(small()),
        "SelfTaught takes a model with masks. Received: model 'small'",
    ),
    "no loss": (
        lambda: sp.SelfTaught(masked_model()).compile("adam"),
        "Received: none in compile. Compile with a loss",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_setting_that_makes_no_sense_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_fit_that_does_not_suit_is_refused(data):
    plain = masked_model()
    plain.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"Received: fit of '\w+', a \w+\. Use model = SelfTaught\(masked\)"):
        fitted(plain, data, pqk())
    with pytest.raises(ValueError, match=r"begins after 2 epochs\. Received: fit\(epochs=2\)"):
        fitted(self_taught(masked_model()), data, pqk(), epochs=2)
    with pytest.raises(ValueError, match=r"Epoch 2 of PQK goes on .* Received: sparsity 0\.000 instead of 0\.600"):
        fitted(self_taught(masked_model()), data, pqk(), initial_epoch=2)
