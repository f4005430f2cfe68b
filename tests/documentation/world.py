"""What the pages of the manual take for granted: a trained model and its data, in names and in files."""

import os
import shutil
from pathlib import Path

import keras
import numpy as np

import tf_structprune as sp
import tflite_export as te
from tests.phones import Phones
from tests.tflite_export.compress import tiny
from tests.tflite_export.devices.fake_arm import FakeArm
from tflite_export.devices import _qemu
from tflite_export.file import open_file

SAMPLES = 160


def parts():
    """Training, validation and test samples."""
    given = tiny.files(SAMPLES)
    return {"train": (given["x_train"], given["y_train"]), "val": tiny.arrays(60, 1), "test": tiny.arrays(80, 2)}


def arrays():
    return {f"{axis}_{part}": both[place] for part, both in parts().items() for place, axis in enumerate("xy")}


def names():
    """What a page's Python snippets may use before the first one defines anything."""
    return {"keras": keras, "np": np, "Path": Path, "sp": sp, "te": te, "model": tiny.fresh()} | arrays()


def make(folder):
    """`model.keras`, `data.npz` and `small/`, which `compress` made of them."""
    tiny.trained().save(folder / "model.keras")
    np.savez(folder / "data.npz", **arrays())
    te.compress(tiny.fresh(), parts(), folder / "small", sparsity=0.5, epochs=1)


def enter(made, folder, patch):
    """A copy of what `make` made is the working directory; phones and cores are stand-ins with tests of their own."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    patch.chdir(folder)
    programs = folder / "programs"
    programs.mkdir()
    core, phones = FakeArm(programs, patch), Phones(programs, patch)
    patch.setenv("PATH", os.pathsep.join((str(core.folder), os.defpath)))
    phones.add("A1", profile="")
    (folder / "benchmark_model").symlink_to(phones.binary)
    np.zeros(999, np.int8).tofile(programs / "outputs.bin")
    operators = len(open_file("small/model_int8.tflite").description.operators)  # after the arena and three samples
    np.array([1234, 567, operators, *[5] * (3 + operators)], np.uint64).tofile(programs / "figures.bin")
    patch.setattr(_qemu, "_compared", lambda *_: "outputs are a stand-in's")
    (folder / "libtensorflow-microlite.a").write_bytes(b"!<arch>\nobjects")
    (folder / "tflite-micro").mkdir()
