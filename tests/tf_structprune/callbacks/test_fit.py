"""The callback inside real `fit` runs."""

import csv

import keras
import numpy as np
import pytest
import ray

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.callbacks.conftest import defaults
from tf_structprune.graph import _trace
from tf_structprune.masks import GRANULARITIES
from tf_structprune.scoring import LocalExecutor
from tf_structprune.task import divergence

FIGURES = ("prune_sparsity", "prune_val_score", "prune_accepted", "prune_stage")


def sparsity_in(masked):
    return sp.sparsity_of(sp.trace(masked), sp.get_masks(masked))


def removed_weights(masked):
    plain = sp.unwrap(masked)
    return sum(int((layer.get_weights()[0] == 0).sum()) for layer in plain.layers if layer.weights)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_fit_prunes_to_the_sparsity(run, granularity):
    masked, callback, history = run(granularity=granularity, eager=False)
    assert 0.5 <= sparsity_in(masked) < 0.7
    assert history["prune_sparsity"] == [sparsity_in(masked)] * 3
    assert removed_weights(masked) > 0
    (report,) = callback.reports
    assert (report.granularity, report.search, report.accepted) == (granularity, "RandomMask", True)
    assert report.sparsity == sparsity_in(masked)


def test_several_granularities_take_turns(run):
    masked, callback, history = run(granularity=GRANULARITIES, sparsity=0.7, epochs=5, eager=False)
    assert [report.granularity for report in callback.reports] == list(GRANULARITIES)
    assert [report.sparsity for report in callback.reports] == history["prune_sparsity"][:4]
    assert history["prune_sparsity"] == sorted(history["prune_sparsity"])
    assert history["prune_stage"] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert 0.7 <= sparsity_in(masked) < 0.8
    masks = sp.get_masks(masked)
    assert all(any(not m.all() for m in masks.of(kind).values()) for kind in ("feature_map", "kernel", "weight"))
    assert any((m[:, 0] > 1).any() for m in masks.intra_kernel.values())


def test_mapping_gives_each_granularity_its_own_share(run):
    shares = {"kernel": 0.5, "feature_map": 0.2}
    _, _, history = run(granularity=tuple(shares), sparsity=shares)
    assert 0.5 <= history["prune_sparsity"][0] < 0.55
    assert history["prune_sparsity"][1] == pytest.approx(0.6, abs=0.05)  # under kernel masks an average


def test_figures_are_in_history_and_csv(run, tmp_path):
    _, _, history = run(others=[keras.callbacks.CSVLogger(tmp_path / "log.csv")])
    assert all(len(history[figure]) == 3 for figure in FIGURES)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for figure in FIGURES:
        assert [float(row[figure]) for row in rows] == pytest.approx(history[figure])


def test_gradual_schedule_grows_the_sparsity(run):
    masked, callback, history = run(granularity="kernel", schedule=sp.schedule.Gradual(epochs=3, power=1), epochs=4)
    assert history["prune_sparsity"] == pytest.approx([0.5 / 3, 1 / 3, 0.5, 0.5], abs=0.04)
    assert history["prune_stage"] == [0.0, 0.0, 1.0, 1.0]
    assert [report.accepted for report in callback.reports] == [True] * 3


def test_later_begin_leaves_the_first_epochs_alone(run):
    _, _, history = run(schedule=sp.schedule.OneShot(begin_epoch=2))
    assert history["prune_sparsity"][:2] == [0.0, 0.0]
    assert history["prune_sparsity"][2] >= 0.5


def test_plain_callable_is_a_schedule(run):
    _, _, history = run(sparsity=None, schedule=lambda step: (True, 0.25 if step < 4 else 0.5), granularity="kernel")
    assert history["prune_sparsity"] == pytest.approx([0.25, 0.25, 0.5], abs=0.04)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_fit_prunes_under_mixed_precision(run, policy):
    keras.config.set_dtype_policy(policy)
    try:
        masked, _, history = run("batch_norm_chain", eager=False)
    finally:
        keras.config.set_dtype_policy("float32")
    assert masked.get_layer("b").compute_dtype == policy.removeprefix("mixed_")
    assert history["prune_sparsity"][-1] == sparsity_in(masked) >= 0.5
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("name", ["residual_twice", "batch_norm_behind_flatten", "sequential"])
def test_fit_prunes_other_topologies(run, name):
    masked, _, _ = run(name, granularity=("feature_map", "kernel"), epochs=2)
    assert sparsity_in(masked) >= 0.5
    assert zoo.largest_difference(masked, sp.unwrap(masked), zoo.batch()) < 1e-5


@pytest.mark.every(2)
@pytest.mark.parametrize("name", sorted({*sp.search.SEARCHES} - {"normalization_scale"}))  # the model has none
def test_every_search_runs_in_fit(run, name):
    small = {"best_of_n": {"candidates": 3}, "particle_filter": {"particles": 2, "generations": 2}}
    small["evolutionary"] = {**small["particle_filter"], "elites": 1}
    masked, callback, _ = run(search=sp.search.SEARCHES[name](**small.get(name, {})), epochs=1)
    assert callback.reports[0].search == sp.search.SEARCHES[name].__name__
    assert sparsity_in(masked) >= 0.5


def test_same_seed_gives_the_same_masks(run):
    first, again, other = (sp.get_masks(run(epochs=1, granularity="kernel", seed=seed)[0]) for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_checkpoint_holds_the_masks(run, tmp_path):
    path = tmp_path / "best.keras"
    checkpoint = keras.callbacks.ModelCheckpoint(path, monitor="prune_sparsity", mode="max", save_best_only=True)
    masked, _, _ = run(granularity=GRANULARITIES, others=[checkpoint], eager=False)
    loaded = keras.models.load_model(path)
    assert sp.get_masks(loaded).equals(sp.get_masks(masked))
    assert sparsity_in(loaded) == sparsity_in(masked) >= 0.5


def test_early_stopping_sees_the_figures(run):
    stop = keras.callbacks.EarlyStopping(monitor="prune_stage", mode="max", patience=1)
    masked, callback, history = run(others=[stop], epochs=9)
    assert len(history["loss"]) == 2
    assert callback.reports[0].accepted
    assert sparsity_in(masked) >= 0.5


def test_one_callback_serves_two_fits(data):
    x, y = data
    settings = {"validation_data": data, "search": sp.search.RandomMask(), "tolerance": 1.0, "verbose": 0}
    callback = sp.StructuredPruning(sparsity=0.5, **settings)
    found = []
    for name in ("chain", "residual_twice"):
        masked = sp.wrap(zoo.build(name))
        masked.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
        masked.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        found.append(sparsity_in(masked))
        assert len(callback.reports) == 1
        assert callback.reports[0].sparsity == found[-1] >= 0.5
    masked.fit(x, y, epochs=2, verbose=0, callbacks=[callback])  # the sparsity is there already
    assert callback.reports == ()
    assert sparsity_in(masked) == found[-1]


class Asked(LocalExecutor):
    """This process, and how often it was asked for."""

    times = 0

    def bench(self, *given, **settings):
        self.times += 1
        return super().bench(*given, **settings)


def test_candidates_run_where_the_executor_says(run):
    executor = Asked()
    run(epochs=1, search=sp.search.BestOfN(2), executor=executor)
    assert executor.times == 1


@pytest.mark.sweep  # scores of Ray in the gate: cluster/test_ray.py
def test_ray_finds_the_masks_that_are_found_here(run):
    """Ray is started for the search, and nothing of it is left behind."""
    searching = {"epochs": 1, "search": sp.search.BestOfN(4), "batch_size": 16}
    keras.utils.set_random_seed(0)
    here, local, _ = run(**searching)
    keras.utils.set_random_seed(0)
    there, remote, _ = run(**searching, executor=sp.RayExecutor(workers=1))
    assert sp.get_masks(there).equals(sp.get_masks(here))
    assert remote.reports == local.reports
    assert not ray.is_initialized()


class Counted:
    """A selector that counts its rounds."""

    measure = ""

    def __init__(self, search):
        self.search, self.init, self.propose, self.rounds = search, search.init, search.propose, 0

    def update(self, *arguments):
        self.rounds += 1
        return self.search.update(*arguments)


@pytest.mark.parametrize("early_stop, rounds", [(False, 3), (True, 1)], ids=["the best", "the first within"])
def test_early_stop_ends_a_search_within_the_tolerance(run, early_stop, rounds):
    search = Counted(sp.search.ParticleFilter(particles=2, generations=3))
    run(epochs=1, search=search, early_stop=early_stop)
    assert search.rounds == rounds


def test_early_stop_goes_on_as_long_as_nothing_is_within_the_tolerance(run, scores):
    search = Counted(sp.search.ParticleFilter(particles=2, generations=3))
    run(epochs=1, search=search, early_stop=True, score=scores(1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0), tolerance=0.1)
    assert search.rounds == 3


def test_every_candidate_is_scored_on_all_samples_without_racing(run):
    """With it, those that fall behind are not."""
    x, candidates = zoo.batch(600), 8
    scored = {}
    for racing in (True, False):
        seen = []

        def first_output(y_true, y_pred, seen=seen):
            seen.append(len(y_pred))
            return y_pred[:, 0]

        score = sp.SampleScore(first_output)
        search = sp.search.BestOfN(candidates)
        run(epochs=1, search=search, racing=racing, score=score, validation_data=(x, np.zeros(600)), tolerance=100.0)
        scored[racing] = sum(seen) - 3 * 600  # of the model before, after and in the end
    assert scored[False] == candidates * 600
    assert scored[True] < scored[False]


def test_labels_are_not_needed(run, data):
    """The outputs before pruning are the targets, also of a second `fit`."""
    x, _ = data
    dense = []
    settings = {"validation_data": (x, None), "score": "kl", "tolerance": 100.0}
    masked, callback, history = run(before=lambda model: dense.extend(zoo.outputs_of(model, x)), **settings)
    np.testing.assert_allclose(callback.judge.validation.y, dense[0], atol=1e-6)
    assert callback.reports[0].score_before < 0
    assert history["prune_sparsity"][-1] >= 0.5
    assert history["prune_val_score"][-1] == pytest.approx(-divergence(dense[0], zoo.outputs_of(masked, x)[0]).mean())
    now = zoo.outputs_of(masked, x)[0]
    masked.fit(x, data[1], epochs=1, verbose=0, callbacks=[callback])
    np.testing.assert_allclose(callback.judge.validation.y, now, atol=1e-6)


def test_several_outputs_are_judged_together(data):
    x, y = data
    masked = sp.wrap(zoo.build("two_outputs"))
    losses = ["sparse_categorical_crossentropy"] * len(masked.outputs)
    masked.compile("sgd", losses, run_eagerly=True)
    targets = [y % output.shape[-1] for output in masked.outputs]
    callback = sp.StructuredPruning(
        **{**defaults(data), "validation_data": (x, targets), "score": losses, "tolerance": 100.0}
    )
    masked.fit(x, targets, epochs=1, verbose=0, callbacks=[callback])
    (report,) = callback.reports
    assert report.accepted
    pairs = zip(targets, zoo.outputs_of(masked, x), strict=True)
    expected = -np.mean([keras.losses.get(losses[0])(*pair) for pair in pairs])
    assert report.score_after == pytest.approx(expected, rel=1e-4)


def two_inputs_two_outputs():
    """A masked model that takes and gives tensors by name, and data for it."""
    inputs = {name: keras.Input((8, 8, 1), name=name) for name in ("left", "right")}
    x = keras.layers.Concatenate()(list(inputs.values()))
    x = keras.layers.Conv2D(6, 3, name="body")(keras.layers.Conv2D(4, 3, name="stem")(x))
    x = keras.layers.Flatten()(x)
    outputs = [keras.layers.Dense(1, name=name)(x) for name in ("angle", "throttle")]
    masked = sp.wrap(keras.Model(inputs, outputs, name="car"))
    masked.compile("sgd", ["mse", "mae"], run_eagerly=True)
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(12, 8, 8, 1)).astype("float32") for name in inputs}
    return masked, x, {name: rng.normal(size=(12, 1)).astype("float32") for name in ("throttle", "angle")}


SCORES = [["mse", "mae"], ["mse", None]]


@pytest.mark.every(2)
@pytest.mark.parametrize("search", [sp.search.BestOfN(3), sp.search.ActivationVote()], ids=["scores", "votes"])
@pytest.mark.parametrize("score", SCORES, ids=["both outputs", "one output"])
def test_targets_and_inputs_by_name_are_those_in_order(search, score):
    found = []
    for order in (dict, lambda named: [named[name] for name in ("angle", "throttle")]):
        masked, x, y = two_inputs_two_outputs()
        masked.set_weights([np.full_like(w, 0.1) if w.dtype == np.float32 else w for w in masked.get_weights()])
        given = {"validation_data": (x, order(y)), "score": score, "search": search}
        callback = sp.StructuredPruning(sparsity=0.4, tolerance=9.0, verbose=0, **given)
        masked.fit(x, order(y), epochs=1, shuffle=False, verbose=0, callbacks=[callback])
        found.append((callback.reports[0].score_before, sp.get_masks(masked)))
    assert found[0][0] == found[1][0] and found[0][1].equals(found[1][1])


def test_one_score_for_two_outputs_is_refused_by_name():
    masked, x, y = two_inputs_two_outputs()
    callback = sp.StructuredPruning(validation_data=(x, y), sparsity=0.4, verbose=0)
    with pytest.raises(ValueError, match=r"'car' has 2 outputs.*score=\[\.\.\.\] with one for each of angle, throttle"):
        masked.fit(x, y, verbose=0, callbacks=[callback])


def test_student_of_a_distiller_is_pruned(data):
    teacher, student = zoo.build("chain"), sp.wrap(zoo.build("batch_norm_chain"))
    loss = keras.distillation.LogitsDistillation(temperature=2.0)
    distiller = keras.distillation.Distiller(teacher, student, loss, student_loss_weight=0.5)
    distiller.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    callback = sp.StructuredPruning(**defaults(data))
    history = distiller.fit(*data, epochs=1, verbose=0, callbacks=[callback]).history
    masks = sp.get_masks(student)
    assert sp.sparsity_of(sp.trace(student), masks) == history["prune_sparsity"][-1] >= 0.5


def test_student_of_a_distiller_that_got_worse_is_rolled_back(data, scores):
    teacher, student = zoo.build("chain"), sp.wrap(zoo.build("batch_norm_chain"))
    before, loss = student.get_weights(), keras.distillation.LogitsDistillation(temperature=2.0)
    distiller = keras.distillation.Distiller(teacher, student, loss, student_loss_weight=0.5)
    distiller.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    settings = {"tolerance": 0.01, "score": scores(1.0, 0.0)}
    distiller.fit(*data, epochs=1, verbose=0, callbacks=[sp.StructuredPruning(**{**defaults(data), **settings})])
    assert all(np.array_equal(old, new) for old, new in zip(before, student.get_weights(), strict=True))


def test_model_is_traced_once_a_fit(run, monkeypatch):
    traced = []
    graph_of = _trace._graph
    monkeypatch.setattr(_trace, "_graph", lambda *given: traced.append(given) or graph_of(*given))
    run(search=sp.search.BestOfN(3), granularity=("feature_map", "kernel"), epochs=4)
    assert len(traced) == 2  # when the test's fixture wraps the model, and when training begins


def test_a_step_is_traced_as_often_as_with_an_optimizer_that_is_built(data):
    """TensorFlow traces a step that makes variables twice."""

    def traces(built):
        seen = []

        def loss(y_true, y_pred):
            seen.append(y_pred)
            return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

        masked = sp.wrap(zoo.build("chain"))
        masked.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
        if built:
            masked.optimizer.build(masked.trainable_variables)
        masked.fit(*data, batch_size=24, verbose=0, callbacks=[sp.StructuredPruning(**defaults(data))])
        return len(seen)

    assert traces(False) == traces(True)
