"""Scores of Ray workers are those of this process, also when workers die."""

import os
import signal

import keras
import numpy as np
import pytest
import ray

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.scoring.test_scorer import candidates_of
from tf_structprune.cluster import RayExecutor, as_executor
from tf_structprune.cluster._ray import parts_of_batch
from tf_structprune.cluster._worker import Cargo, pack, unpack
from tf_structprune.masks import FEATURE_MAP, INTRA_KERNEL
from tf_structprune.scoring import Scorer
from tf_structprune.task import SampleScore, as_score, check_validation

LOSS = "sparse_categorical_crossentropy"
BATCH = 16
DRIVER = os.getpid()


@pytest.fixture(scope="module")
def cluster():
    """Two cores; Ray is there before the executors and stays behind them."""
    eager = {"worker_niceness": 0}  # by default they give way to all else that runs, and this process waits for them
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, _system_config=eager)
    yield ray
    assert ray.is_initialized()
    ray.shutdown()


def data_for(masked, samples=100):
    """The last batch is a small one, and worker 2 has fewer parts of batches than worker 1."""
    x = zoo.batch(samples)
    targets = [np.arange(samples) % outputs.shape[-1] for outputs in zoo.outputs_of(masked, x)]
    return x, targets[0] if len(targets) == 1 else targets


def scorer_of(masked, data, executor, *, score=LOSS, racing=False):
    validation = check_validation(data, as_score(score), BATCH, masked)
    return Scorer(masked, validation, racing=racing, batch_size=BATCH, executor=as_executor(executor))


def check_equal(found, expected):
    np.testing.assert_allclose(found.values, expected.values, atol=1e-6, rtol=0)
    assert found.best == expected.best
    assert found.samples.tolist() == expected.samples.tolist()


@pytest.mark.sweep
def test_rounds_of_a_race_are_those_of_one_process(cluster):
    """On top of masks that are in; the second round meets networks of the first."""
    masked = sp.wrap(zoo.build("batch_norm_chain"))
    sp.set_masks(masked, candidates_of(masked, "feature_map", 1, 0.1)[0])
    rounds = [candidates_of(masked, kind, 8, 0.5, seed) for seed, kind in enumerate((FEATURE_MAP, INTRA_KERNEL))]
    data = data_for(masked, 200)
    local, remote = (scorer_of(masked, data, executor, racing=True) for executor in ("local", "ray"))
    raced = [remote.score(candidates) for candidates in rounds]
    remote.close()
    for found, candidates in zip(raced, rounds, strict=True):
        check_equal(found, local.score(candidates))
    assert min(found.samples.min() for found in raced) < 200


def own_layer_model():
    class Twice(keras.layers.Layer):
        """A layer of the user's own that no worker can import."""

        def call(self, inputs):
            return 2 * inputs

    sp.register_rule(Twice, sp.LayerRule(sp.Flow.FOLLOW))
    inputs = keras.Input((8, 8, 2))
    value = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    value = Twice()(keras.layers.Conv2D(6, 3)(value))
    value = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3)(value))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(value))


@pytest.mark.parametrize(
    "build, labels, score",
    [
        pytest.param(lambda: zoo.build("chain"), False, "kl", id="no_labels", marks=pytest.mark.sweep),
        pytest.param(lambda: zoo.build("two_outputs"), True, [LOSS, LOSS], id="two_outputs", marks=pytest.mark.sweep),
        pytest.param(
            lambda: zoo.build("two_outputs"),
            True,
            [keras.metrics.SparseCategoricalCrossentropy(), None],
            id="metric_of_whole_outputs",
            marks=pytest.mark.sweep,
        ),
        pytest.param(
            own_layer_model,
            True,
            SampleScore(lambda y, p: -np.square(p[:, 0] - y)),
            id="own_layer_and_score",
            marks=pytest.mark.sweep,
        ),
    ],
)
def test_scores_are_those_of_one_process(cluster, build, labels, score):
    masked = sp.wrap(build())
    candidates = candidates_of(masked, "kernel", 5)
    x, y = data_for(masked)
    settings = {"data": (x, y if labels else None), "score": score, "batch_size": BATCH}
    found = sp.score(masked, candidates, executor=RayExecutor(workers=1), **settings)
    check_equal(found, sp.score(masked, candidates, **settings))
    assert len(set(found.values.tolist())) > 1


def with_lambda(function):
    inputs = keras.Input((8, 8, 2))
    value = keras.layers.Lambda(function, output_shape=(8, 8, 2), name="own")(inputs)
    value = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(6, 3)(value)))
    return keras.Model(inputs, keras.layers.Dense(3)(value))


def test_workers_load_in_safe_mode(tmp_path):
    """A nameless function is code; `wrap` lets none pass, so this cargo is one that `pack` did not make."""
    with_lambda(lambda x: x * 2).save(tmp_path / "model.keras")
    cargo = Cargo((tmp_path / "model.keras").read_bytes(), {}, {}, as_score("mcr"), 8)
    with pytest.raises(ValueError, match="deserialization of a `Lambda` layer"):
        unpack(cargo)


@keras.saving.register_keras_serializable(package="test_ray")
def doubled(x):
    return x * 2


def test_function_with_a_name_travels():
    masked = sp.wrap(with_lambda(doubled))
    again = unpack(pack(masked, as_score("mcr"), 8))
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(again.predict(x, verbose=0), masked.predict(x, verbose=0), atol=1e-6)


class Remembering:
    """Ray, and the benches that it was asked for."""

    def __init__(self):
        self.made = []

    def bench(self, *args, **kwargs):
        self.made.append(RayExecutor(workers=1).bench(*args, **kwargs))
        return self.made[-1]


@pytest.mark.sweep
def test_allocation_is_that_of_one_process(cluster):
    masked = sp.wrap(zoo.build("chain"))
    settings = {"validation_data": data_for(masked), "score": LOSS, "levels": 2}
    executor = Remembering()
    found = sp.allocate(masked, sp.Budget("macs", 0.5), executor=executor, **settings)
    expected = sp.allocate(masked, sp.Budget("macs", 0.5), **settings)
    assert found.kept == expected.kept
    assert found.score == pytest.approx(expected.score)
    (bench,) = executor.made
    with pytest.raises(RuntimeError, match=r"The workers are gone\. Received: a call after close"):
        _ = bench.workers


@pytest.mark.parametrize(
    "batch_size, workers, parts", [(128, 1, 1), (128, 2, 2), (128, 3, 2), (99, 3, 3), (128, 16, 4), (7, 2, 1)]
)
def test_batch_is_divided_evenly(batch_size, workers, parts):
    assert parts_of_batch(batch_size, workers) == parts


def deadly_score(folder, deaths):
    """A loss whose first calls kill the worker that asks for it."""

    def of_samples(y_true, y_pred):
        for death in range(deaths):
            try:
                os.close(os.open(folder / str(death), os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if os.getpid() != DRIVER:
                os.kill(os.getpid(), signal.SIGKILL)
        return -np.square(y_pred - np.eye(y_pred.shape[1])[y_true]).mean(axis=1)

    return SampleScore(of_samples)


def test_worker_that_dies_is_replaced_and_scores_again(cluster, tmp_path):
    """Once in the middle of a call, once between two rounds; the layer and the score are the user's own."""
    masked = sp.wrap(own_layer_model())
    rounds = [candidates_of(masked, "feature_map", 6, 0.4, seed) for seed in (0, 1)]
    data = data_for(masked)
    (tmp_path / "0").touch()
    local = scorer_of(masked, data, "local", score=deadly_score(tmp_path, 1))
    remote = scorer_of(masked, data, RayExecutor(restarts=2), score=deadly_score(tmp_path, 2))
    before = remote._bench.workers[:]
    first = remote.score(rounds[0])
    cluster.kill(remote._bench.workers[1], no_restart=True)
    second = remote.score(rounds[1])
    assert (tmp_path / "1").exists()
    assert remote._bench.workers[1] is not before[1]
    remote.close()
    for found, candidates in zip((first, second), rounds, strict=True):
        check_equal(found, local.score(candidates))
        assert len(set(found.values.tolist())) > 1


@pytest.mark.sweep
def test_worker_that_dies_too_often_is_given_up(cluster, tmp_path):
    masked = sp.wrap(zoo.build("chain"))
    scorer = scorer_of(masked, data_for(masked), RayExecutor(workers=1, restarts=1), score=deadly_score(tmp_path, 9))
    message = r"Ray worker 1 of 1 died again\. Received: 2 deaths with restarts=1, the last one: (?s:.*)Look into Ray's"
    with pytest.raises(RuntimeError, match=message):
        scorer.score(candidates_of(masked, "kernel", 2))
    scorer.close()
    with pytest.raises(RuntimeError, match=r"workers are gone\. Received: a call after close\(\)\. Make a new scorer"):
        scorer.score(candidates_of(masked, "kernel", 2))


@pytest.mark.sweep
def test_error_of_a_score_is_the_users(cluster):
    masked = sp.wrap(zoo.build("chain"))
    score = SampleScore(lambda y, p: np.zeros(3))
    with pytest.raises(ValueError, match=r"A score needs one value for each sample\. Received: shape=\(3,\) for 16"):
        sp.score(
            masked,
            candidates_of(masked, "kernel", 2),
            data=data_for(masked),
            score=score,
            batch_size=BATCH,
            executor=RayExecutor(workers=1),
        )


def test_more_cores_than_there_are_is_refused(cluster):
    masked = sp.wrap(zoo.build("chain"))
    message = r"wait forever for cores\. Received: workers=2, cpus_per_worker=2 on a cluster of 2 CPUs\. Use fewer"
    with pytest.raises(ValueError, match=message):
        sp.score(
            masked,
            candidates_of(masked, "kernel", 2),
            data=data_for(masked),
            score=LOSS,
            executor=RayExecutor(cpus_per_worker=2),
        )


def test_more_cores_a_worker_than_this_machine_has_is_refused(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    message = r"more cores than this machine\. Received: cpus_per_worker=9999 on \d+ cores\. Use fewer, or the address"
    with pytest.raises(ValueError, match=message):
        RayExecutor(workers=1, cpus_per_worker=9999).connect()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"workers": 0}, r"workers must be at least 1\. Received: workers=0\. Use a count"),
        ({"workers": 1.5}, r"workers must be at least 1\. Received: workers=1\.5\. Use a count"),
        ({"cpus_per_worker": 0}, r"cpus_per_worker must be at least 1\. Received: cpus_per_worker=0"),
        ({"restarts": -1}, r"restarts must be at least 0\. Received: restarts=-1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RayExecutor(**settings)


def test_ray_is_needed_only_when_used(monkeypatch):
    masked = sp.wrap(zoo.build("chain"))
    monkeypatch.setattr("tf_structprune.cluster._ray.find_spec", lambda name: None)
    message = (
        r"executor='ray' needs Ray\. Received: an environment without it\. Use pip install 'tf-structprune\[ray\]'"
    )
    with pytest.raises(ImportError, match=message):
        scorer_of(masked, data_for(masked), "ray")
