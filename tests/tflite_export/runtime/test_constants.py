import numpy as np

from tflite_export.quantize import convert
from tflite_export.runtime import describe, make_interpreter, read_model
from tflite_export.runtime._constants import constant_values


def test_constants_are_those_that_litert_reads(int8_file, cnn):
    for data in (int8_file, convert(cnn)):
        tensors = describe(data).tensors
        constants = constant_values(read_model(data))
        assert set(constants) == {index for index, tensor in enumerate(tensors) if tensor.constant}
        interpreter = make_interpreter(data)
        for index, values in constants.items():
            assert values.dtype == tensors[index].dtype
            np.testing.assert_array_equal(values, interpreter.get_tensor(index))
