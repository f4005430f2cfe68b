"""Settings of the callback, and what it and `find_masks` refuse."""

import keras
import numpy as np
import pytest
import rich

import tf_structprune as sp
from tests import zoo
from tf_structprune.masks import GRANULARITIES
from tf_structprune.stages import find_masks
from tf_structprune.task import as_score, check_validation

X, Y = zoo.batch(6), np.arange(6) % 3


def made(**settings):
    return sp.StructuredPruning(**{"validation_data": (X, Y), "sparsity": 0.5, "verbose": 0, **settings})


def test_settings_are_stored():
    search, schedule = sp.search.BestOfN(7), sp.schedule.Gradual(3)
    callback = made(granularity="kernel", search=search, schedule=schedule, tolerance=0.02, patience=4, seed=0)
    assert callback.granularity == ("kernel",)
    assert (callback.search, callback.schedule) == (search, schedule)
    assert (callback.sparsity, callback.tolerance, callback.patience, callback.seed) == (0.5, 0.02, 4, 0)
    assert made().search == sp.search.BestOfN(50)
    assert made().schedule == sp.schedule.OneShot()
    assert made().reports == ()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\)\. Received: sparsity=1\.0"),
        ({"sparsity": {"feature_map": 1.5}}, r"Granularity 'feature_map': sparsity must be in \[0, 1\)\. Received"),
        ({"sparsity": {"kernel": 0.5}}, r"sparsity must name every granularity once\. Received: .*Use the same names"),
        ({"sparsity": None}, r"sparsity is needed, except with a tfmot schedule.*Give exactly one of them"),
        ({"schedule": lambda step: (True, 0.5)}, r"sparsity is needed, except with a tfmot schedule"),
        (
            {"schedule": lambda step: (True, 0.5), "sparsity": None, "granularity": GRANULARITIES},
            r"names the sparsity of one granularity\. Received: granularity=\(.*one callback for each",
        ),
        ({"granularity": "channel"}, r"Unknown granularity\. Received: granularity='channel'"),
        ({"tolerance": -0.1}, r"tolerance must be at least 0\. Received: tolerance=-0\.1\. Use e\.g\. 1"),
        ({"tolerance": float("nan")}, r"tolerance must be at least 0\. Received: tolerance=nan"),
        ({"patience": 0}, r"patience must be at least 1\. Received: patience=0"),
        ({"executor": "cluster"}, r"Unknown executor\. Received: executor='cluster'\. Use 'local' or 'ray'"),
        ({"retrain_epochs": 0}, r"retrain_epochs must be at least 1\. Received: retrain_epochs=0"),
        (
            {"score": "accurracy"},
            r"Unknown score\. Received: score='accurracy'\. Use 'mcr', 'kl', the name of a Keras loss",
        ),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"schedule": "gradual"}, r"schedule must be a schedule or a tfmot PruningSchedule\. Received"),
        ({"score": 3}, r"score must be a name, a Keras loss or metric, or a function\. Received: score=3\. Use e\.g"),
        ({"validation_data": X}, r"must be a pair of arrays \(x, y\)\. Received: ndarray\. Give samples and targ"),
        ({"validation_data": (X, Y, Y)}, r"must be a pair of arrays \(x, y\)\. Received: tuple"),
    ],
)
def test_settings_of_another_kind_are_refused(settings, message):
    with pytest.raises(TypeError, match=message):
        made(**settings)


@pytest.mark.parametrize(
    "x, y, message",
    [
        (X[:0], Y[:0], r"one label for each sample\. Received: 0 samples, 0 labels\. Split some training data off"),
        (X, Y[:4], r"one label for each sample\. Received: 6 samples, 4 labels"),
        (np.where(X > 0.9, np.nan, X), Y, r"values that are not finite\. Received: NaN or infinity in x\. Clean it"),
        (np.where(X > 0.9, np.inf, X), Y, r"values that are not finite"),
    ],
    ids=["empty", "lengths", "nan", "infinite"],
)
def test_bad_validation_data_is_refused(x, y, message):
    with pytest.raises(ValueError, match=message):
        made(validation_data=(x, y))


def test_plain_model_is_refused():
    model = zoo.build("chain")
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match=r"Model 'chain' has no masks\. Received: .*Use wrap\(model\) first"):
        model.fit(X, Y, verbose=0, callbacks=[made()])


def test_callback_outside_of_fit_is_refused():
    with pytest.raises(RuntimeError, match=r"called outside of fit\. Pass it in fit\(callbacks=\[\.\.\.\]\)"):
        made().on_epoch_end(0, {})


@pytest.fixture
def masked():
    masked = sp.wrap(zoo.build("chain"))
    sp.set_masks(masked, sp.random_masks(masked, {"kernel": 0.25}, seed=3))
    return masked


def test_find_masks_leaves_the_model_as_it_was(masked):
    before = sp.get_masks(masked)
    validation = check_validation((X, Y), as_score("mcr"), 4)
    result = find_masks(masked, "feature_map", 0.5, search=sp.search.BestOfN(3), validation=validation)
    assert sp.get_masks(masked).equals(before)
    assert len(result.scores) == 3
    sp.set_masks(masked, result.masks)
    assert validation.of(masked) == pytest.approx(result.score)


def test_find_masks_leaves_the_model_as_it_was_after_an_error(masked):
    before = sp.get_masks(masked)
    validation = check_validation((X, Y), lambda y_true, y_pred: float("nan"), 4)
    with pytest.raises(ValueError, match=r"candidate's score is not a number\. Received: nan"):
        find_masks(masked, "kernel", 0.5, search=sp.search.BestOfN(3), validation=validation)
    assert sp.get_masks(masked).equals(before)


def test_find_masks_shows_progress_when_asked(masked, capsys):
    validation = check_validation((X, Y), as_score("mcr"), 4)
    rich.reconfigure(force_terminal=True, width=100)
    try:
        for verbose in (False, True):
            find_masks(masked, "kernel", 0.5, search=sp.search.RandomMask(), validation=validation, verbose=verbose)
            assert ("search kernel masks, sparsity 0.50" in capsys.readouterr().out) is verbose
    finally:
        rich.reconfigure()


def test_find_masks_keeps_the_polarity_of_the_model():
    masked = sp.wrap(zoo.build("chain"), polarity="prune_on_grid")
    validation = check_validation((X, Y), as_score("mcr"), 4)
    masks = find_masks(masked, "intra_kernel", 0.3, search=sp.search.RandomMask(), validation=validation).masks
    assert 0.3 <= sp.sparsity_of(sp.trace(masked), masks, "prune_on_grid") < 0.45


def test_keras_metric_and_loss_are_scores():
    assert made(score=keras.metrics.SparseCategoricalAccuracy()).validation.score(Y, np.eye(3)[Y]) == 1.0
