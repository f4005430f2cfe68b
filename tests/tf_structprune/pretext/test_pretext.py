"""Pretext tasks: their losses beside NumPy's, what they keep, saving, training."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune import pretext
from tf_structprune.resume import wiring

SAMPLES = 12


def features(masked=True):
    model = zoo.build("chain")
    return pretext.features_of(sp.wrap(model, granularity="weight") if masked else model)


TASKS = {
    "rotations": lambda: pretext.RotationPrediction(features(), name="task"),
    "exemplars": lambda: pretext.ExemplarTriplets(features(), dimension=4, margin=0.3, seed=5),
    "instances": lambda: pretext.InstanceDiscrimination(
        features(), samples=SAMPLES, negatives=6, dimension=4, temperature=0.5, seed=3
    ),
    "all instances": lambda: pretext.InstanceDiscrimination(
        features(), samples=SAMPLES, negatives=None, dimension=4, temperature=0.5, proximal=0.1
    ),
}


def task_of(name):
    keras.utils.set_random_seed(0)
    task = TASKS[name]()
    task.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return task


def samples_of(name, x):
    return (x, np.arange(len(x), dtype=np.int32)) if "instances" in name else x


def array(value):
    return keras.ops.convert_to_numpy(value)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def x():
    return zoo.lit_rows(SAMPLES)[0]


def test_four_turns_are_the_identity_and_each_is_numpys(x):
    turned = array(pretext.rotations(x))
    for turns in range(4):
        np.testing.assert_array_equal(turned[:, turns], np.rot90(x, turns, axes=(1, 2)))
    once = array(pretext.rotations(turned[:, 3]))
    np.testing.assert_array_equal(once[:, 1], x)


def test_rotation_loss_and_accuracy_are_numpys(x):
    task = task_of("rotations")
    logits = array(task(x))
    assert logits.shape == (SAMPLES, 4, 4)
    powers = np.exp(logits)
    chances = powers / powers.sum(axis=-1, keepdims=True)
    wanted = -np.mean([np.log(chances[:, way, way]) for way in range(4)])
    told = task.evaluate(x, verbose=0, return_dict=True)
    assert told["loss"] == pytest.approx(wanted, rel=1e-5)
    assert told["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == np.arange(4)))
    turned = np.rot90(x, 1, axes=(1, 2))
    np.testing.assert_allclose(array(task(turned))[:, 0], logits[:, 1], rtol=1e-4, atol=1e-5)


def test_triplet_loss_and_accuracy_are_numpys_count():
    task = task_of("exemplars")
    vectors = unit(np.random.default_rng(0).normal(size=(5, 2, 4))).astype(np.float32)
    a, b = vectors[:, 0], vectors[:, 1]
    wanted, hits = np.zeros(5), np.zeros(5)
    for i in range(5):
        distances = [1 - a[i] @ b[j] for j in range(5)]
        wanted[i] = sum(max(0, 0.3 + distances[i] - distances[j]) for j in range(5) if j != i) / 4
        hits[i] = np.argmin(distances) == i
    np.testing.assert_allclose(array(task.losses_of(None, vectors)), wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(array(task.hits_of(None, vectors)), hits)
    assert float(array(task.losses_of(None, vectors[:1]))[0]) == 0


def test_exemplars_are_changed_at_random_and_without_changes_they_are_the_same(x):
    task = task_of("exemplars")
    vectors = array(task(x))
    assert np.abs(vectors[:, 0] - vectors[:, 1]).max() > 1e-3
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    same = pretext.ExemplarTriplets(features(), dimension=4, changes=keras.layers.Identity())
    vectors = array(same(x))
    np.testing.assert_array_equal(vectors[:, 0], vectors[:, 1])


def embedded(task, x):
    """Unit vectors of images."""
    found = array(task.features(x)).reshape(len(x), -1)
    kernel, bias = task.head.get_weights()
    return unit(found @ kernel + bias)


def test_loss_over_all_instances_is_numpys_softmax(x):
    task = task_of("all instances")
    bank, vectors = array(task.bank), embedded(task, x)
    logits = vectors @ bank.T / 0.5
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = -np.log(np.diag(chances)).mean() + 0.1 * np.sum((vectors - bank) ** 2, axis=1).mean()
    told = task.evaluate(samples_of("instances", x), verbose=0, return_dict=True)
    assert told["loss"] == pytest.approx(wanted, rel=1e-4)
    assert told["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == np.arange(SAMPLES)))


def test_loss_with_negatives_is_numpys_estimation():
    task = task_of("instances")
    task.scale.assign(20.0)
    logits = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    chances = np.exp(logits) / 20
    h = chances / (chances + 6 / SAMPLES)
    wanted = -np.log(h[:, 0]) - np.log(1 - h[:, 1:]).sum(axis=1)
    np.testing.assert_allclose(array(task.losses_of(None, logits)), wanted, rtol=1e-4)
    np.testing.assert_array_equal(array(task.hits_of(None, logits)), logits.argmax(axis=1) == 0)


@pytest.mark.parametrize("name", ["instances", "all instances"])
def test_bank_moves_by_the_momentum_and_stays_of_unit_length(x, name):
    task, indices = task_of(name), np.array([7, 2, 5], np.int32)
    before, vectors = array(task.bank).copy(), embedded(task, x[indices])
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), 1, rtol=1e-5)
    task((x[indices], indices), training=False)
    np.testing.assert_array_equal(array(task.bank), before)
    found = array(task((x[indices], indices), training=True))
    wanted = before.copy()
    wanted[indices] = unit(0.5 * before[indices] + 0.5 * vectors)
    np.testing.assert_allclose(array(task.bank), wanted, atol=1e-5)
    if name == "instances":
        assert array(task.scale) == pytest.approx(SAMPLES * np.exp(found[:, 1:]).mean(), rel=1e-4)
        held = float(array(task.scale))
        more = SAMPLES * np.exp(array(task((x[:2], np.arange(2)), training=True))[:, 1:]).mean()
        assert float(array(task.scale)) == pytest.approx(0.9 * held + 0.1 * more, rel=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_fit_learns_and_what_is_saved_comes_back(x, name, tmp_path):
    task, samples = task_of(name), samples_of(name, x)
    task.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    before = task.features.get_weights()
    history = task.fit(samples, batch_size=4, epochs=2, verbose=0).history
    assert set(history) == {"loss", "accuracy"} and np.isfinite(history["loss"]).all()
    assert any(not np.array_equal(one, two) for one, two in zip(before, task.features.get_weights(), strict=True))
    assert task.student is task.features
    task.save(tmp_path / "task.keras")
    again = keras.models.load_model(tmp_path / "task.keras")
    assert wiring(again) == wiring(task)
    for one, two in zip(task.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    if name in ("rotations", "all instances"):  # the others draw
        np.testing.assert_allclose(array(task(samples)), array(again(samples)), atol=1e-6)


def test_regularizers_and_the_weights_of_samples_count(x):
    task = task_of("rotations")
    plain = task.evaluate(x, verbose=0)[0]
    kernel = task.features.get_layer("b").kernel_variable
    kernel.regularizer = keras.regularizers.L2(1.0)
    more = float(np.sum(array(kernel) ** 2))
    assert task.evaluate(x, verbose=0)[0] == pytest.approx(plain + more, rel=1e-4)
    assert float(array(task.compute_loss(x, y_pred=task(x), sample_weight=np.zeros(SAMPLES)))) == pytest.approx(more)


def test_pull_of_admm_works_in_a_task(x):
    masked = pretext.features_of(sp.wrap(zoo.build("chain"), granularity="weight", admm=True))
    task = pretext.RotationPrediction(masked)
    task.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    admm = sp.ADMM(0.5, admm_epochs=1, retrain_epochs=1)
    task.fit(x, epochs=admm.epochs, verbose=0, callbacks=[admm])
    assert admm.reports[0].sparsity == pytest.approx(0.5, abs=0.02)


def test_features_are_a_copy_up_to_the_classifier(x):
    model = sp.wrap(zoo.build("chain"), granularity="weight")
    sp.set_masks(model, sp.random_masks(model, {"weight": 0.5}))
    found = pretext.features_of(model)
    wanted = keras.Model(model.inputs[0], model.get_layer("classifier").input)
    assert zoo.largest_difference(found, wanted, x) == 0
    assert found.get_layer("b") is not model.get_layer("b")
    assert sp.get_masks(found).equals(sp.get_masks(model))
    early = pretext.features_of(model, "b")
    assert early.output.shape == (None, 8, 8, 6)


REFUSED = {
    "unknown layer": (
        lambda: pretext.features_of(zoo.build("chain"), "d"),
        "no layer of that name. Received: layer='d'. Use one of: image, a, b",
    ),
    "two classifiers": (
        lambda: pretext.features_of(zoo.build("two_outputs")),
        "no single classifier of its own. Received: left, right as last layers",
    ),
    "two outputs": (
        lambda: pretext.RotationPrediction(zoo.build("two_outputs")),
        "one input and one output of vectors or maps. Received: 1 inputs and 2 outputs",
    ),
    "not built": (lambda: pretext.ExemplarTriplets(keras.Sequential([keras.layers.Dense(2)])), "one that is not built"),
    "oblong images": (
        lambda: pretext.RotationPrediction(keras.Sequential([keras.Input((4, 6, 1)), keras.layers.Flatten()])),
        r"turns square images.*with inputs \(None, 4, 6, 1\)",
    ),
    "margin": (lambda: pretext.ExemplarTriplets(features(), margin=0.0), r"margin must be in \(0, 2\]. Received: mar"),
    "dimension": (lambda: pretext.ExemplarTriplets(features(), dimension=0), "dimension must be at least 1. Received"),
    "one sample": (
        lambda: pretext.InstanceDiscrimination(features(), samples=1),
        "samples must be at least 2. Received: samples=1",
    ),
    "no negatives": (
        lambda: pretext.InstanceDiscrimination(features(), samples=9, negatives=0),
        "negatives must be at least 1. Received: negatives=0",
    ),
    "cold": (
        lambda: pretext.InstanceDiscrimination(features(), samples=9, temperature=0.0),
        "temperature must be above 0. Received: temperature=0.0",
    ),
    "momentum": (
        lambda: pretext.InstanceDiscrimination(features(), samples=9, momentum=1.0),
        r"momentum must be in \[0, 1\). Received: momentum=1.0",
    ),
    "proximal": (
        lambda: pretext.InstanceDiscrimination(features(), samples=9, proximal=-1.0),
        "proximal must be 0 or more. Received: proximal=-1.0",
    ),
}


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (lambda x: x, r"reads images and the index of each\. Received: images alone\. Use fit\(\(x, np\.arange"),
        (
            lambda x: (x, np.arange(len(x)) + 1),
            r"has a vector for each of 6 images\. Received: indices from 1 to 6\. Use samples=7",
        ),
    ],
)
def test_images_without_an_index_of_the_bank_are_refused(x, message):
    task = pretext.InstanceDiscrimination(features(), samples=6)
    task.compile("sgd", jit_compile=False)
    with pytest.raises(ValueError, match=message):
        task.fit(x(zoo.batch(6)), verbose=0)


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_thing_that_is_no_model_is_refused():
    with pytest.raises(TypeError, match="RotationPrediction trains a Keras model. Received: features='x'"):
        pretext.RotationPrediction("x")
