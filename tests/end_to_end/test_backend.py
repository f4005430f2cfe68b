"""The core runs on every backend that is installed, where TensorFlow cannot be imported.

The whole of its suite runs so with `.ci/core BACKEND`; here those parts of it in which the backends may differ.
"""

import importlib.util
import os
import re
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


HIDDEN = """
import keras
import pytest

def test_hidden():
    assert keras.backend.backend() == {backend!r}
    with pytest.raises(ModuleNotFoundError, match="No module named 'tensorflow', by tests.no_tensorflow"):
        import tensorflow

def test_failure_is_told():
    raise AssertionError("as expected")
"""


@pytest.mark.parametrize("backend", [name for name in ("jax", "torch") if importlib.util.find_spec(name)])
def test_core_passes_without_tensorflow(backend, tmp_path):
    """All tests but the one that has to fail, TensorFlow's absence being one of them."""
    (tmp_path / "test_hidden.py").write_text(HIDDEN.format(backend=backend))
    done = run_pytest(backend, *SUITES, str(tmp_path))
    told = done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode == 1, told
    assert re.search(r"^FAILED \S*::test_failure_is_told ", done.stdout, re.MULTILINE), told
    assert re.search(r"^1 failed, \d+ passed in ", done.stdout, re.MULTILINE), told
