"""Weights of few bits as indices into a table of their values, which TFLite Micro looks up before it computes."""

import math

import numpy as np

from tflite_export.file._file import TFLiteFile
from tflite_export.file._slim import slim

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D")
_MOST_BITS = 7  # of an index, which TFLite Micro's DECODE operator takes


def lut_compressed(file: TFLiteFile) -> TFLiteFile:
    """Compresses the weights of an int8 file with the tool of TFLite Micro, each layer with a table of its own.

    The file then runs in TFLite Micro only, whose DECODE operators unpack a layer's weights into the arena. Whether
    it computes the same is to be verified: the tool is young.

    Args:
        file: full-integer file with one scale for the weights of each layer: LiteRT refuses the packed tensors of
            others.

    Returns:
        The file; weights with more than 128 different values, or that would not get smaller, are as they were.

    Raises:
        ImportError: `tflite-micro` is not installed, or without its compression tool.
        ValueError: weights with a scale for each channel, or the tool refuses.
    """
    from tflite_micro.tensorflow.lite.micro.compression import compress, compressor, spec, spec_builder

    description, constants = file.description, file.constants
    builder = spec_builder.SpecBuilder()
    for operator in description.operators:
        if operator.name not in _WEIGHTED:
            continue
        index = operator.inputs[1]
        if len(description.tensors[index].scales) != 1:
            raise ValueError(
                f"Tensor '{description.tensors[index].name}' of {operator.name}: LUT compression needs one scale for "
                f"a layer. Received: {len(description.tensors[index].scales)} scales. Use per_channel=False."
            )
        values = np.unique(constants[index])
        bits = max(1, math.ceil(math.log2(len(values))))
        if bits <= _MOST_BITS and bits * constants[index].size / 8 + len(values) < constants[index].size:
            builder.add_tensor(subgraph=0, tensor=index).with_lut(index_bitwidth=bits, mode=spec.PerTensor())
    try:
        return TFLiteFile(bytes(compress(file.data, builder.build()))).edited(slim)
    except compressor.CompressionError as error:
        raise ValueError(f"TFLite Micro's compression tool refuses the file. Received: {error}.") from error
