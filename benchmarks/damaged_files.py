"""What becomes of damaged files: every one is read or refused in one line, nothing of it is run, nothing else changes.

    python -m benchmarks.damaged_files --files 500

Files of each format are damaged at random and given to the command line (states: to `read_state`): bytes are cut,
flipped, overwritten; zip and HDF5 entries dropped, doubled, changed; headers and JSON changed to other types and sizes;
and traps are set, which would write a file if any part of them were run.
"""

import argparse
import base64
import contextlib
import copy
import hashlib
import io
import json
import marshal
import pathlib
import pickle
import resource
import shutil
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

Damage = Callable[[pathlib.Path, np.random.Generator], None]
"""Changes a file in place."""

_VALUES = (None, True, -1, 0, 0.5, 1e300, 10**12, 10**30, "x", "Lambda", "", [], {}, [[]], {"class_name": "Lambda"})
_NOTHING = "no such layer"


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        kind: "read", "refused" in one line, or what is wrong: "traceback", "lines", "changed", "run".
        told: the line, or the end of the traceback.
    """

    kind: str
    told: str


class Trap:
    """Unpickled, it writes the file that must not be there."""

    flag = ""

    def __reduce__(self) -> Any:
        return open, (self.flag, "w")


# Bytes


def _cut(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content[: int(rng.integers(len(content)))]


def _flipped(content: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(len(content), size=int(rng.integers(1, 5))):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def _overwritten(content: bytearray, rng: np.random.Generator) -> bytearray:
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 600))
    content[place : place + length] = rng.bytes(min(length, len(content) - place))
    return content


def _holes(content: bytearray, rng: np.random.Generator) -> bytearray:
    place, length = int(rng.integers(len(content))), int(rng.integers(100, 5000))
    content[place : place + length : 7] = b"\xff" * len(content[place : place + length : 7])
    return content


def _removed(content: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(len(content)))
    del content[place : place + int(rng.integers(1, 300))]
    return content


def _header(content: bytearray, rng: np.random.Generator) -> bytearray:
    content[:8] = (b"\x89HDF\r\n\x1a\n", b"PK\x03\x04\x14\0\0\0", b"\x93NUMPY\1\0", b'{"a": 1')[int(rng.integers(4))]
    return content


def _appended(content: bytearray, rng: np.random.Generator) -> bytearray:
    return content + rng.bytes(int(rng.integers(1, 100_000)))


def _of_bytes(change: Callable[[bytearray, np.random.Generator], bytearray]) -> Damage:
    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        file.write_bytes(change(bytearray(file.read_bytes()), rng))

    return damage


BYTES: dict[str, Damage] = {
    change.__name__.strip("_"): _of_bytes(change)
    for change in (_cut, _flipped, _overwritten, _holes, _removed, _header, _appended)
}


# JSON


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _changed_json(value: Any, rng: np.random.Generator) -> Any:
    """A copy with one place changed, removed, doubled or swapped with another."""
    value = copy.deepcopy(value)
    places = _places(value)
    if not places:
        return _VALUES[int(rng.integers(len(_VALUES)))]
    (holder, key), (other, other_key) = (places[int(index)] for index in rng.integers(len(places), size=2))
    way = int(rng.integers(6))
    if way == 0:
        del holder[key]
    elif way == 1:
        holder[key] = copy.deepcopy(other[other_key])
    elif way == 2 and isinstance(holder[key], list):
        holder[key] = holder[key] * 2
    else:
        holder[key] = copy.deepcopy(_VALUES[int(rng.integers(len(_VALUES)))])
    return value


def _json_file(file: pathlib.Path, rng: np.random.Generator) -> None:
    file.write_text(json.dumps(_changed_json(json.loads(file.read_text()), rng)))


def _deep_json(file: pathlib.Path, rng: np.random.Generator) -> None:
    depth = int(rng.integers(10, 200_000))
    file.write_text("[" * depth + "]" * depth)


def _long_number(file: pathlib.Path, rng: np.random.Generator) -> None:
    file.write_text('{"weight_bits": ' + "9" * int(rng.integers(1, 20_000)) + "}")


# Traps


def _lambda_layer(name: str) -> dict[str, Any]:
    """A layer that would write the flag when it is made, as Keras 2 and 3 write functions."""
    code = compile(f"open({Trap.flag!r}, 'w')", "trap", "eval")
    told = {"code": base64.b64encode(marshal.dumps(code)).decode(), "defaults": None, "closure": None}
    function = {"class_name": "__lambda__", "config": told}
    config = {"name": name, "function": function, "function_type": "lambda", "trainable": True, "arguments": {}}
    return {"class_name": "Lambda", "config": config, "module": "keras.layers", "registered_name": None}


def _foreign_layer(name: str, rng: np.random.Generator) -> dict[str, Any]:
    """A "layer" that is a function of a module, called with the flag."""
    module, kind = (("os", "mkdir"), ("builtins", "open"), ("pathlib", "Path"), ("subprocess", "Popen"))[
        int(rng.integers(4))
    ]
    config = {"name": name, "path": Trap.flag, "file": Trap.flag, "mode": "w", "args": ["touch", Trap.flag]}
    return {"class_name": kind, "module": module, "config": config, "registered_name": None}


def _trapped(config: Any, rng: np.random.Generator) -> Any:
    """The configuration with a trap in the place of a layer or inside one."""
    layers = config["config"]["layers"]
    layer = layers[int(rng.integers(1, len(layers)))]
    trap = (
        _lambda_layer(layer["config"]["name"]) if rng.random() < 0.5 else _foreign_layer(layer["config"]["name"], rng)
    )
    if rng.random() < 0.5:
        layer.update({key: value for key, value in trap.items() if key != "inbound_nodes"})
    else:
        key = ("activation", "kernel_initializer", "kernel_regularizer", "dtype")[int(rng.integers(4))]
        layer["config"][key] = trap
    return config


# Archives


def _rewritten(file: pathlib.Path, change: Callable[[dict[str, bytes]], list[tuple[str, bytes]]]) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # names that are there twice are meant
        for name, content in change(entries):
            archive.writestr(name, content)


def _entries(file: pathlib.Path, rng: np.random.Generator) -> None:
    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        found = list(entries.items())
        first, second = (int(index) for index in rng.integers(len(found), size=2))
        way = int(rng.integers(4))
        if way == 0:
            del found[first]
        elif way == 1:
            found.append(found[first])
        elif way == 2:
            found[first] = (found[first][0], found[second][1])
        else:
            found[first] = (found[first][0] + "x", found[first][1])
        return found

    _rewritten(file, change)


def _inside(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Bytes of one entry, whose checksum is right again."""
    ways = (_cut, _flipped, _overwritten, _holes, _removed, _header)

    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        name = sorted(entries)[int(rng.integers(len(entries)))]
        entries[name] = bytes(ways[int(rng.integers(len(ways)))](bytearray(entries[name]), rng))
        return list(entries.items())

    _rewritten(file, change)


def _in_keras(change: Callable[[Any, np.random.Generator], Any]) -> Damage:
    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        def edit(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
            entries["config.json"] = json.dumps(change(json.loads(entries["config.json"]), rng)).encode()
            return list(entries.items())

        _rewritten(file, edit)

    return damage


def _weights(file: pathlib.Path, rng: np.random.Generator) -> None:
    """The HDF5 file inside a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        inner = pathlib.Path(folder) / "model.weights.h5"

        def edit(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
            inner.write_bytes(entries["model.weights.h5"])
            _hdf5(inner, rng)
            entries["model.weights.h5"] = inner.read_bytes()
            return list(entries.items())

        _rewritten(file, edit)


_NPY = ("[1", "{}", "{'descr':'<f4','fortran_order':False,'shape':(10**12,8,8,1)}", "(" * 300 + ")" * 300)
_SHAPES = ((10**12, 8, 8, 1), (-1, 8, 8, 1), (2, 3), (), (0,), (1000.5,), ("a",), (10**400,))
_TYPES = ("<f4", "<f8", "|O", "<U9", "<c16", "|V8", "<i1", "x", 7, [("a", "<f4")], "<M8[s]", "|S100000000")


def _npy(file: pathlib.Path, rng: np.random.Generator) -> None:
    """The header of an array."""
    if rng.random() < 0.3:
        text = _NPY[int(rng.integers(len(_NPY)))]
    else:
        shape, kind = _SHAPES[int(rng.integers(len(_SHAPES)))], _TYPES[int(rng.integers(len(_TYPES)))]
        text = repr({"descr": kind, "fortran_order": bool(rng.integers(2)), "shape": shape})
    head = text.encode() + b" " * 8 + b"\n"
    version = bytes(rng.choice([1, 1, 1, 2, 3, 9], size=1).astype(np.uint8)) + b"\0"
    length = len(head).to_bytes(2 if version[0] == 1 else 4, "little")

    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        name = sorted(entries)[int(rng.integers(len(entries)))]
        entries[name] = b"\x93NUMPY" + version + length + head + entries[name][128:]
        return list(entries.items())

    _rewritten(file, change)


def _objects(file: pathlib.Path, rng: np.random.Generator) -> None:
    """An array of Python objects, which are pickled."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    buffer.write(pickle.dumps(Trap()))

    def change(entries: dict[str, bytes]) -> list[tuple[str, bytes]]:
        entries[sorted(entries)[int(rng.integers(len(entries)))]] = buffer.getvalue()
        return list(entries.items())

    _rewritten(file, change)


def _values(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Arrays of other types and values."""
    with np.load(file) as opened:
        arrays = dict(opened)
    name = sorted(arrays)[int(rng.integers(len(arrays)))]
    array = arrays[name].astype(np.float64)
    array.flat[int(rng.integers(array.size))] = (np.nan, np.inf, 1e300, -1e300, -1, 0.5, 2**63)[int(rng.integers(7))]
    ways = (array, array.astype("S4"), array[:0], array[..., None], array.astype(complex), array > 0, array[0])
    arrays[name] = ways[int(rng.integers(len(ways)))]
    np.savez_compressed(file, **arrays)


def _bomb(file: pathlib.Path, rng: np.random.Generator) -> None:
    """A small archive whose first entry says that it unpacks to gigabytes."""
    content = bytearray(file.read_bytes())
    place = content.rfind(b"PK\x01\x02", 0, content.rfind(b"PK\x05\x06"))
    content[place + 24 : place + 28] = int(rng.integers(2**31, 2**32 - 2)).to_bytes(4, "little")
    file.write_bytes(content)


# HDF5


def _items(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(found.append)
    return found


def _hdf5(file: pathlib.Path, rng: np.random.Generator) -> None:
    """Groups, datasets and attributes."""
    with h5py.File(file, "a") as opened:
        names = _items(opened)
        name = names[int(rng.integers(len(names)))]
        way = int(rng.integers(7))
        if way in (0, 1) and len(opened[name].attrs):
            attributes = opened[name].attrs
            key = sorted(attributes)[int(rng.integers(len(attributes)))]
            del attributes[key]
            if way == 1:
                attributes[key] = (3.5, np.zeros(3), "x", np.array([b"\xff\xfe"]))[int(rng.integers(4))]
        elif way == 2:
            opened.attrs["keras_version"] = ("3.1", "4", 7.5, "")[int(rng.integers(4))]
        elif way == 3:
            del opened[name]
            opened[name] = h5py.ExternalLink("other.h5", "/x") if rng.random() < 0.5 else h5py.SoftLink("/nowhere")
        else:
            del opened[name]
            if way == 4:
                opened.create_dataset(name, (2**20, 2**20), "f4", chunks=(16, 16))
            elif way == 5:
                opened[name] = (np.zeros((3, 1)), b"text", np.zeros(4, "i2"), np.float32(1))[int(rng.integers(4))]


def _in_hdf5(change: Callable[[Any, np.random.Generator], Any]) -> Damage:
    def damage(file: pathlib.Path, rng: np.random.Generator) -> None:
        with h5py.File(file, "a") as opened:
            opened.attrs["model_config"] = json.dumps(change(json.loads(opened.attrs["model_config"]), rng))

    return damage


_H5 = {**BYTES, "hdf5": _hdf5, "config": _in_hdf5(_changed_json), "config again": _in_hdf5(_changed_json)}
_H5 |= {"trap": _in_hdf5(_trapped)}
_KERAS = {**BYTES, "entries": _entries, "inside": _inside, "config": _in_keras(_changed_json), "weights": _weights}
_KERAS |= {"config again": _in_keras(_changed_json), "trap": _in_keras(_trapped), "bomb": _bomb}
_NPZ = {**BYTES, "entries": _entries, "inside": _inside, "npy": _npy, "npy again": _npy, "objects": _objects}
_RECIPE = {**BYTES, "json": _json_file, "json again": _json_file, "deep": _deep_json, "long number": _long_number}

FORMATS: dict[str, dict[str, Damage]] = {
    "keras": _KERAS,
    "keras2.h5": _H5,
    "keras3.h5": _H5,
    "npz": {**_NPZ, "values": _values, "bomb": _bomb},
    "state": _NPZ,
    "recipe.json": _RECIPE,
}
"""Kinds of damage by format."""


@dataclass(frozen=True)
class Good:
    """The whole files.

    Attributes:
        folder: where they are.
    """

    folder: pathlib.Path

    @classmethod
    def make(cls, folder: pathlib.Path) -> "Good":
        """Write them."""
        import keras
        import tf_keras

        from tf_structprune.fixed_point import FixedPoint, LayerBits
        from tf_structprune.resume import State, write_state

        model, old = _network(keras), _network(tf_keras)
        model.save(folder / "good.keras")
        model.save(folder / "good.keras3.h5")
        old.save(folder / "good.keras2.h5", save_format="h5")
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(30, 8, 8, 1)).astype(np.float32), np.arange(30) % 3
        np.savez_compressed(folder / "good.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        write_state(
            folder / "good.state", State({"epoch": 1, "told": [0.5, None]}, {"0": x, "mask": y > 0}), {"run": 1}
        )
        (folder / "good.recipe.json").write_text(FixedPoint(4, 6, layers={"a": LayerBits(8, 8)}).to_json())
        return cls(folder)

    def damaged(self, kind: str, damage: str, rng: np.random.Generator, folder: pathlib.Path) -> pathlib.Path:
        """A damaged copy, alone in a folder."""
        file = folder / f"case.{kind}"
        shutil.copy(self.folder / f"good.{kind}", file)
        with contextlib.suppress(KeyError):  # an HDF5 file without the entry that was to be changed
            FORMATS[kind][damage](file, rng)
        return file

    def attempt(self, kind: str, file: pathlib.Path) -> Outcome:
        """Give a file to the program."""
        if kind == "state":
            return self._state(file)
        # What is read is refused for the layer's name.
        out = ("--quiet", "--out", str(file.parent / "out"), "--keep", _NOTHING, "--min-validation", "1")
        model, data = str(self.folder / "good.keras"), str(self.folder / "good.npz")
        commands = {"npz": ["compress", model, "--data", str(file), *out]}
        commands["recipe.json"] = ["compress", model, "--data", data, "--recipe", str(file), *out]
        before = _tree(file.parent)
        outcome = _told(commands.get(kind, ["inspect", str(file)]))
        if pathlib.Path(Trap.flag).exists():
            pathlib.Path(Trap.flag).unlink()
            return Outcome("run", outcome.told)
        return outcome if _tree(file.parent) == before else Outcome("changed", outcome.told)

    def _state(self, file: pathlib.Path) -> Outcome:
        from tf_structprune.resume import read_state

        try:
            found = read_state(file, {"run": 1})
        except ValueError as error:
            return Outcome("refused" if str(error).startswith(str(file)) else "lines", str(error))
        except Exception:
            return Outcome("traceback", traceback.format_exc())
        wanted = read_state(self.folder / "good.state", {"run": 1})
        same = found.values == wanted.values and all(
            np.array_equal(found.arrays[name], wanted.arrays[name]) for name in wanted.arrays
        )
        return Outcome("read" if same else "changed", "")


def _network(keras: Any) -> Any:
    """A small network of either Keras."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU(name="r")(layers.BatchNormalization(name="b1")(layers.Conv2D(4, 3, name="a")(inputs)))
    x = layers.Add(name="join")([x, layers.Conv2D(4, 3, padding="same", activation="relu", name="b")(x)])
    x = layers.Dense(6, activation="relu", name="d")(layers.Flatten(name="f")(layers.MaxPooling2D(name="m")(x)))
    model = keras.Model(inputs, layers.Dense(3, name="scores")(x), name="small")
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def _tree(folder: pathlib.Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def _told(command: list[str]) -> Outcome:
    """Run the command line in this process."""
    from tf_structprune_cli import main

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(command)
    except Exception:
        return Outcome("traceback", traceback.format_exc())
    lines = [line for line in err.getvalue().splitlines() if line.strip()]
    if status == 0 or (len(lines) == 1 and "no layer to keep by that name" in lines[0]):
        return Outcome("read", "")
    one_line = status == 1 and len(lines) == 1 and lines[0].startswith("tf-structprune: ")
    return Outcome("refused" if one_line else "lines", err.getvalue())


def swept(good: Good, kind: str, files: int, seed: int) -> list[dict[str, str]]:
    """Damage and try so many files of a format; every kind of damage in turn."""
    rows = []
    for number in range(files):
        damage = list(FORMATS[kind])[number % len(FORMATS[kind])]
        with tempfile.TemporaryDirectory() as folder:
            rng = np.random.default_rng([seed, number])
            outcome = good.attempt(kind, good.damaged(kind, damage, rng, pathlib.Path(folder)))
        rows.append({"number": str(number), "damage": damage, "outcome": outcome.kind, "told": outcome.told})
    return rows


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Damaged files",
        "",
        f"Written by `benchmarks/damaged_files.py`, seed {results['seed']}: files damaged at random, given to the "
        "command line (states to `read_state`). Refused: one line and status 1. Wrong: a traceback, more than one "
        "line, a part of the file that was run, a file that was changed or left behind.",
        "",
        "| format | files | refused | read | wrong | most memory, MiB | kinds of damage |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["formats"].items():
        counts = row["outcomes"]
        wrong = sum(count for kind, count in counts.items() if kind not in ("refused", "read"))
        cells = (name, row["files"], counts.get("refused", 0), counts.get("read", 0), wrong, row["peak_mib"])
        lines.append(f"| {' | '.join(map(str, cells))} | {', '.join(FORMATS[name])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Sweep, print what is wrong, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500, help="of each format")
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out-prefix", default="benchmarks/results/damaged_files", type=pathlib.Path)
    options = parser.parse_args()
    file = options.out_prefix.with_suffix(".json")
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if results.get("seed") != options.seed:
        results = {"seed": options.seed, "formats": {}}
    with tempfile.TemporaryDirectory() as folder:
        Trap.flag = f"{folder}/flag"
        (pathlib.Path(folder) / "good").mkdir()
        good = Good.make(pathlib.Path(folder) / "good")
        for kind in options.formats:
            begun, rows = time.monotonic(), swept(good, kind, options.files, options.seed)
            for row in rows:
                if row["outcome"] not in ("refused", "read"):
                    print(kind, row["number"], row["damage"], row["outcome"], row["told"][-1500:], flush=True)
            results["formats"][kind] = {
                "files": len(rows),
                "outcomes": dict(Counter(row["outcome"] for row in rows)),
                "by_damage": {
                    name: dict(Counter(row["outcome"] for row in rows if row["damage"] == name))
                    for name in FORMATS[kind]
                },
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            print(kind, results["formats"][kind], f"{time.monotonic() - begun:.0f} s", flush=True)
            file.write_text(json.dumps(results, indent=1) + "\n")  # formats may be swept one at a time
            file.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
