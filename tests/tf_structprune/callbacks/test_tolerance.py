"""Tolerance, patience and rollback, with scores that are known beforehand.

`fit` looks at the score in this order: baseline, then for each pruning step its one candidate and
the end of each epoch, then the end of training.
"""

import keras
import numpy as np
import pytest

import tf_structprune as sp


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


class Snapshots:
    """Weights before fit and after each epoch."""

    def __init__(self):
        self.all = []

    def take(self, model):
        self.all.append(model.get_weights())


def test_impossible_tolerance_restores_weights_and_masks(run, scores):
    kept = Snapshots()
    masked, callback, history = run(score=scores(1.0, 0.0), tolerance=0.0, patience=2, before=kept.take)
    assert equal(masked.get_weights(), kept.all[0])
    assert history["prune_sparsity"][0] >= 0.5  # epoch 0 was pruned, epoch 1 rolled back
    assert history["prune_sparsity"][1:] == [0.0, 0.0]
    assert history["prune_accepted"] == [0.0, 0.0, 0.0]
    (report,) = callback.reports
    assert (report.accepted, report.score_before, report.score_after) == (False, 0.0, 0.0)


def test_state_that_is_not_accepted_is_rolled_back_at_the_end(run, scores):
    kept = Snapshots()
    masked, callback, _ = run(score=scores(1.0, 0.0), tolerance=0.5, patience=9, before=kept.take)
    assert equal(masked.get_weights(), kept.all[0])
    assert [report.accepted for report in callback.reports] == [False]


def test_training_that_blows_up_is_rolled_back_whatever_the_tolerance(run):
    """`argmax` of NaN is class 0, which is right now and then: such a model is within no tolerance."""
    kept = Snapshots()

    def blow_up(masked):
        kept.take(masked)
        masked.compile(keras.optimizers.SGD(1e30), "sparse_categorical_crossentropy", run_eagerly=True)

    masked, callback, history = run(tolerance=1.0, epochs=2, before=blow_up)
    assert history["prune_val_score"] == [-np.inf] * 2
    assert [(report.accepted, report.interval) for report in callback.reports] == [(False, None)]
    assert equal(masked.get_weights(), kept.all[0])


def test_score_at_the_tolerance_is_accepted(run, scores):
    masked, callback, history = run(score=scores(0.9, 0.5, 0.89), tolerance=0.01, epochs=1)
    assert [(r.accepted, r.score_before, r.score_after) for r in callback.reports] == [(True, 0.5, 0.89)]
    assert history["prune_accepted"] == [1.0]
    assert history["prune_val_score"] == [0.89]
    assert sp.sparsity_of(sp.trace(masked), sp.get_masks(masked)) >= 0.5


def test_score_below_the_tolerance_is_not_accepted(run, scores):
    _, callback, history = run(score=scores(0.9, 0.5, 0.8899), tolerance=0.01, epochs=1)
    assert [report.accepted for report in callback.reports] == [False]
    assert history["prune_accepted"] == [0.0]


@pytest.mark.parametrize("patience, accepted", [(2, False), (3, True)])
def test_patience_is_the_epochs_a_step_may_take(run, scores, patience, accepted):
    _, callback, history = run(score=scores(1.0, 0.0, 0.0, 0.0, 1.0), tolerance=0.0, patience=patience, epochs=3)
    assert [report.accepted for report in callback.reports] == [accepted]
    assert history["prune_stage"] == ([0.0, 0.0, 1.0] if accepted else [0.0, 1.0, 1.0])


def test_retrain_epochs_delay_the_next_step(run):
    _, callback, history = run(granularity=("feature_map", "kernel"), retrain_epochs=2, epochs=4)
    assert history["prune_stage"] == [0.0, 1.0, 1.0, 2.0]
    assert len(callback.reports) == 2


def test_step_is_not_given_up_before_its_retrain_epochs(run, scores):
    """However short the patience: it comes back in the last of them."""
    score = scores(1.0, 0.0, 0.0, 0.0, 1.0)
    _, callback, history = run(score=score, tolerance=0.0, patience=1, retrain_epochs=3, epochs=3)
    assert [report.accepted for report in callback.reports] == [True]
    assert history["prune_sparsity"][0] == history["prune_sparsity"][2] >= 0.5
    assert history["prune_stage"] == [0.0, 0.0, 1.0]


def test_step_is_not_accepted_before_its_retrain_epochs(run, scores):
    """Within the tolerance at first, it falls out of it while it is retrained, and is judged by that."""
    score = scores(1.0, 0.0, 1.0, 0.0, 0.0)
    _, callback, history = run(score=score, tolerance=0.0, patience=1, retrain_epochs=2, epochs=2)
    assert [report.accepted for report in callback.reports] == [False]
    assert history["prune_accepted"] == [1.0, 0.0]


def test_stage_given_up_keeps_the_earlier_one(run, scores):
    # baseline; step 1: candidate, epoch; step 2: candidate, epoch; end
    score = scores(1.0, 0.0, 1.0, 0.0, 0.0, 1.0)
    masked, callback, history = run(
        granularity=("feature_map", "kernel"), score=score, tolerance=0.0, patience=1, epochs=2
    )
    assert [(r.granularity, r.accepted) for r in callback.reports] == [("feature_map", True), ("kernel", False)]
    assert history["prune_sparsity"][1] == history["prune_sparsity"][0] > 0
    assert all(mask.all() for mask in sp.get_masks(masked).kernel.values())


def test_gradual_schedule_stops_where_the_tolerance_breaks(run, scores):
    score = scores(1.0, 0.0, 1.0, 0.0, 0.0, 1.0)  # the first step is accepted, the second is not
    _, callback, history = run(
        granularity="kernel", schedule=sp.schedule.Gradual(4, power=1), score=score, tolerance=0.0, patience=1, epochs=4
    )
    assert [report.accepted for report in callback.reports] == [True, False]
    assert history["prune_sparsity"] == [history["prune_sparsity"][0]] * 4
    assert history["prune_stage"] == [0.0, 1.0, 1.0, 1.0]


def test_best_candidate_is_the_one_that_is_set(run, scores):
    seen = []

    def prefer_the_third(y_true, y_pred):
        seen.append(len(seen))
        return 1.0 if len(seen) == 4 else 0.0  # after the baseline: the third candidate

    _, callback, _ = run(search=sp.search.BestOfN(5), score=prefer_the_third, epochs=1)
    assert callback.reports[0].score_before == 1.0


def test_rollback_is_told(run, scores, caplog):
    caplog.set_level("WARNING", logger="absl")
    run(score=scores(1.0, 0.0), tolerance=0.25, patience=1, epochs=1)
    assert "Validation score 0.0000 is more than 0.2500 below the 1.0000 before pruning: rolled back" in caplog.text
