"""ADMM inside `fit`: segments, masks, partial models, what is left, resume."""

import math

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.callbacks.stops import Killed, Stop
from tf_structprune.callbacks import ADMMReport
from tf_structprune.callbacks._partial import GIVEN, Model, Partials, segments_of
from tf_structprune.fixed_point import WeightGrid
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import WEIGHT, Weight

QUICK = {"admm_epochs": 2, "retrain_epochs": 1, "granularity": Weight(across="model")}


def masked_model(granularity=WEIGHT, name="chain", seed=0):
    masked = sp.wrap(zoo.build(name, seed=seed), granularity=granularity, admm=True)
    masked.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", jit_compile=False)
    return masked


def fitted(callback, data, masked=None, others=(), epochs=None):
    masked = masked_model() if masked is None else masked
    count = callback.epochs if epochs is None else epochs
    done = masked.fit(*data, batch_size=12, epochs=count, verbose=0, shuffle=False, callbacks=[callback, *others])
    return masked, done.history


def test_sparsities_are_reached_one_from_the_other(data):
    callback = sp.ADMM((0.5, 0.8), **QUICK)
    masked, history = fitted(callback, data)
    assert MaskedModel(masked).sparsity == pytest.approx(0.8, abs=0.02)
    assert [round(report.sparsity, 1) for report in callback.reports] == [0.5, 0.8]
    assert [round(report.source, 1) for report in callback.reports] == [0.0, 0.5]
    assert [round(each, 1) for each in history["admm_sparsity"]] == [0, 0.5, 0.5, 0.5, 0.8, 0.8]
    assert [math.isnan(each) for each in history["admm_distance"]] == [False, False, True] * 2
    assert not any(float(loss) for loss in masked.losses)


def test_pull_brings_weights_nearer_to_the_masks_than_training_does(data):
    """Against the same training without a pull."""
    ends = {}
    for rho in (0.0, 0.5):
        callback = sp.ADMM(0.7, admm_epochs=6, retrain_epochs=0, rho=rho)
        fitted(callback, data)
        ends[rho] = callback.reports[-1].distance
    assert ends[0.5] < 0.8 * ends[0.0]


@pytest.mark.parametrize("granularity", ["feature_map", "kernel"])
def test_structured_pruning_shrinks(data, granularity):
    callback = sp.ADMM(0.4, admm_epochs=1, retrain_epochs=1, granularity=granularity)
    masked, _ = fitted(callback, data, masked_model(granularity))
    assert MaskedModel(masked).sparsity >= 0.4
    assert (sp.unwrap(masked).count_params() > 0) and zoo.largest_difference(masked, sp.unwrap(masked), data[0]) < 1e-5


def test_grid_holds_at_the_end(data):
    callback = sp.ADMM(0.5, admm_epochs=2, retrain_epochs=0, grid=WeightGrid(3))
    masked, _ = fitted(callback, data)
    for name in MaskedModel(masked).masks.weight:
        assert len(np.unique(sp.unwrap(masked).get_layer(name).get_weights()[0])) <= 7


def test_rates_fall_in_each_phase_anew(data):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 0:
                seen.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    fitted(sp.ADMM(0.5, admm_epochs=2, retrain_epochs=2, rates=(0.01, 0.002)), data, others=[Watch()], epochs=6)
    np.testing.assert_allclose(seen, [0.01, 0.005, 0.002, 0.001, 0.002, 0.001], rtol=1e-5)


def test_segments_are_those_of_the_paper():
    found = [(each.round, each.sparsity, each.source, each.last) for each in segments_of((0.5, 0.6, 0.7), 2)]
    assert found == [(0, 0.5, GIVEN, True), (1, 0.6, GIVEN, True), (2, 0.7, 0, False), (2, 0.7, 1, True)]


@pytest.mark.parametrize("scores, place", [((0.3, 0.2), 0), ((0.2, 0.3), 1)])
def test_best_of_a_round_takes_the_place_of_its_source(scores, place):
    run = Partials(Model(0.0, 0.0, True))
    segments = segments_of((0.5, 0.6, 0.7), 2)
    made = [Model(0.5, 0.1, True), Model(0.6, 0.1, True), *(Model(0.7, score, True) for score in scores)]
    for segment, model in zip(segments, made, strict=True):
        run.take(segment, model, ADMMReport(model.sparsity, 0.0, model.score, 0.0, True))
    assert run.kept[place] is made[2 + place] and run.kept[1 - place] is made[1 - place]
    assert run.reached is made[2 + place] and run.best is None


def test_progressive_run_leaves_the_best_of_the_last_round(data):
    callback = sp.ADMM((0.3, 0.5, 0.7), partials=2, validation_data=data, **QUICK)
    masked, _ = fitted(callback, data)
    assert callback.epochs == 4 * 3 and len(callback.reports) == 4
    last = callback.reports[2:]
    assert {round(report.source, 1) for report in last} == {0.3, 0.5}
    score = -np.mean(masked.predict(data[0], verbose=0).argmax(-1) != data[1])
    assert score == pytest.approx(max(report.score for report in last))
    assert MaskedModel(masked).sparsity == pytest.approx(0.7, abs=0.02)


def test_sparsity_that_costs_too_much_is_taken_back(data, scores):
    callback = sp.ADMM((0.5, 0.9), validation_data=data, score=scores(-0.1, -0.12, -0.4), tolerance=0.05, **QUICK)
    masked, _ = fitted(callback, data)
    assert [report.accepted for report in callback.reports] == [True, False]
    assert MaskedModel(masked).sparsity == pytest.approx(0.5, abs=0.02)


def test_nothing_accepted_leaves_the_given_model(data, scores):
    masked = masked_model()
    before = sp.unwrap(masked).get_weights()
    callback = sp.ADMM(0.9, validation_data=data, score=scores(-0.1, -0.4), tolerance=0.05, **QUICK)
    fitted(callback, data, masked)
    for one, other in zip(before, sp.unwrap(masked).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(float(loss) for loss in masked.losses)


def test_further_epochs_retrain_with_the_masks(data):
    callback = sp.ADMM(0.5, **QUICK)
    masked, history = fitted(callback, data, epochs=5)
    assert len(history["loss"]) == 5 and MaskedModel(masked).sparsity == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("epoch", [1, 2, 5, 9, 11])
def test_killed_run_ends_as_the_whole_one(data, tmp_path, epoch):
    def run(folder, *others):
        callback = sp.ADMM((0.3, 0.5, 0.7), partials=2, validation_data=data, state_dir=folder / "state", **QUICK)
        return callback, fitted(callback, data, others=[keras.callbacks.BackupAndRestore(folder / "backup"), *others])[
            0
        ]

    wanted, whole = run(tmp_path / "whole")
    with pytest.raises(Killed):
        run(tmp_path / "killed", Stop(epoch))
    found, again = run(tmp_path / "killed")
    assert found.reports == wanted.reports
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not (tmp_path / "killed" / "state").exists()


def test_state_of_another_run_is_refused(data, tmp_path):
    both = [keras.callbacks.BackupAndRestore(tmp_path / "backup"), Stop(2)]
    with pytest.raises(Killed):
        fitted(sp.ADMM(0.5, state_dir=tmp_path / "state", **QUICK), data, others=both)
    with pytest.raises(ValueError, match="sparsities"):
        fitted(sp.ADMM(0.6, state_dir=tmp_path / "state", **QUICK), data, others=both[:1])


REFUSED = {
    "sparsity of 1": (lambda: sp.ADMM(1.0), r"ADMM: sparsity must be in \[0, 1\)"),
    "no sparsity": (lambda: sp.ADMM(()), "sparsities must rise from round to round. Received: "),
    "falling": (lambda: sp.ADMM((0.5, 0.4)), r"must rise from round to round\. Received: \[0\.5, 0\.4\]"),
    "no epochs": (lambda: sp.ADMM(0.5, admm_epochs=0), "admm_epochs must be at least 1. Received: admm_epochs=0"),
    "negative rho": (lambda: sp.ADMM(0.5, rho=-1.0), "rho must be 0 or more. Received: rho=-1.0"),
    "nan for rho": (lambda: sp.ADMM(0.5, rho={"a": math.nan}), "rho must be 0 or more. Received: rho={'a': nan}"),
    "one rate": (lambda: sp.ADMM(0.5, rates=(0.1,)), r"rates must be two numbers above 0\. Received: rates=\(0\.1,\)"),
    "nan for a rate": (lambda: sp.ADMM(0.5, rates=(0.1, math.nan)), "rates must be two numbers above 0"),
    "negative tolerance": (lambda: sp.ADMM(0.5, tolerance=-0.1), "tolerance must be at least 0"),
    "retraining on a grid": (lambda: sp.ADMM(0.5, grid=WeightGrid(3)), "would leave it in retraining. Received: grid="),
    "choice without scores": (lambda: sp.ADMM(0.5, partials=2), "chosen by their scores. Received: partials=2 and"),
    "tolerance without scores": (lambda: sp.ADMM(0.5, tolerance=0.1), "Received: partials=1 and tolerance=0.1 without"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_setting_that_makes_no_sense_is_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_fit_that_does_not_suit_is_refused(data):
    with pytest.raises(ValueError, match=r"1 segments of 2 \+ 1 epochs take 3\. Received: fit\(epochs=2\)"):
        fitted(sp.ADMM(0.5, **QUICK), data, epochs=2)
    falling = masked_model()
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 10)
    falling.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="The optimizer has a schedule of its own. Received: rates="):
        fitted(sp.ADMM(0.5, rates=(0.1, 0.1), **QUICK), data, falling)
    taught = keras.distillation.Distiller(
        zoo.build("chain"), masked_model(), distillation_losses=keras.distillation.LogitsDistillation()
    )
    taught.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="The pull of ADMM is a regularizer, and Keras's Distiller leaves"):
        fitted(sp.ADMM(0.5, **QUICK), data, taught)
