"""`fit` with masks and fixed-point grids on two devices in step does what it does on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from tests.end_to_end.fit_on_devices import digits
from tests.marks import HANG_SECONDS

ROOT = Path(__file__).parents[2]
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling takes the time
_L = keras.layers


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A trained network with a batch normalization, as a file."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            _L.Conv2D(8, 3, padding="same", activation="relu", name="stem"),
            _L.Conv2D(12, 3, padding="same", use_bias=False, name="wide"),
            _L.BatchNormalization(momentum=0.9, name="norm"),
            _L.ReLU(),
            _L.MaxPooling2D(2),
            _L.Conv2D(12, 3, activation="relu", name="last"),
            _L.Flatten(),
            _L.Dense(10, activation="softmax", name="classifier"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    samples, validation = digits()
    history = model.fit(*samples, epochs=6, verbose=0, validation_data=validation).history
    assert history["val_accuracy"][-1] > 0.85
    file = tmp_path_factory.mktemp("dense") / "dense.keras"
    model.save(file)
    return file


def fitted(backend, way, devices, dense, folder):
    """What `fit_on_devices` finds in float or in fixed point with so many devices."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
    }
    command = [sys.executable, "-m", "tests.end_to_end.fit_on_devices", str(dense), str(devices), str(folder), way]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


# Fixed point trains with masks too.
SELDOM = (("jax", "fixed"), ("tensorflow", "float"), ("jax", "float"))
CASES = [("tensorflow", "fixed"), *(pytest.param(case, marks=pytest.mark.sweep) for case in SELDOM)]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request, dense, tmp_path_factory):
    """The way, and results on one device and on two under `MirroredStrategy` or `DataParallel`."""
    backend, way = request.param
    return way, [fitted(backend, way, devices, dense, tmp_path_factory.mktemp("run")) for devices in (1, 2)]


def test_masks_and_grids_are_those_of_one_device(case):
    way, (alone, together) = case
    assert (alone["devices"], together["devices"]) == ([1], [2])
    assert together["masks"] == alone["masks"]
    assert not all(kept for mask in alone["masks"].values() for kept in _flat(mask))
    assert together["steps"] == alone["steps"]
    assert bool(alone["steps"]) == (way == "fixed")


def test_what_is_pruned_is_zero_on_every_device(case):
    way, results = case
    for result in results:
        for name, counts in result["nonzero"].items():
            kept = result["kept"][name]
            assert all(count == kept if way == "float" else 0 < count <= kept for count in counts), name
        assert result["history"]["prune_sparsity"][-1] >= 0.5


def test_accuracy_is_that_of_one_device(case):
    _, (alone, together) = case
    assert alone["accuracy"] > 0.85
    assert together["accuracy"] == pytest.approx(alone["accuracy"], abs=0.04)
    assert together["history"]["loss"] == pytest.approx(alone["history"]["loss"], rel=0.25)


def test_what_is_saved_is_what_every_device_computes_with(case):
    _, results = case
    for result in results:
        assert result["unlike_saved"] == 0
        assert result["outputs_unlike_saved"] < 1e-6
        assert result["accuracy"] == pytest.approx(result["history"]["prune_val_score"][-1] + 1)


def test_weights_and_signals_are_rounded_on_time(case):
    way, results = case
    weights, signals = ([1.0] * 4, [0.0, 1.0, 1.0, 1.0]) if way == "fixed" else (None, None)
    for result in results:
        assert result["history"].get("fixed_point_weights") == weights
        assert result["history"].get("fixed_point_signals") == signals


def _flat(mask):
    """The values of a nested list."""
    return [value for part in mask for value in _flat(part)] if isinstance(mask, list) else [mask]
