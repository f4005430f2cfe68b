"""Child process of `_tflm`: runs a model in TFLite Micro and prints its allocations to stderr.

TFLite Micro aborts the process on some models, and its figures leave it only through the C stderr: a
process of its own keeps the first away from the caller and makes the second a plain pipe. Run as a
script, so it imports nothing of the package: `python _tflm_process.py DIRECTORY ARENA_BYTES`, where
DIRECTORY holds model.tflite and inputs.npy and receives outputs.npy.
"""

import sys
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime


def main(directory: Path, arena_size: int) -> None:
    """Runs every sample and writes the outputs."""
    interpreter = runtime.Interpreter.from_file(str(directory / "model.tflite"), arena_size=arena_size)
    outputs = []
    for sample in np.load(directory / "inputs.npy"):
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        outputs.append(np.array(interpreter.get_output(0)[0]))
    np.save(directory / "outputs.npy", np.stack(outputs))
    interpreter.print_allocations()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
