import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tflite_export.file import open_file
from tflite_export.quantize import convert


def test_constants_are_those_that_litert_reads(int8_file, cnn):
    for data in (int8_file, convert(cnn)):
        tensors = open_file(data).description.tensors
        constants = open_file(data).constants
        assert set(constants) == {index for index, tensor in enumerate(tensors) if tensor.constant}
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        for index, values in constants.items():
            assert values.dtype == tensors[index].dtype
            np.testing.assert_array_equal(values, interpreter.get_tensor(index))
