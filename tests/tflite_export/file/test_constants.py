import numpy as np

from tflite_export.file import open_file
from tflite_export.quantize import convert
from tflite_export.runtime import make_interpreter


def test_constants_are_those_that_litert_reads(int8_file, cnn):
    for data in (int8_file, convert(cnn)):
        tensors = open_file(data).description.tensors
        constants = open_file(data).constants
        assert set(constants) == {index for index, tensor in enumerate(tensors) if tensor.constant}
        interpreter = make_interpreter(data)
        for index, values in constants.items():
            assert values.dtype == tensors[index].dtype
            np.testing.assert_array_equal(values, interpreter.get_tensor(index))
