"""Measured latency as a cost by which channels are allocated."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
from numpy.typing import ArrayLike

from tflite_export.bench._shrunk_files import ShrunkFiles
from tflite_export.devices import HOST, Device
from tflite_export.file import TFLiteFile
from tflite_export.quantize import Quantize, convert


def latency_cost(
    masked: keras.Model,
    *,
    device: Device = HOST,
    quantize: Quantize = "none",
    representative_data: ArrayLike | None = None,
    runs: int = 100,
) -> Callable[[Mapping[str, int]], float]:
    """What `tf_structprune.allocate` measures for `Budget("latency", ...)`.

    The model is shrunk to so many channels, converted and timed in turns with the file of the whole model. The
    ratio of the two medians counts, so that a drift of the device's speed meets both; it is told in microseconds
    of the whole model, which is timed once, at the start. Which channels stay makes no difference to the time. Every
    number of channels is measured once and remembered for as long as the function lives.

    Args:
        masked: a model from `tf_structprune.wrap`; it is not changed, and its own masks do not count.
        device: what times the files; by default this machine with one thread.
        quantize: "none" for float32, "int8" for full-integer.
        representative_data: `(n, *input shape)` samples, needed for "int8".
        runs: number of timed runs of each file, 1 or more.

    Returns:
        A function of the units that each prunable group keeps, by name, that gives microseconds. It raises a
        ValueError for counts that the model's groups cannot or may not keep.

    Raises:
        ValueError: a model or an argument that `quantize.convert` or the device refuses.
    """

    def converted(model: keras.Model) -> TFLiteFile:
        return TFLiteFile(convert(model, quantize=quantize, representative_data=representative_data))

    files = ShrunkFiles(masked, converted)
    sizes = files.sizes
    whole_us = float(np.median(device.latencies_us((files.whole,), runs=runs)))
    measured = {tuple(sizes.values()): whole_us}

    def cost(kept: Mapping[str, int]) -> float:
        key = tuple({**sizes, **kept}.values())
        if key not in measured:
            both = (files.whole, files.of(kept))
            dense, here = np.median(device.latencies_us(both, runs=runs), axis=1)
            measured[key] = whole_us * float(here / dense)
        return measured[key]

    return cost
