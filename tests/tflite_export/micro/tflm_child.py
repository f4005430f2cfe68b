"""Runs models in the tflite-micro wheel with an operator of a library: python tflm_child.py LIBRARY FOLDER.

Of each .tflite in the folder it writes the outputs for the samples in inputs.npy, or why there are none.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import _runtime, runtime

ctypes.CDLL(_runtime.__file__, ctypes.RTLD_GLOBAL)  # whose functions the operator calls
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)  # in which the interpreter looks for the function named below


def outputs(path, samples):
    """One row a sample."""
    interpreter = runtime.Interpreter.from_file(
        str(path), custom_op_registerers=["tf_structprune_register"], arena_size=2**20
    )
    rows = []
    for sample in samples:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        rows.append(np.array(interpreter.get_output(0)[0]))
    return np.stack(rows)


def main(folder):
    samples, failed = np.load(folder / "inputs.npy"), {}
    for path in sorted(folder.glob("*.tflite")):
        try:
            np.save(path.with_suffix(".npy"), outputs(path, samples))
        except RuntimeError as error:
            failed[path.stem] = str(error)
    (folder / "failed.json").write_text(json.dumps(failed))


if __name__ == "__main__":
    main(Path(sys.argv[2]))
