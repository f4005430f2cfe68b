"""Tests may be skipped where a library cannot be had, but not in the environment of `.ci/run`."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ASKED = re.compile(r'(?:importorskip|find_spec)\("([\w.]+)"\)')


def is_installed(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its package
        return False


def asked_for():
    return {name for path in TESTS.rglob("*.py") for name in ASKED.findall(path.read_text())}


def test_no_library_is_missing_where_tensorflow_is_installed():
    """Without TensorFlow it is the environment of `.ci/core`, which has the core's libraries only."""
    names = asked_for()
    assert names >= {"tflite_micro", "tensorflow_model_optimization", "tf_keras"}
    missing = [name for name in sorted(names) if not is_installed(name)]
    if missing and is_installed("tensorflow"):
        pytest.fail(f"tests would be skipped for want of {missing}: install tf-structprune[test]")
