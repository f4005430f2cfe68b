"""Changes of training images, by name."""

import dataclasses

import keras
import numpy as np
import pytest

from tests import tasks
from tests.tflite_export.compress import tiny
from tflite_export.compress import AUGMENTATIONS, CompressSettings, check_data, data_of, retrain
from tflite_export.compress._augment import change_of, value_range

IMAGES = np.random.default_rng(0).random((6, 12, 10, 3)).astype(np.float32)
WITH_AMOUNTS = {"time_mask": "4", "frequency_mask": "4", "posterization": "3", "flip": "vertical"}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_change_depends_on_the_generator_alone(name):
    text = f"{name}={WITH_AMOUNTS.get(name, '0.3')}"
    change, again = (change_of(text, seed, (0.0, 1.0)) for seed in (0, 0))
    change(IMAGES, np.random.default_rng(9))  # what was drawn before makes no difference
    first, same, other = (
        each(IMAGES, np.random.default_rng(seed)) for each, seed in ((change, 1), (again, 1), (change, 2))
    )
    assert first.shape == IMAGES.shape and first.dtype == np.float32
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, IMAGES)


@pytest.mark.parametrize("name, axis", [("time_mask", 1), ("frequency_mask", 2)])
def test_mask_is_one_band_of_the_mean(name, axis):
    found = change_of(f"{name}=4", 0, (0.0, 1.0))(IMAGES, np.random.default_rng(3))
    other = tuple(at for at in (1, 2, 3) if at != axis)
    widths = set()
    for image, masked in zip(IMAGES, found, strict=True):
        rows = np.flatnonzero((image != masked).all(axis=tuple(at - 1 for at in other)))
        widths.add(len(rows))
        assert len(rows) == 0 or (np.diff(rows) == 1).all()
        np.testing.assert_allclose(np.take(masked, rows, axis - 1), image.mean(), rtol=1e-5)
        kept = np.setdiff1d(np.arange(image.shape[axis - 1]), rows)
        np.testing.assert_array_equal(np.take(masked, kept, axis - 1), np.take(image, kept, axis - 1))
    assert max(widths) <= 4 and len(widths) > 1


@pytest.mark.parametrize(
    "x, wanted",
    [
        (np.array([[3, 9]], np.uint8), (0.0, 255.0)),
        (np.array([[0.0, 1.0]]), (0.0, 1.0)),
        (np.array([[0.0, 200.0]]), (0.0, 255.0)),
        (np.array([[-1.0, 1.0]]), (-1.0, 1.0)),
    ],
)
def test_brightness_knows_the_range(x, wanted):
    assert value_range(x) == wanted


@pytest.mark.parametrize(
    "text, message",
    [
        ("rotate", r"Unknown augment\. Received: augment='rotate'\. Use some of: flip, shift, time_mask"),
        ("rotation", r"augment needs an amount, e\.g\. rotation=0\.1\. Received: augment='rotation'; Keras says"),
        ("shear", r"augment needs an amount, e\.g\. shear=0\.1"),
        ("zoom=much", r"augment needs another amount\. Received: augment='zoom=much'"),
        ("crop=0.5", r"Unknown augment"),
        ("time_mask=0", r"A mask has a largest width, a count\. Received: augment='time_mask=0'"),
        ("flip=0.2", r"A flip has a direction\. Received: augment='flip=0\.2'\. Use one of: horizontal"),
    ],
)
def test_what_is_no_change_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        CompressSettings(augment=(text,))


def test_colours_of_grey_images_are_refused_before_any_work():
    with pytest.raises(
        ValueError, match=r"augment='hue=0\.2' cannot change these images\. Received: shape \(8, 8, 1\)"
    ):
        check_data(tiny.data(), tiny.trained(), CompressSettings(augment=("hue=0.2",)))


def test_maps_of_targets_do_not_stay_where_pixels_move():
    kind = tasks.KINDS["segmentation"]
    data = data_of({part: kind.data(20, seed) for seed, part in enumerate(("train", "val", "test"))}, seed=0)
    with pytest.raises(
        ValueError, match="augment='shift=0.1' moves the pixels of images, and not those of their targets"
    ):
        check_data(data, tasks.trained("segmentation"), CompressSettings(augment=("shift=0.1",)))
    check_data(data, tasks.trained("segmentation"), CompressSettings(augment=("contrast=0.1",)))


def test_class_weights_are_those_of_the_samples():
    data = tiny.data()
    given = {
        "train": (data.x_train, data.y_train),
        "test": (data.x_test, data.y_test),
        "class_weight": {0: 3.0, 2: 0.5},
    }
    checked, _ = check_data(data_of(given, seed=0), tiny.trained(), CompressSettings())
    labels = np.asarray(checked.y_train).reshape(-1)
    np.testing.assert_array_equal(checked.w_train, np.array([3.0, 1.0, 0.5], np.float32)[labels])
    assert checked.class_weight is None


def test_class_weights_multiply_those_of_samples_and_are_trained_with():
    data = tiny.data()
    own = np.linspace(0, 2, len(data.x_train)).astype(np.float32)
    weighted = dataclasses.replace(data, w_train=own, class_weight=[0.0, 0.0, 1.0])
    checked, task = check_data(weighted, tiny.trained(), CompressSettings())
    np.testing.assert_allclose(checked.w_train, own * (np.asarray(data.y_train) == 2))
    model = keras.models.clone_model(tiny.trained())
    retrain(model, tiny.trained(), checked, CompressSettings(epochs=6, finetune_rate=5e-3, distill=0.0), task=task)
    assert (model.predict(data.x_val, verbose=0).argmax(axis=1) == 2).all()  # of others nothing was heard


@pytest.mark.parametrize(
    "kind, message",
    [("regression", "class_weight is for one class a sample"), (None, r"class_weight must have weights of 0 or more")],
)
def test_weights_of_no_classes_are_refused(kind, message):
    if kind is None:
        data, model = dataclasses.replace(tiny.data(), class_weight=[-1.0]), tiny.trained()
    else:
        parts = {part: tasks.KINDS[kind].data(20, seed) for seed, part in enumerate(("train", "val", "test"))}
        data, model = data_of(parts | {"class_weight": {0: 2.0}}, seed=0), tasks.trained(kind)
    with pytest.raises(ValueError, match=message):
        check_data(data, model, CompressSettings())


def test_class_weights_come_from_a_file(tmp_path):
    np.savez(tmp_path / "data.npz", **tiny.files(), class_weight=[1.0, 2.0, 3.0])
    np.testing.assert_array_equal(data_of(tmp_path / "data.npz", seed=0).class_weight, [1.0, 2.0, 3.0])
