"""Batches, the teacher's loss, and retraining."""

import dataclasses
import math

import keras
import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tflite_export.compress import CompressSettings, retrain
from tflite_export.compress._rate import LEAST, STEPS, chosen_rate, range_test
from tflite_export.compress._train import Batches

AUGMENTS = {"none": (), "flip": ("flip",), "shift": ("shift",), "both": ("flip", "shift")}


def epoch_of(batches, epoch=0):
    """All batches of an epoch."""
    batches.begin(epoch)
    parts = [batches[index] for index in range(len(batches))]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def numbered(samples, seed=0, augment=()):
    """Batches of images whose pixels all are their number, labelled with ten times the number."""
    x = np.tile(np.arange(samples, dtype=np.float32)[:, None, None, None], (1, 8, 8, 1))
    return Batches((x, 10 * np.arange(samples)), 16, augment, seed)


def ramps(augment, seed=0):
    """Images with a different value at every pixel, in batches."""
    x = np.arange(40 * 64, dtype=np.float32).reshape(40, 8, 8, 1)
    return Batches((x, np.arange(40)), 16, augment, seed), x


@pytest.mark.parametrize("samples, count", [(1, 1), (16, 1), (17, 2), (50, 4)])
def test_batches_cover_an_epoch(samples, count):
    batches = numbered(samples)
    assert len(batches) == count
    assert [len(batches[index][1]) for index in range(count - 1)] == [16] * (count - 1)


def test_every_sample_comes_once_an_epoch_with_its_label():
    batches = numbered(50)
    orders = []
    for epoch in range(3):
        x, y = epoch_of(batches, epoch)
        np.testing.assert_array_equal(10 * x[:, 0, 0, 0], y)
        assert sorted(y) == list(range(0, 500, 10))
        orders.append(tuple(y))
    assert len(set(orders)) == 3


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
@pytest.mark.parametrize("structure", [lambda x: [x], lambda x: {"image": x}], ids=["list", "dictionary"])
def test_images_alone_in_a_structure_are_changed_alike(augment, structure):
    """As a model made with `inputs=[image]` takes them."""
    plain, x = ramps(augment)
    inside = Batches((structure(x), np.arange(40)), 16, augment, 0)
    for index in range(len(plain)):
        (images, y), (held, same) = plain[index], inside[index]
        (found,) = keras.tree.flatten(held)
        np.testing.assert_array_equal(found, images)
        np.testing.assert_array_equal(same, y)


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_batches_are_seeded(augment):
    first, again, other = (ramps(augment, seed)[0] for seed in (4, 4, 5))
    for epoch in range(2):
        (x, y), (x_again, y_again), (x_other, _) = (epoch_of(batches, epoch) for batches in (first, again, other))
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
        assert not np.array_equal(x, x_other)


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_batches_depend_on_the_epoch_and_not_on_what_was_drawn_before(augment):
    fresh, used = (ramps(augment)[0] for _ in range(2))
    for epoch in (0, 4, 1):
        epoch_of(used, epoch)
    used.begin(3)
    used[1], used[0]  # as Keras does, to learn their shape
    for one, other in zip(epoch_of(fresh, 3), epoch_of(used, 3), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("augment", AUGMENTS.values(), ids=AUGMENTS)
def test_augmentation_keeps_shape_and_labels(augment):
    batches, images = ramps(augment)
    x, y = epoch_of(batches)
    assert x.shape == images.shape
    assert x.dtype == np.float32
    assert sorted(y) == list(range(40))
    np.testing.assert_array_equal(x.reshape(40, -1).max(axis=1) // 64, y)  # its pixels are the sample's own


def test_no_augmentation_changes_nothing():
    batches, images = ramps(())
    x, y = epoch_of(batches)
    np.testing.assert_array_equal(x, images[y])


def test_flip_mirrors_some_images_and_no_others():
    batches, images = ramps(("flip",))
    x, y = epoch_of(batches)
    same = (x == images[y]).all(axis=(1, 2, 3))
    mirrored = (x == images[y][:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 5 < mirrored.sum() < 35


def test_shift_moves_by_whole_pixels_and_at_most_an_eighth():
    batches, images = ramps(("shift",))
    x, y = epoch_of(batches)
    padded = np.pad(images[y], ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    moves = [(i, j) for i in range(3) for j in range(3)]
    found = np.array([(padded[:, i : i + 8, j : j + 8] == x).all(axis=(1, 2, 3)) for i, j in moves])
    assert (found.sum(axis=0) == 1).all()
    assert (found.sum(axis=1) > 0).sum() > 4  # several of the nine moves occur


def test_augmented_epochs_differ():
    batches, images = ramps(("flip", "shift"))
    first, second = (x[np.argsort(y)] for x, y in (epoch_of(batches, 0), epoch_of(batches, 1)))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, images)


def perturbed(activation):
    """A copy of the trained network that has forgotten a little."""
    model = tiny.fresh(activation)
    rng = np.random.default_rng(0)
    model.set_weights([weight + rng.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "activation, distill",
    [(None, 0.0), ("softmax", 0.7)],
    ids=["logits", "probabilities, taught"],
)
def test_retraining_learns_and_reports_each_epoch(activation, distill):
    model, data = perturbed(activation), tiny.data()
    before = tiny.accuracy(model, data.x_val, data.y_val)
    settings = CompressSettings(epochs=4, finetune_batch=32, finetune_rate=5e-3, distill=distill)
    figures = retrain(model, tiny.trained(activation), data, settings, task=tiny.task(activation))
    after = tiny.accuracy(model, data.x_val, data.y_val)
    assert before < 0.9 < after
    assert {len(values) for values in figures.values()} == {4}
    assert {"loss", "accuracy", "val_accuracy"} <= figures.keys()
    assert figures["val_accuracy"][-1] == pytest.approx(after)
    assert all(isinstance(value, float) for values in figures.values() for value in values)


@pytest.mark.parametrize("settings", [{"distill": 0.0}, {"distill": 0.3}, {"distill": 0.0, "finetune_rate": "auto"}])
def test_a_step_of_each_fit_is_traced_once(settings):
    """TensorFlow traces a step that makes variables, such as those of metrics, twice."""
    seen = []

    class Seen(keras.layers.Layer):
        def call(self, inputs, training=None):
            if training:
                seen.append(inputs)
            return inputs

    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, tiny.fresh()(Seen()(inputs)))
    given = CompressSettings(**{"epochs": 1, "finetune_batch": 32} | settings)
    retrain(model, tiny.trained(), tiny.data(), given, task=tiny.task())
    assert len(seen) == 1 + ("finetune_rate" in settings)


def test_retraining_leaves_the_teacher_as_it_was():
    teacher, model = tiny.fresh(), perturbed("softmax")
    teacher.get_layer("b").trainable = False
    weights, flags = teacher.get_weights(), [layer.trainable for layer in teacher.layers]
    optimizer = teacher.optimizer
    retrain(model, teacher, tiny.data(), CompressSettings(epochs=1, distill=0.5), task=tiny.task())
    for old, new in zip(weights, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert teacher.trainable
    assert [layer.trainable for layer in teacher.layers] == flags
    assert teacher.optimizer is optimizer


@pytest.mark.parametrize("distill", [0.0, 0.5, 1.0])
def test_weights_of_samples_count_for_the_targets_and_not_for_the_teacher(distill):
    """Samples of weight 0 teach nothing but what the teacher says of them."""
    data, results = tiny.data(), []
    for last in (0.0, 1.0):
        weights = np.where(np.arange(data.samples) < data.samples // 2, 1, last).astype(np.float32)
        model = perturbed("softmax")
        settings = CompressSettings(epochs=1, finetune_batch=64, distill=distill)
        retrain(model, tiny.trained(), dataclasses.replace(data, w_train=weights), settings, task=tiny.task())
        results.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    gap = np.abs(results[0] - results[1]).max()
    assert gap < 1e-4 if distill == 1 else gap > 1e-3


def test_loss_is_the_weighted_sum_of_both():
    data, losses = tiny.data(), {}
    for distill in (0.0, 0.25, 1.0):
        model = perturbed("softmax")
        settings = CompressSettings(epochs=1, finetune_batch=512, finetune_rate=1e-12, distill=distill)
        losses[distill] = retrain(model, tiny.trained(), data, settings, task=tiny.task())["val_loss"][0]
    assert losses[0.25] == pytest.approx(0.75 * losses[0.0] + 0.25 * losses[1.0], rel=1e-4)


def without_test_part():
    """Data on which any use of the test part would fail."""
    return dataclasses.replace(tiny.data(), x_test=None, y_test=None)


def test_retraining_is_seeded_and_never_sees_the_test_part():
    data, results = without_test_part(), []
    for seed in (0, 0, 1):
        model = perturbed("softmax")
        retrain(model, tiny.trained(), data, CompressSettings(epochs=1, seed=seed), task=tiny.task())
        results.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)  # threads may add up in another order
    assert np.abs(results[0] - results[2]).max() > 1e-3


def test_retraining_lets_the_rate_fall_to_zero():
    model = perturbed("softmax")
    settings = CompressSettings(epochs=2, finetune_batch=64, finetune_rate=0.01, distill=0.0)
    retrain(model, tiny.trained(), tiny.data(), settings, task=tiny.task())
    steps = 2 * 5
    assert int(model.optimizer.iterations) == steps
    rate = [float(model.optimizer._learning_rate(step)) for step in (0, steps // 2, steps)]
    assert rate == pytest.approx([0.01, 0.005, 0], abs=1e-7)


def test_batches_are_a_keras_data_set():
    assert isinstance(numbered(10), keras.utils.PyDataset)


FALLING = [2 - step / 40 for step in range(60)]
RATES = np.geomspace(LEAST, 1, STEPS)


@pytest.mark.parametrize(
    "losses, step",
    [
        (FALLING + [0.5 + (step - 60) / 5 for step in range(60, 90)], 59),
        ([*FALLING, math.nan], 59),
        ([*FALLING, 1e9], 59),
        ([1.0, 1.1, 1.2], 0),
        ([math.nan], 0),
    ],
    ids=["rises", "not a number", "explodes", "never falls", "nothing to see"],
)
def test_the_rate_is_that_beyond_which_the_loss_rises(losses, step):
    found = chosen_rate(losses, RATES)
    assert RATES[step] <= found <= RATES[min(step + 3, STEPS - 1)]


def test_a_range_test_leaves_the_model_as_it_was():
    model = perturbed("softmax")
    before = model.get_weights()
    compiled = {"loss": "sparse_categorical_crossentropy", "jit_compile": False}
    data = tiny.data()
    rates = [range_test(model, Batches((data.x_train, data.y_train), 32, (), 0), **compiled) for _ in range(2)]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert rates[0] == pytest.approx(rates[1], rel=0.3)  # threads may add up in another order
    assert 1e-4 < rates[0] < 0.3


@pytest.mark.parametrize("distill", [0.0, 0.5])
def test_retraining_at_a_rate_of_its_own_learns(distill):
    model, data = perturbed("softmax"), tiny.data()
    settings = CompressSettings(epochs=4, finetune_batch=32, finetune_rate="auto", distill=distill)
    retrain(model, tiny.trained(), data, settings, task=tiny.task())
    assert tiny.accuracy(model, data.x_val, data.y_val) > 0.9
