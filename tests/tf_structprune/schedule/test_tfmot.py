"""Real tfmot schedules drive a real `fit`; in a process of their own, as tfmot switches Keras to 2.

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
import json
import keras
import numpy as np
import tf_structprune as sp
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_schedule as tfmot
from tests import zoo

steps = 4
polynomial = tfmot.PolynomialDecay(0.2, 0.6, begin_step=0, end_step=2 * steps, frequency=steps)
constant = tfmot.ConstantSparsity(0.5, begin_step=steps, end_step=-1, frequency=steps)
found = {}
for name, schedule in {"polynomial": polynomial, "constant": constant}.items():
    wrapped = sp.schedule.as_schedule(schedule)
    asked = [wrapped.sparsity_at(epoch, steps, 0.9) for epoch in range(4)]
    masked = sp.wrap(zoo.build("chain"), granularity="kernel")
    masked.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    x, y = zoo.batch(16), np.arange(16) % 3
    callback = sp.StructuredPruning(
        validation_data=(x, y), granularity="kernel", search=sp.search.RandomMask(),
        schedule=schedule, tolerance=1.0, verbose=0,
    )
    history = masked.fit(x, y, batch_size=4, epochs=4, verbose=0, callbacks=[callback]).history
    found[name] = [asked, history["prune_sparsity"]]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_polynomial_decay_gives_its_own_sparsities(found):
    asked, reached = found["polynomial"]
    # s(t) = final + (initial - final) (1 - t)^3 at t = 0, 1/2 and 1
    assert asked[:3] == pytest.approx([0.2, 0.6 - 0.4 / 8, 0.6], abs=1e-6)
    assert reached[:3] == pytest.approx(asked[:3], abs=0.05)
    assert reached == sorted(reached)
    assert reached[3] == reached[2]


def test_constant_sparsity_waits_for_its_begin(found):
    asked, reached = found["constant"]
    assert asked == [None, 0.5, 0.5, 0.5]
    assert reached[0] == 0
    assert reached[1:] == pytest.approx([0.5] * 3, abs=0.05)
