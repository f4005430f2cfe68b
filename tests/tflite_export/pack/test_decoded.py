"""The reader gives back what was packed or refuses in one sentence, whatever the bytes are."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.tflite_export.pack.files import drawn
from tflite_export.file import TFLiteFile
from tflite_export.pack import decoded, pack
from tflite_export.pack._checksum import checked

ONE_LINE = r"^model cannot be read as a \.tflite file with packed weights\. Received: .*\. Pack the model again\.$"


def packed(how):
    return pack(drawn("few values" if how == "lut" else "pruned"), how).file


@pytest.mark.parametrize("how", ["huffman", "bitmap", "lut"])
def test_flipped_bytes_are_refused(how):
    data, rng = packed(how).data, np.random.default_rng(0)
    for place in rng.choice(np.arange(8, len(data)), 12, replace=False):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(ValueError, match=rf"{ONE_LINE}|damaged or truncated TFLite model"):
            decoded(bytes(damaged))


def rewritten(how, change):
    """A file that was changed by somebody who knows of checksums."""
    return TFLiteFile(checked(packed(how).edited(change).data))


def first_decoded(model):
    """The encoded and the shared tensor, and the decoded one, of the first operator that decodes."""
    (graph,) = model.subgraphs
    first = next(each for each in graph.operators if model.operatorCodes[each.opcodeIndex].customCode is not None)
    return [graph.tensors[index] for index in (*first.inputs[:2], first.outputs[0])]


def with_bytes(which, make):
    """The bytes of the encoded (0) or the shared tensor (1) become others."""

    def change(model):
        tensor = first_decoded(model)[which]
        buffer = model.buffers[tensor.buffer]
        buffer.data = make(np.array(buffer.data))
        tensor.shape = np.array([len(buffer.data)], np.int32)

    return change


def shared_byte(place, value):
    return with_bytes(1, lambda data: np.concatenate([data[:place], [np.uint8(value)], data[place + 1 :]]))


def cut(which, size):
    return with_bytes(which, lambda data: data[:size])


def shape(*sizes):
    def change(model):
        first_decoded(model)[2].shape = np.array(sizes, np.int32)

    return change


def unsigned(model):
    first_decoded(model)[2].type = schema.TensorType.UINT8


def fewer_inputs(model):
    (graph,) = model.subgraphs
    first = next(each for each in graph.operators if model.operatorCodes[each.opcodeIndex].customCode is not None)
    first.inputs = first.inputs[:1]


WRONG = {
    "no such kind": ("huffman", shared_byte(0, 9), "no known coding"),
    "version from the future": ("huffman", shared_byte(4, 2), "versions 1 and 2 of a coding, known is 1"),
    "bits for other weights": ("bitmap", shape(24, 3, 3, 1000), "bytes for 216000 weights"),
    "type": ("bitmap", unsigned, r"weights of type 3 and shape \(24, 3, 3, 2\)"),
    "bits cut": ("bitmap", cut(0, 5), "bytes for"),
    "values cut": ("bitmap", cut(1, 20), "weights that are kept, and 4 values"),
    "header cut": ("bitmap", cut(1, 9), "9 shared bytes beginning"),
    "tables cut": ("huffman", cut(1, 20), r"entry \d+ of 2 in its tables"),
    "codewords cut": ("huffman", cut(0, 60), r"codewords for \d+ of 432 weights"),
    "no bits": ("lut", shared_byte(5, 0xF0), "indices of 0 bits"),
    "table cut": ("lut", cut(1, 18), "an index of 14 into 2 values"),
    "other axis": ("lut", shared_byte(5, 0x34), "tables along axis 3 of channels"),
    "inputs": ("lut", fewer_inputs, "1 inputs of an operator that decodes 1 tensors"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_together_is_refused(case):
    how, change, message = WRONG[case]
    file = rewritten(how, change)
    with pytest.raises(ValueError, match=ONE_LINE) as refused:
        decoded(file)
    assert refused.match(message)


def test_unpacked_file_and_one_of_others_are_refused():
    with pytest.raises(ValueError, match="no operator that decodes weights"):
        decoded(TFLiteFile(checked(drawn("pruned").data)))
    with pytest.raises(ValueError, match="no checksum at its end"):
        decoded(packed("bitmap").edited())
    assert decoded(packed("bitmap").edited(), own=False).data == decoded(packed("bitmap")).data


def test_tables_that_lead_nowhere_end():
    nowhere = with_bytes(1, lambda data: np.concatenate([data[:16], np.zeros(2000, np.uint8)]))
    with pytest.raises(ValueError, match="tables that lead to no symbol"):
        decoded(rewritten("huffman", nowhere))
