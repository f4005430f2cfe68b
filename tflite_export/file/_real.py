"""What the integers of a file's constants stand for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_export.file._file import TFLiteFile


def real_constant(file: TFLiteFile, index: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """What the integers of a constant stand for, and the step of each.

    Args:
        file: the file.
        index: of a quantized constant, into `ModelDescription.tensors`.

    Returns:
        The numbers, of the constant's shape, and the steps, one or as many as there are along the quantized axis, in a
        shape that they multiply.
    """
    grid: Any = file.parsed.subgraphs[0].tensors[index].quantization
    values = file.constants[index]
    shape = [1] * values.ndim
    if len(grid.scale) > 1:
        shape[grid.quantizedDimension] = -1
    scales = np.asarray(grid.scale, np.float64).reshape(shape)
    points = np.asarray(grid.zeroPoint, np.int64).reshape(shape)
    return ((values.astype(np.int64) - points) * scales).astype(np.float32), scales
