"""tf_structprune trains on the JAX backend where TensorFlow cannot be imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras"):
            raise ImportError(name + " is not there")

sys.meta_path.insert(0, NoTensorFlow())

import keras
import numpy as np
import tf_structprune as sp
from tests import zoo
from tf_structprune.measure import MEASURES

assert keras.backend.backend() == "jax"
rng = np.random.default_rng(0)
y = rng.integers(0, 3, 96)
x = rng.normal(0, 0.3, (96, *zoo.INPUT_SHAPE)).astype("float32")
x[np.arange(96), y * 2] += 1.0  # each class lights one row

model = zoo.build("residual_projection")
masked = sp.wrap(model)
assert zoo.largest_difference(model, masked, x[:6]) < 1e-6
masked.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
callback = sp.StructuredPruning(
    validation_data=(x[:32], y[:32]), granularity=("feature_map", "kernel", "intra_kernel"),
    search=sp.search.EvolutionaryParticleFilter(particles=3, generations=2, elites=1),
    sparsity=0.5, tolerance=1.0, verbose=0,
)
history = masked.fit(x[32:], y[32:], epochs=4, verbose=0, callbacks=[callback]).history
assert [report.accepted for report in callback.reports] == [True] * 3
assert history["prune_sparsity"][-1] >= 0.5
assert history["loss"][-1] < history["loss"][0]

few = sp.search.EvolutionaryParticleFilter(particles=3, generations=2, elites=1)
budget = sp.Budget("parameters", 0.7)
allocation = sp.allocate(sp.wrap(model), budget, validation_data=(x[:32], y[:32]), method=few, levels=2)
assert allocation.cost_after <= 0.7 * allocation.cost_before == 0.7 * model.count_params()

falling = iter(range(0, -99, -1))  # each look is worse than the one before
impossible = sp.StructuredPruning(
    validation_data=(x[:32], y[:32]), granularity="kernel", search=sp.search.RandomMask(),
    sparsity=0.8, tolerance=0, score=lambda labels, outputs: float(next(falling)), verbose=0,
)
before = masked.get_weights()
masked.fit(x[32:], y[32:], epochs=1, verbose=0, callbacks=[impossible])
assert all(np.array_equal(old, new) for old, new in zip(before, masked.get_weights(), strict=True))

masked.save(sys.argv[1])
loaded = keras.models.load_model(sys.argv[1])
assert zoo.largest_difference(masked, loaded, x[:6]) == 0
assert sp.get_masks(loaded).equals(sp.get_masks(masked))
assert zoo.largest_difference(masked, sp.unwrap(masked), x[:6]) < 1e-6

# A nested model, a depthwise convolution, a layer normalization and a gate
inputs = keras.Input(zoo.INPUT_SHAPE)
inner = keras.Input((8, 8, 6))
block = zoo.conv(keras.layers.LayerNormalization()(inner), 10, 1, name="expand")
block = zoo.conv(keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(block), 6, 1, name="project")
block = keras.Model(inner, block, name="block")
h = zoo.conv(zoo.conv(inputs, 4, name="stem"), 6, name="wide")
h = keras.layers.Add()([h, block(h)])
squeezed = keras.layers.GlobalAveragePooling2D(keepdims=True)(h)
excited = zoo.conv(zoo.conv(squeezed, 5, 1, name="squeeze"), 6, 1, name="excite", activation="sigmoid")
h = keras.layers.GlobalAveragePooling2D()(keras.layers.Multiply()([h, excited]))
model = zoo.randomize(keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="classifier")(h)))
masked = sp.wrap(model)
assert zoo.largest_difference(model, masked, x[:6]) < 1e-5
graph = sp.trace(masked)
assert {group.producers for group in graph.prunable_groups} == {
    ("wide", "block/project", "excite"), ("block/expand", "block/depthwise"), ("squeeze",),
}
sums = MEASURES["activation_sums"](masked, graph, "feature_map", x[:6])
assert {name: value.shape[1] for name, value in sums.items()} == {"wide": 6, "block/expand": 10, "squeeze": 5}
sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.4, "intra_kernel": 0.2}))
assert zoo.largest_difference(model, masked, x[:6]) > 1e-3
assert not keras.ops.convert_to_numpy(masked.get_layer("block").get_layer("layer_normalization").keep).all()
masked.save(sys.argv[1], overwrite=True)
assert zoo.largest_difference(masked, keras.models.load_model(sys.argv[1]), x[:6]) == 0
masked.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
assert np.isfinite(masked.fit(x, y, verbose=0).history["loss"]).all()

assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "tflite_export")]
print("all well")
"""


def test_prunes_on_jax_without_tensorflow(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "masked.keras")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all well\n")
