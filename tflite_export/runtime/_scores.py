"""The scores of a classifier before they become probabilities."""

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflite_export.runtime._describe import describe
from tflite_export.runtime._model_file import TFLiteModel, read_model

_SQUASHING = ("SOFTMAX", "LOGISTIC")


def without_softmax(model: TFLiteModel) -> bytes:
    """A copy of a model that ends before its last softmax or sigmoid.

    Quantized exponentials turn a difference of one step in a score into many steps of the probability, so
    two runtimes are compared in the scores.

    Args:
        model: path of the file, or its bytes.

    Returns:
        The shorter model; the bytes as they are when the last operator is another one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or of another format.
    """
    data = read_model(model)
    operators = describe(data).operators
    if len(operators) < 2 or operators[-1].name not in _SQUASHING:
        return data
    parsed = schema.ModelT.InitFromPackedBuf(data)
    graph = parsed.subgraphs[0]
    if list(graph.outputs) != [operators[-1].outputs[0]]:
        return data
    graph.outputs = [operators[-1].inputs[0]]
    graph.operators = graph.operators[:-1]
    parsed.signatureDefs = []  # they name the output that is gone
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))
