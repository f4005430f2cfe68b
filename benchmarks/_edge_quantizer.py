"""A float file in int8 by ai-edge-quantizer, in a process of its own: python -m benchmarks._edge_quantizer FOLDER.

FOLDER has `float.tflite` and `samples.npy` and receives `int8.tflite`. The tool is driven as its README does: its
recipe of static int8 weights and signals, with ranges from all samples.
"""

import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def main(folder: pathlib.Path) -> None:
    """Quantize."""
    file = folder / "float.tflite"
    interpreter = Interpreter(str(file))
    (name,) = interpreter.get_signature_runner().get_input_details()
    tool = quantizer.Quantizer(str(file))
    tool.load_quantization_recipe(recipe.static_wi8_ai8())
    samples = [{name: each[None]} for each in np.load(folder / "samples.npy")]
    ranges = tool.calibrate({"serving_default": samples})
    tool.quantize(ranges).export_model(str(folder / "int8.tflite"), overwrite=True)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
