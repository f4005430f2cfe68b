import keras
import numpy as np
import pytest

from tflite_export.devices import HOST, Host, Measurement, operator_times
from tflite_export.file import beginnings, open_file
from tflite_export.quantize import convert
from tflite_export.runtime import run_litert


@pytest.fixture(scope="module")
def file():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    y = keras.layers.Add()([x, keras.layers.MaxPooling2D(3, 1, "same")(x)])
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(y)))
    data = np.random.default_rng(0).random((20, 12, 12, 3), np.float32)
    return open_file(convert(model, quantize="int8", representative_data=data))


def test_beginnings_are_the_file_cut_behind_each_operator(file):
    parts = beginnings(file)
    names = [operator.name for operator in file.description.operators]
    assert [[each.name for each in part.description.operators] for part in parts] == [
        names[: count + 1] for count in range(len(names))
    ]
    x = np.random.default_rng(1).integers(-128, 128, (3, 12, 12, 3), np.int8)
    outputs = [run_litert(part, x, kernels="reference") for part in (parts[-1], file)]
    np.testing.assert_array_equal(*outputs)


def test_beginnings_give_what_the_rest_reads(file):
    """Else a runtime leaves out what only a later operator asks for, and that one seems to take its time."""
    operators = file.description.operators
    for count, part in enumerate(beginnings(file), 1):
        read = {index for operator in operators[count:] for index in operator.inputs} | set(
            file.description.output_indices
        )
        made = [index for operator in operators[:count] for index in operator.outputs if index in read]
        assert len(part.description.outputs) == len(made) >= 1
    assert max(len(part.description.outputs) for part in beginnings(file)) == 2


def test_host_tells_what_each_operator_takes(file):
    (found,) = HOST.measure((file,), runs=3, operators=True)
    assert [each.name for each in found.operators] == [each.name for each in file.description.operators]
    assert len({each.output for each in found.operators}) == len(found.operators)
    assert all(each.us >= 0 for each in found.operators) and len(found.latencies_us) == 3
    assert HOST.measure((file,), runs=1)[0].operators == ()


@pytest.mark.parametrize("seed", range(20))
def test_operators_share_the_time_of_the_whole_however_noisy(file, seed):
    count = len(file.description.operators)
    times = np.random.default_rng(seed).uniform(1, 9, count)
    parts = [each.us for each in operator_times(file.description, times)]
    assert min(parts) >= 0 and sum(parts) == pytest.approx(times[-1])


def test_rising_times_are_told_apart(file):
    count = len(file.description.operators)
    steps = np.arange(1.0, count + 1)
    assert [each.us for each in operator_times(file.description, np.cumsum(steps))] == pytest.approx(steps.tolist())


def test_median_and_percentiles_are_those_of_the_rounds():
    found = Measurement((3.0, 1.0, 2.0, 90.0))
    assert found.median_us == 2.5 and found.percentile_us(0) == 1 and found.percentile_us(100) == 90


@pytest.mark.parametrize("threads, told", [(1, "one thread"), (3, "3 threads")])
def test_description_tells_the_threads(threads, told):
    assert Host(threads).description.endswith(told)
