"""The whole files, and what becomes of one that is given to the program."""

import contextlib
import hashlib
import io
import pathlib
import shutil
import tempfile
import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.damaged_files._formats import FORMATS
from benchmarks.damaged_files._packed import KNOWING
from benchmarks.damaged_files._traps import Trap

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
        from tf_structprune.storage import save

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
        save(folder / "good.keras", folder / "good.sham")
        _packed_tflite(model, x, folder / "good.packed.tflite")
        return cls(folder)

    def damaged(self, kind: str, damage: str, rng: np.random.Generator, folder: pathlib.Path) -> pathlib.Path:
        """A damaged copy, alone in a folder."""
        file = folder / f"case.{kind}"
        shutil.copy(self.folder / f"good.{kind}", file)
        with contextlib.suppress(KeyError):  # an HDF5 file without the entry that was to be changed
            FORMATS[kind][damage](file, rng)
        return file

    def attempt(self, kind: str, file: pathlib.Path, damage: str = "") -> Outcome:
        """Give a file to the program."""
        if kind == "packed.tflite":
            return self._decoded(file, knowing=damage in KNOWING)
        if kind == "state":
            return self._state(file)
        if kind == "sham":
            return self._packed(file)
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

    def _packed(self, file: pathlib.Path) -> Outcome:
        """Unpack it; what comes back must be what was packed, but where checksums were made right again."""
        before = _tree(file.parent)
        with tempfile.TemporaryDirectory() as folder:
            outcome = _told(["unpack", str(file), "--out", f"{folder}/out.keras"])
            left = sorted(path.name for path in pathlib.Path(folder).iterdir())
        wrong = left != (["out.keras"] if outcome.kind == "read" else []) or _tree(file.parent) != before
        return Outcome("changed", outcome.told) if wrong else outcome

    def _decoded(self, file: pathlib.Path, *, knowing: bool) -> Outcome:
        """Decode its weights, which must be those that were packed unless the checksum was made right again."""
        from tflite_export.pack import decoded

        try:
            found = decoded(file)
        except ValueError as error:
            one_line = (
                str(error).startswith(f"'{file}'") and str(error).endswith(".") and "\n" not in str(error).strip()
            )
            return Outcome("refused" if one_line else "lines", str(error))
        except Exception:
            return Outcome("traceback", traceback.format_exc())
        same = knowing or found.data == decoded(self.folder / "good.packed.tflite").data
        return Outcome("read" if same else "changed", "")

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


def _packed_tflite(model: Any, x: np.ndarray, file: pathlib.Path) -> None:
    """The network in int8 with all kinds of coded weights."""
    from tflite_export.file import TFLiteFile, slim
    from tflite_export.pack import CODERS, Group
    from tflite_export.pack._checksum import checked
    from tflite_export.pack._pack import written
    from tflite_export.pack._search import Costs
    from tflite_export.pack._tensors import packable
    from tflite_export.quantize import convert

    whole = TFLiteFile(convert(model, quantize="int8", representative_data=x)).edited(slim)
    costs = Costs(packable(whole))
    groups = []
    for place, tensor in enumerate(costs.weights):
        able = [group for name in CODERS if costs.packed(group := Group(name, (tensor,))) is not None]
        groups.append(able[place % len(able)])
    file.write_bytes(checked(written(whole, costs, groups).data))


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
            outcome = good.attempt(kind, good.damaged(kind, damage, rng, pathlib.Path(folder)), damage)
        rows.append({"number": str(number), "damage": damage, "outcome": outcome.kind, "told": outcome.told})
    return rows
