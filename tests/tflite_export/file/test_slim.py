"""A slim file is the same file to every runtime, and small."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.tflite_export.runtime import int8_models
from tflite_export.bench import estimate_npu
from tflite_export.file import TFLiteFile, memory_table, slim, slim_with_names
from tflite_export.quantize import convert
from tflite_export.runtime import run_litert, run_reference, run_tflm, tflm_available

X = int8_models.images(20)
networks = pytest.mark.parametrize("name", int8_models.NETWORKS)


def converted(name):
    return TFLiteFile(int8_models.network(name))


def content(file):
    """Everything that is computed with: operators and their options, tensors, scales, zero points and constants."""
    tensors = [
        (tensor.shape, tensor.dtype, tensor.scales, tensor.zero_points, tensor.constant)
        for tensor in file.description.tensors
    ]
    operators = [(op.name, op.inputs, op.outputs) for op in file.description.operators]
    options = [
        None if op.builtinOptions is None else sorted(vars(op.builtinOptions).items())
        for op in file.parsed.subgraphs[0].operators
    ]
    constants = {index: (array.dtype, array.tobytes()) for index, array in file.constants.items()}
    return tensors, operators, str(options), constants


@pytest.mark.every(2)
@networks
def test_what_is_computed_with_is_the_same_byte_for_byte(name):
    file = converted(name)
    small = file.edited(slim)
    assert content(small) == content(file)
    assert len(small.data) < len(file.data)
    assert small.edited(slim) == small


FEW = ("concat", "depthwise", "residual_projection", "dense_on_maps")  # the bytes of all are compared above


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.sweep) for name in int8_models.NETWORKS]
)
def test_runtimes_give_the_same_integers(name):
    file = converted(name)
    small = file.edited(slim)
    for kernels in ("reference", "xnnpack"):
        np.testing.assert_array_equal(run_litert(small, X, kernels=kernels), run_litert(file, X, kernels=kernels))
    if tflm_available():
        np.testing.assert_array_equal(run_tflm(small, X), run_tflm(file, X))


@pytest.mark.parametrize("edit", [slim, slim_with_names])
def test_reference_computes_a_slim_file(edit):
    file = converted("chain")
    np.testing.assert_array_equal(run_reference(file.edited(edit), X), run_reference(file, X))


def interpreter_of(file):
    interpreter = Interpreter(model_content=file.data)
    interpreter.allocate_tensors()
    return interpreter


def delegated(file):
    """Operators that run in XNNPACK: a delegate's node stands for those that it took."""
    return [op["op_name"] for op in interpreter_of(file)._get_ops_details()].count("DELEGATE")


@pytest.mark.every(2)
@networks
def test_xnnpack_takes_as_much_of_it(name):
    assert delegated(converted(name).edited(slim)) == delegated(converted(name))


def test_vela_estimates_the_same():
    file = converted("residual_projection")
    try:
        before = estimate_npu(file, accelerator="ethos-u55-128")
    except ImportError:
        return  # the extra is not installed
    after = estimate_npu(file.edited(slim), accelerator="ethos-u55-128")
    assert (after.total_cycles, after.sram_bytes, after.flash_bytes) == (
        before.total_cycles,
        before.sram_bytes,
        before.flash_bytes,
    )


def test_nothing_has_a_name():
    small = converted("chain").edited(slim)
    assert {tensor.name for tensor in small.description.tensors} == {""}
    assert not small.parsed.signatureDefs and not small.parsed.metadata and not small.parsed.description
    table = memory_table(small, tflm_arena_bytes=None)
    assert (table.names_bytes, table.metadata_bytes) == (0, 0)


def test_ends_and_signature_may_keep_their_names():
    file = converted("chain")
    named = file.edited(slim_with_names)
    before, after = file.description, named.description
    ends = [tensor.name for tensor in (*before.inputs, *before.outputs)]
    assert [tensor.name for tensor in (*after.inputs, *after.outputs)] == ends and all(ends)
    assert {tensor.name for tensor in after.tensors} - set(ends) == {""}
    runner = interpreter_of(named).get_signature_runner()
    (name,) = runner.get_input_details()
    integers = np.random.default_rng(0).integers(-128, 128, (1, *X.shape[1:])).astype(np.int8)
    (scores,) = runner(**{name: integers}).values()
    np.testing.assert_array_equal(scores, run_litert(file, integers))
    assert len(file.edited(slim).data) < len(named.data) < len(file.data)


def test_empty_buffers_are_one_and_unused_ones_go():
    file = converted("residual_projection")
    small = file.edited(slim)
    signals = [t for t in small.parsed.subgraphs[0].tensors if not small.parsed.buffers[t.buffer].data is not None]
    assert {tensor.buffer for tensor in signals} == {0}
    used = {tensor.buffer for tensor in small.parsed.subgraphs[0].tensors}
    assert used == set(range(len(small.parsed.buffers)))


@pytest.mark.parametrize("channels", [16, 64])
def test_zero_points_are_written_once(channels):
    """Eight bytes a channel for weights and as many for biases, all zero, were most of a file of depthwise layers."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 4))])
    for _ in range(3):
        model.add(keras.layers.DepthwiseConv2D(3, padding="same"))
        model.add(keras.layers.Conv2D(channels, 1, activation="relu"))

    x = np.random.default_rng(0).normal(size=(10, 8, 8, 4)).astype(np.float32)
    small = TFLiteFile(convert(model, quantize="int8", representative_data=x)).edited(slim)
    zeros = bytes(8 * channels)
    assert small.data.count(zeros) == 1
