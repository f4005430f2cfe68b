"""The core runs on every backend that is installed, where TensorFlow cannot be imported.

The whole of its suite runs so with `.ci/core BACKEND`; here those parts of it in which the backends may differ.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import HANG_SECONDS

ROOT = Path(__file__).parents[2]
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # compiling takes the time
SUITES = [
    "tests/end_to_end/test_core.py",
    "tests/tf_structprune/task/test_score.py",
    "tests/tf_structprune/layers/test_masked_normalization.py",
]


def run_pytest(backend, *arguments):
    """pytest in a process of its own, in which there is no TensorFlow."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICK}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.no_tensorflow", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)


@pytest.mark.parametrize("backend", [name for name in ("jax", "torch") if importlib.util.find_spec(name)])
def test_core_passes_without_tensorflow(backend):
    done = run_pytest(backend, *SUITES)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_plugin_hides_tensorflow(tmp_path):
    (tmp_path / "test_hidden.py").write_text(
        "def test_hidden():\n    import keras\n    assert keras.backend.backend() == 'jax'\n    import tensorflow\n"
    )
    done = run_pytest("jax", str(tmp_path))
    assert done.returncode == 1, done.stdout
    assert "No module named 'tensorflow', by tests.no_tensorflow" in done.stdout
