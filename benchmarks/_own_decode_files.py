"""Int8 files for `own_decode`: given ones with zeros and few bits, and networks from small to large."""

import keras
import numpy as np

from tflite_export.file import TFLiteFile, open_file
from tflite_export.quantize import convert

_WEIGHTED = ("CONV_2D", "FULLY_CONNECTED")
_L = keras.layers


def pruned(file: TFLiteFile, zeros: float, bits: int) -> TFLiteFile:
    """The file with so many zeros in each layer, the smallest weights, and the others in words of so many bits."""
    places = [operator.inputs[1] for operator in file.description.operators if operator.name in _WEIGHTED]

    def edit(model) -> None:
        for index in places:
            values = _rounded(_cut(file.constants[index].astype(np.int64).ravel(), zeros), bits)
            model.buffers[model.subgraphs[0].tensors[index].buffer].data = values.astype(np.int8).view(np.uint8)

    return TFLiteFile(file.edited(edit).data)


def _cut(values: np.ndarray, zeros: float) -> np.ndarray:
    size = np.abs(values)
    return values if not zeros else np.where(size < np.sort(size)[int(zeros * len(size))], 0, values)


def _rounded(values: np.ndarray, bits: int) -> np.ndarray:
    step, most = 2 ** (8 - bits), 2 ** (bits - 1) - 1
    return values if bits == 8 else np.clip(np.round(values / step), -most, most).astype(np.int64) * step


def network(width: int) -> TFLiteFile:
    """Three convolutions of a width and a dense layer, with random weights: about 18 width^2 of them."""
    keras.utils.set_random_seed(width)
    x = inputs = keras.Input((16, 16, 3))
    for _ in range(3):
        x = _L.Conv2D(width, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, _L.Dense(10)(_L.GlobalAveragePooling2D()(x)))
    samples = np.random.default_rng(0).uniform(-1, 1, (20, 16, 16, 3)).astype(np.float32)
    return open_file(convert(model, quantize="int8", representative_data=samples))
