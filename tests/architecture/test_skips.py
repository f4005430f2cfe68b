"""Tests may be skipped where a library cannot be had, but not in the environment of `.ci/run`."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ABSENT = ast.literal_eval(re.search(r"ABSENT = (.*)", (TESTS / "no_tensorflow.py").read_text())[1])
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


def core_tests():
    """The test files that `.ci/core` runs where there is no TensorFlow."""
    named = re.findall(r"tests/[\w./]+", (TESTS.parent / ".ci/core").read_text())
    paths = [TESTS.parent / name for name in named]
    return sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))


def tensorflow_imports(path, tests=TESTS):
    """What a test file imports of TensorFlow when it is collected, also through other files of tests/.

    An `importorskip` in front guards what comes behind it.
    """
    for node in ast.parse(path.read_text()).body:
        if "importorskip" in ast.dump(node):
            return
        for name in imported(node):
            parts = name.split(".")
            if parts[0] in ABSENT:
                yield f"{path.relative_to(tests)}:{node.lineno} imports {parts[0]}"
            files = (tests.parent.joinpath(*parts[:count]).with_suffix(".py") for count in (len(parts), len(parts) - 1))
            for file in files:
                if parts[0] == "tests" and file.is_file():
                    yield from tensorflow_imports(file, tests)


def imported(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.parametrize("path", core_tests(), ids=lambda path: str(path.relative_to(TESTS)))
def test_what_the_core_runs_imports_no_tensorflow(path):
    assert not list(tensorflow_imports(path))


def test_imports_of_tensorflow_are_seen(tmp_path):
    folder = tmp_path / "tests"
    folder.mkdir()
    shared, direct, guarded = (folder / f"{name}.py" for name in ("shared", "direct", "guarded"))
    shared.write_text("from tflite_export.quantize import convert")
    direct.write_text("import tensorflow as tf\nfrom tests import shared")
    guarded.write_text('import pytest\npytest.importorskip("tensorflow")\nimport tensorflow')
    found = list(tensorflow_imports(direct, folder))
    assert found == ["direct.py:1 imports tensorflow", "shared.py:1 imports tflite_export"]
    assert not list(tensorflow_imports(guarded, folder))
