"""The rooms run one way and are entered by their doors; the packages keep the house rules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {
    "tf_structprune": (
        "channels",
        "masks",
        "search",
        "allocation",
        "schedule",
        "fixed_point",
        "reconstruct",
        "untrusted",
        "storage",
        "legacy",
        "graph",
        "task",
        "layers",
        "observe",
        "measure",
        "shrink",
        "fuse",
        "pretext",
        "scoring",
        "cluster",
        "resume",
        "stages",
        "callbacks",
        "sensitivity",
    ),
    "tflite_export": (
        "kernels",
        "micro",
        "child",
        "file",
        "runtime",
        "calibrate",
        "pack",
        "quantize",
        "write",
        "bundle",
        "verify",
        "devices",
        "sensitivity",
        "bench",
        "lower",
        "report",
        "export",
        "compress",
    ),
}
NUMPY_ONLY = {
    "tf_structprune": (
        "channels",
        "masks",
        "search",
        "allocation",
        "schedule",
        "fixed_point",
        "reconstruct",
        "storage",
    ),
    "tflite_export": ("kernels", "micro"),
}
NATIVE = ("ai_edge_litert.interpreter", "tflite_micro.python", "tensorflow.lite")  # code that may end the process
CHILDREN = ("tflite_export/child/_process.py",)  # scripts with a process each
FILES = sorted(path for package in ROOMS for path in (ROOT / package).rglob("*.py"))


def violations(source, package, room, *, door=False):
    """Broken rules of one file, as readable lines.

    Args:
        source: its Python text.
        package: package that it lies in.
        room: room, or file directly in the package; "" for the package's own door.
        door: whether it is an `__init__.py`.
    """
    tree = ast.parse(source)
    found = [
        f"{node.lineno}: {problem}"
        for node in ast.walk(tree)
        for name in _imported(node)
        for problem in _import_problems(name, package, room)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"{node.lineno}: relative import")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found.append(f"{node.lineno}: star import")
        if isinstance(node, ast.Assert):
            found.append(f"{node.lineno}: assert")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"{node.lineno}: print")
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"{node.lineno}: bare except")
    return found + (list(_door_problems(tree)) if door and room else [])


def _imported(node):
    """Dotted names that a statement imports; a module's attribute counts as its submodule."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def _import_problems(name, package, room):
    parts = name.split(".")
    if package == "tf_structprune" and parts[0] in ("tensorflow", "tflite_export", "tf_keras", "ai_edge_litert"):
        yield f"tf_structprune imports {parts[0]}"
    if room in NUMPY_ONLY[package] and parts[0] in ("keras", "tensorflow", "ai_edge_litert"):
        yield f"{room} imports {parts[0]}"
    if parts[0] not in ROOMS or len(parts) < 2:
        return
    rooms, target = ROOMS[parts[0]], parts[1]
    inside = parts[0] == package and target == room
    if not inside and len(parts) > 2 and parts[2].startswith("_") and target in rooms:
        yield f"{name} goes past the door of {target}"
    if parts[0] != package or not room or inside:
        return
    if target in rooms and (room not in rooms or rooms.index(target) >= rooms.index(room)):
        yield f"{room} imports the later room {target}"


def _door_problems(tree):
    """A door only re-exports: docstring, imports `Name as Name`, plain tables."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.lineno}: {a.name} is not re-exported" for a in node.names if a.asname != a.name)
        elif not isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign)):
            yield f"{node.lineno}: a door holds no code"


def place_of(path):
    """Package, room and whether the file is a door."""
    package, *rest = path.relative_to(ROOT).parts
    room = rest[0].removesuffix(".py") if rest[0] != "__init__.py" else ""
    return package, room, rest[-1] == "__init__.py"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_the_rules(path):
    package, room, door = place_of(path)
    assert violations(path.read_text(), package, room, door=door) == []


def native_code(source):
    """Imports and uses of code that may end the process, by name."""
    tree = ast.parse(source)
    names = [name for node in ast.walk(tree) for name in _imported(node)]
    names += [f"tensorflow.{node.attr}" for node in ast.walk(tree) if _is_of_tensorflow(node)]
    return [name for name in names if name.startswith(NATIVE)]


def _is_of_tensorflow(node):
    return (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("tf", "tensorflow")
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_native_code_that_may_crash_runs_in_processes_of_its_own(path):
    assert path.relative_to(ROOT).as_posix() in CHILDREN or native_code(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import tensorflow as tf\ntf.lite.TFLiteConverter",
        "from tensorflow.lite.python import lite",
        "def f():\n  from ai_edge_litert.interpreter import Interpreter",
        "from tflite_micro.python.tflite_micro import runtime",
    ],
)
def test_native_code_is_found(source):
    assert len(native_code(source)) == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_in_a_known_room(path):
    package, room, _ = place_of(path)
    assert not room or room in ROOMS[package]


@pytest.mark.parametrize(
    "package, room, source, problem",
    [
        ("tf_structprune", "masks", "from tf_structprune.graph import trace", "masks imports the later room graph"),
        ("tf_structprune", "masks", "import tf_structprune.layers", "masks imports the later room layers"),
        ("tf_structprune", "layers", "def f():\n  import tensorflow as tf", "tf_structprune imports tensorflow"),
        ("tf_structprune", "layers", "import tflite_export", "tf_structprune imports tflite_export"),
        ("tf_structprune", "search", "from keras import ops", "search imports keras"),
        ("tflite_export", "kernels", "import keras", "kernels imports keras"),
        ("tf_structprune", "layers", "from tf_structprune.masks._spaces import X", "goes past the door of masks"),
        ("tf_structprune", "layers", "from tf_structprune.masks import _spaces", "goes past the door of masks"),
        ("tflite_export", "lower", "from tf_structprune.graph._trace import x", "goes past the door of graph"),
        ("tflite_export", "quantize", "from tflite_export.write import x", "quantize imports the later room write"),
        ("tflite_export", "export", "from tflite_export import compress", "export imports the later room compress"),
        ("tf_structprune", "masks", "from . import x", "relative import"),
        ("tf_structprune", "masks", "from numpy import *", "star import"),
        ("tf_structprune", "masks", "print(1)", "print"),
        ("tf_structprune", "masks", "assert True", "assert"),
        ("tf_structprune", "masks", "try:\n  x\nexcept:\n  y", "bare except"),
    ],
)
def test_checker_catches(package, room, source, problem):
    (found,) = violations(source, package, room)
    assert problem in found


@pytest.mark.parametrize(
    "source, problem",
    [("from tf_structprune.masks._a import B", "B is not re-exported"), ("def f(): ...", "a door holds no code")],
)
def test_checker_catches_a_bad_door(source, problem):
    (found,) = violations(source, "tf_structprune", "masks", door=True)
    assert problem in found


@pytest.mark.parametrize(
    "package, room, source",
    [
        ("tf_structprune", "masks", "from tf_structprune.masks._spaces import X"),
        ("tf_structprune", "masks", "from tf_structprune.channels import Group"),
        ("tf_structprune", "layers", "import keras"),
        ("tflite_export", "lower", "import tensorflow\nfrom tf_structprune.layers import wrap"),
    ],
)
def test_checker_lets_pass(package, room, source):
    assert violations(source, package, room) == []


def test_picture_of_the_layout_has_the_rooms_in_their_order():
    picture = (ROOT / "docs/layout.md").read_text().split("```")[1]
    told = [line.split()[0].rstrip("/") for line in picture.splitlines() if line.startswith("  ")]
    assert told == [room for rooms in ROOMS.values() for room in rooms]


def test_rooms_are_the_folders():
    for package, rooms in ROOMS.items():
        folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name[0] not in "_."}
        assert folders <= set(rooms)
        assert folders


_WITHOUT_KERAS = """
import importlib, sys

for name in ("keras", "tensorflow", "ai_edge_litert"):
    sys.modules[name] = None
door = type(sys)("tflite_export")  # its own door has the converter behind it
door.__path__ = ["tflite_export"]
sys.modules["tflite_export"] = door
for room in sys.argv[1:]:
    importlib.import_module(room)
import tf_structprune as sp

sp.search.BestOfN(2), sp.MaskSet(), sp.Budget("macs", 0.5)
try:
    sp.wrap
except AttributeError as error:
    sys.exit(0 if "tf_structprune.wrap needs Keras" in str(error) else str(error))
sys.exit("sp.wrap is there")
"""


def test_rooms_of_plain_values_import_without_keras():
    rooms = [f"{package}.{room}" for package, names in NUMPY_ONLY.items() for room in names]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_KERAS, *rooms], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
