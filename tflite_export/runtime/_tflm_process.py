"""Child process of `_tflm`: runs a model in TFLite Micro and prints its allocations to stderr.

TFLite Micro aborts the process on some models, and its figures leave it only through the C stderr: a
process of its own keeps the first away from the caller and makes the second a plain pipe. Run as a
script, so it imports nothing of the package: `python _tflm_process.py DIRECTORY ARENA_BYTES OUTPUTS`, where
DIRECTORY holds model.tflite, inputs.npz and decode_bytes, the size of the memory beside the arena in which packed
weights are decoded, and receives outputs.npz, one array for each input and output in order.
"""

import sys
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime


def main(directory: Path, arena_size: int, count: int) -> None:
    """Runs every sample and writes the outputs."""
    interpreter = runtime.Interpreter.from_file(
        str(directory / "model.tflite"),
        arena_size=arena_size,
        alt_decompression_memory_size=int((directory / "decode_bytes").read_text()),
    )
    with np.load(directory / "inputs.npz") as file:
        inputs = list(file.values())
    outputs: list[list[np.ndarray]] = [[] for _ in range(count)]
    for row in range(len(inputs[0])):
        for place, samples in enumerate(inputs):
            interpreter.set_input(samples[row : row + 1], place)
        interpreter.invoke()
        for place, rows in enumerate(outputs):
            rows.append(np.array(interpreter.get_output(place)[0]))
    np.savez(directory / "outputs.npz", *(np.stack(rows) for rows in outputs))
    interpreter.print_allocations()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
