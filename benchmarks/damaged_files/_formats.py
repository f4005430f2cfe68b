"""Kinds of damage by format."""

from benchmarks.damaged_files._archives import bomb, entries, in_keras, inside, npy, objects, values, weights
from benchmarks.damaged_files._hdf5 import hdf5, in_hdf5
from benchmarks.damaged_files._packed import PACKED
from benchmarks.damaged_files._sham import SHAM
from benchmarks.damaged_files._text import BYTES, Damage, changed_json, deep_json, json_file, long_number
from benchmarks.damaged_files._traps import trapped

_H5 = {**BYTES, "hdf5": hdf5, "config": in_hdf5(changed_json), "config again": in_hdf5(changed_json)}
_H5 |= {"trap": in_hdf5(trapped)}
_KERAS = {**BYTES, "entries": entries, "inside": inside, "config": in_keras(changed_json), "weights": weights}
_KERAS |= {"config again": in_keras(changed_json), "trap": in_keras(trapped), "bomb": bomb}
_NPZ = {**BYTES, "entries": entries, "inside": inside, "npy": npy, "npy again": npy, "objects": objects}
_RECIPE = {**BYTES, "json": json_file, "json again": json_file, "deep": deep_json, "long number": long_number}

FORMATS: dict[str, dict[str, Damage]] = {
    "keras": _KERAS,
    "keras2.h5": _H5,
    "keras3.h5": _H5,
    "npz": {**_NPZ, "values": values, "bomb": bomb},
    "state": _NPZ,
    "recipe.json": _RECIPE,
    "sham": SHAM,
    "packed.tflite": PACKED,
}
"""Kinds of damage by format."""
