"""tfmot's wrappers are taken off; in a process of their own, as tfmot switches Keras to 2.

Importing tfmot sets TF_USE_LEGACY_KERAS and turns `tf.keras` into tf_keras for the whole process.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import HANG_SECONDS

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_model_optimization") is None, reason="tfmot itself is the subject"
)
ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, logging, pathlib, sys, warnings
import tensorflow_model_optimization as tfmot
import numpy as np
import tf_keras
from tests.tf_structprune.legacy.old_models import IMAGE, L, randomise
from tf_structprune import from_legacy

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
x, y = rng.normal(size=(4, *IMAGE)).astype("float32"), rng.normal(size=(4, 3))
file = pathlib.Path(sys.argv[1]) / "old.h5"
constant = tfmot.sparsity.keras.ConstantSparsity(0.5, 0, frequency=1)
prune, cluster = tfmot.sparsity.keras.prune_low_magnitude, tfmot.clustering.keras.cluster_weights
linear = tfmot.clustering.keras.CentroidInitialization.LINEAR
plus_plus = tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS

def functional():
    i = L.Input((8, 8, 2))
    inner = tf_keras.Model(i, L.BatchNormalization(name="ib")(L.Conv2D(2, 3, padding="same", name="ic")(i)), name="in")
    inputs = L.Input(IMAGE, name="image")
    h = L.BatchNormalization(name="bn")(L.SeparableConv2D(2, 3, padding="same", name="sep")(inputs))
    h = inner(L.Add(name="add")([inner(h), h]))
    h = L.Flatten(name="flat")(L.DepthwiseConv2D(3, name="dw")(h))
    return tf_keras.Model(inputs, L.Dense(3, name="d")(h))

def sequential():
    return tf_keras.Sequential(
        [L.Conv2D(4, 3, input_shape=IMAGE, name="c"), L.Flatten(name="flat"), L.Dense(3, name="d")])

def clustered(model, clusters, start, **options):
    model = cluster(randomise(model), clusters, start, **options)
    model.compile("sgd", "mse", run_eagerly=True)
    model.train_on_batch(x, y)  # moves weights and centroids apart from the saved assignment
    return model

def pruned(model):
    model = prune(randomise(model), constant)
    model.compile("sgd", "mse")  # not eagerly: then tfmot applies no masks
    model.fit(x, y, epochs=2, verbose=0, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    for layer in model.layers:  # as after a last gradient step: the masks still cut, the weights are not yet cut
        for weight, _, _ in getattr(layer, "pruning_vars", ()):
            weight.assign(weight + 0.125)
    return model

def report(model):
    before = [w.numpy() for w in model.weights]
    new = from_legacy(model)
    same = all(np.array_equal(w.numpy(), old) for w, old in zip(model.weights, before))
    model.save(file)
    saved = from_legacy(file)
    expected = model.predict(x, verbose=0)  # may cut the weights itself, therefore last
    errors = [float(np.abs(np.asarray(m(x)) - expected).max() / np.abs(expected).max()) for m in (new, saved)]
    kernels = {layer.name: np.asarray(layer.weights[-2]) for layer in new.layers if layer.name in ("sep", "c", "d")}
    return dict(
        errors=errors, spread=float(expected.std()), unchanged=same, compiled=[new.compiled, saved.compiled],
        names=[layer.name for layer in new.layers],
        zeros={name: float(np.mean(kernel == 0)) for name, kernel in kernels.items()},
        values={name: len(np.unique(kernel)) for name, kernel in kernels.items()},
        channel_values=[len(np.unique(k)) for k in np.moveaxis(kernels["c"], -1, 0)] if "c" in kernels else [])

def refusal(model):
    try:
        from_legacy(model)
    except ValueError as error:
        return str(error)

found = {}
found["pruned_functional"] = report(pruned(functional()))
with tfmot.sparsity.keras.prune_scope():
    found["pruned_reloaded"] = report(tf_keras.models.load_model(file))
found["pruned_sequential"] = report(pruned(sequential()))
found["clustered_functional"] = report(clustered(functional(), 4, linear))
found["clustered_sequential"] = report(clustered(sequential(), 4, linear))
found["clustered_channels"] = report(clustered(sequential(), 3, plus_plus, cluster_per_channel=True))
i = L.Input((4, 3))
lstm = randomise(prune(tf_keras.Model(i, L.LSTM(3)(i)), constant))
for _, mask, _ in lstm.layers[1].pruning_vars:
    mask.assign(rng.integers(0, 2, mask.shape))
new, s = from_legacy(lstm), rng.normal(size=(4, 4, 3)).astype("float32")
found["lstm"] = float(np.abs(np.asarray(new(s)) - lstm.predict(s, verbose=0)).max())
from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import cluster_weights
found["sparse_clusters"] = refusal(cluster_weights(randomise(sequential()), 4, linear, preserve_sparsity=True))
found["quantized"] = refusal(tfmot.quantization.keras.quantize_model(sequential()))
i = L.Input((1, 1, 1))
found["one_by_one"] = refusal(prune(tf_keras.Model(i, L.SeparableConv2D(1, 1, name="sep")(i)), constant))
print(json.dumps(found))
"""
NAMES = {
    "functional": ["image", "sep", "bn", "in", "add", "dw", "flat", "d"],
    "sequential": ["c", "flat", "d"],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfmot"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, folder], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "case, names",
    [
        ("pruned_functional", "functional"),
        ("pruned_reloaded", "functional"),
        ("pruned_sequential", "sequential"),
        ("clustered_functional", "functional"),
        ("clustered_sequential", "sequential"),
        ("clustered_channels", "sequential"),
    ],
)
def test_stripped_model_computes_what_the_wrapped_one_does(found, case, names):
    result = found[case]
    assert result["spread"] > 0
    assert max(result["errors"]) < 1e-5  # of the live model and of its file
    assert result["names"] == NAMES[names]
    assert result["compiled"] == [True, True]
    assert result["unchanged"]


def test_pruned_weights_are_cut_by_their_masks(found):
    assert found["pruned_functional"]["zeros"] == {"sep": 0.5, "d": 0.5}
    assert found["pruned_sequential"]["zeros"] == {"c": 0.5, "d": 0.5}


def test_clustered_weights_are_their_centroids(found):
    assert 1 < found["clustered_sequential"]["values"]["d"] <= 4
    assert 1 < found["clustered_sequential"]["values"]["c"] <= 4
    assert found["clustered_channels"]["values"]["c"] > 3
    assert set(found["clustered_channels"]["channel_values"]) <= {1, 2, 3}


def test_several_masks_of_a_layer_keep_their_order(found):
    assert found["lstm"] < 1e-5


def test_clusters_that_preserve_sparsity_are_refused(found):
    assert "'cluster_c': which weights preserve_sparsity=True" in found["sparse_clusters"]
    assert "strip_clustering first" in found["sparse_clusters"]


def test_quantization_wrappers_are_refused(found):
    assert "has no equivalent in Keras 3" in found["quantized"]


def test_masks_of_ambiguous_shape_are_refused(found):
    assert "'prune_low_magnitude_sep': its masks cannot be told apart by shape" in found["one_by_one"]
    assert "strip_pruning first" in found["one_by_one"]
