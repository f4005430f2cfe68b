import pytest

from tests.tflite_export.runtime import int8_models
from tflite_export.file import (
    ModelDescription,
    OperatorDescription,
    TensorDescription,
    activation_peak_bytes,
    open_file,
)
from tflite_export.runtime import arena_bytes


def model_of(sizes, operators, outputs, *, dtype="int8", constants=()):
    """A description from the bytes of each tensor and (inputs, outputs) of each operator; tensor 0 is the input."""
    tensors = tuple(TensorDescription(str(i), (n,), dtype, (), (), i in constants) for i, n in enumerate(sizes))
    called = tuple(OperatorDescription("ANY", inputs, results, 0) for inputs, results in operators)
    return ModelDescription(8, tensors, called, (0,), outputs)


GRAPHS = {
    "chain": (model_of((10, 30, 20, 5), [((0,), (1,)), ((1,), (2,)), ((2,), (3,))], (3,)), 50),
    "residual": (model_of((10, 10, 10, 10), [((0,), (1,)), ((1,), (2,)), ((1, 2), (3,))], (3,)), 30),
    "input read late": (model_of((100, 10, 10, 10), [((0,), (1,)), ((1,), (2,)), ((0, 2), (3,))], (3,)), 120),
    "output made early": (model_of((10, 40, 20, 30), [((0,), (1,)), ((1,), (2,)), ((2,), (3,))], (1, 3)), 90),
    "result never read": (model_of((10, 40, 20), [((0,), (1,)), ((0,), (2,))], (2,)), 50),
    "constant": (model_of((10, 20, 999), [((0, 2), (1,))], (1,), constants=(2,)), 30),
    "left-out input": (model_of((10, 20), [((0, -1), (1,))], (1,)), 30),
    "float32": (model_of((10, 20), [((0,), (1,))], (1,), dtype="float32"), 120),
    "int4": (model_of((3, 4), [((0,), (1,))], (1,), dtype="int4"), 4),
    "empty": (model_of((10,), [], (0,)), 0),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_peak_is_the_largest_sum_of_live_signals(name):
    description, peak = GRAPHS[name]
    assert activation_peak_bytes(description) == peak


@pytest.mark.parametrize("name", ["average", "concat", "depthwise", "gate"])
def test_peak_is_less_than_the_arena_of_tflm(name):
    pytest.importorskip("tflite_micro")
    data = int8_models.network(name)
    assert 0 < activation_peak_bytes(open_file(data).description) <= arena_bytes(data)


def test_signal_without_a_fixed_size_is_refused():
    description = model_of((1, 1), [((0,), (1,))], (1,), dtype="string")
    with pytest.raises(ValueError, match="Tensor '0': must have a type of fixed size. Received: dtype=string"):
        activation_peak_bytes(description)
