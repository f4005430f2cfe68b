"""A calibrated file errs less than the converter's, and is the same file to every runtime and every budget."""

import keras
import numpy as np
import pytest

from tests import zoo
from tests.marks import sweep_but
from tf_structprune.task import Samples
from tflite_export.calibrate import calibrate
from tflite_export.file import TFLiteFile
from tflite_export.quantize import convert
from tflite_export.runtime import real_outputs, run_litert, run_reference, run_tflm, tflm_available

_L = keras.layers
OFTEN = ("chain", "residual_projection", "shared_layer", "sequential")


def network(seed=0):
    """A residual network with pooling, a concatenation and channels with far outliers."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((12, 12, 3))
    x = _L.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    y = _L.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = _L.ReLU()(_L.Add()([x, _L.Conv2D(8, 1)(y)]))
    x = _L.Concatenate()([_L.MaxPooling2D()(x), _L.AveragePooling2D(2)(x)])
    x = _L.Conv2D(12, 3, activation="relu")(x)
    model = keras.Model(inputs, _L.Dense(5, activation="softmax")(_L.GlobalAveragePooling2D()(x)))
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        sizes = [weight.shape for weight in layer.get_weights()]
        layer.set_weights([rng.laplace(size=size) ** 3 / np.sqrt(6 * np.prod(size[:-1]) or 1) for size in sizes])
    return model


def images(count, seed=0):
    """Pixels in bright and dark pictures, so that some signals are far larger than most."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(-1, 1, (count, 12, 12, 3)) * rng.uniform(0, 1, (count, 1, 1, 1)) ** 3).astype(np.float32)


@pytest.fixture(scope="module")
def files():
    model, x = network(), images(64)
    int8 = TFLiteFile(convert(model, quantize="int8", representative_data=x))
    in_float = TFLiteFile(convert(model))
    return int8, in_float, calibrate(int8, in_float, Samples((x,)))


def error(file, in_float, x):
    found, wanted = (real_outputs(run_litert(each.scores, x), each.scores.description) for each in (file, in_float))
    return sum(np.square(a - b).mean() / b.var() for a, b in zip(found, wanted, strict=True))


def test_the_file_errs_less_on_other_samples(files):
    int8, in_float, found = files
    other = images(200, seed=1)
    assert error(found.file, in_float, other) < error(int8, in_float, other) / 1.5


def test_errors_are_told_and_the_least_is_kept(files):
    int8, in_float, found = files
    assert set(found.errors) == {"as given", "ranges", "biases"}
    assert found.errors["as given"] == pytest.approx(error(int8, in_float, images(64)))
    assert error(found.file, in_float, images(64)) == pytest.approx(min(found.errors.values()))


def test_only_grids_and_biases_change(files):
    int8, _, found = files
    before, after = int8.description, found.file.description
    assert [(op.name, op.inputs, op.outputs, op.options) for op in before.operators] == [
        (op.name, op.inputs, op.outputs, op.options) for op in after.operators
    ]
    assert [(tensor.shape, tensor.dtype) for tensor in before.tensors] == [
        (tensor.shape, tensor.dtype) for tensor in after.tensors
    ]
    for index in before.weights:
        np.testing.assert_array_equal(int8.constants[index], found.file.constants[index])
    ends = (*before.input_indices, *before.output_indices)
    assert [before.tensors[index] for index in ends] == [after.tensors[index] for index in ends]
    assert any(a.scales != b.scales for a, b in zip(before.tensors, after.tensors, strict=True) if not a.constant)


def test_scores_in_front_of_a_softmax_keep_their_range(files):
    int8, _, found = files
    assert int8.scores.description.outputs == found.file.scores.description.outputs


def test_biases_stay_in_steps_of_signal_and_weights(files):
    _, _, found = files
    description = found.file.description
    for operator in description.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            signal, weights, bias = (description.tensors[index] for index in operator.inputs)
            assert min(operator.inputs) >= 0
            steps = np.float32(signal.scales[0]) * np.asarray(weights.scales, np.float32)
            np.testing.assert_allclose(bias.scales, steps, rtol=1e-6)


def test_signals_that_share_a_grid_share_it_still(files):
    _, _, found = files
    description = found.file.description
    for operator in description.operators:
        if operator.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION"):
            grids = {
                (description.tensors[index].scales, description.tensors[index].zero_points)
                for index in (*operator.inputs, *operator.outputs)
            }
            assert len(grids) == 1


def test_every_runtime_takes_the_file(files):
    _, _, found = files
    x = images(16, seed=3)
    wanted = run_reference(found.file, x)
    np.testing.assert_array_equal(run_litert(found.file, x, kernels="reference"), wanted)
    scores = [run_litert(found.file.scores, x, kernels=each).astype(int) for each in ("reference", "xnnpack")]
    assert np.abs(scores[0] - scores[1]).max() <= 1
    if tflm_available():
        np.testing.assert_array_equal(run_tflm(found.file, x), wanted)


def test_the_same_samples_give_the_same_bytes(files):
    int8, in_float, found = files
    assert calibrate(int8, in_float, Samples((images(64),))).file.data == found.file.data


@pytest.mark.parametrize("name", sweep_but(OFTEN, {name: (name,) for name in zoo.ZOO}))
def test_no_network_of_the_zoo_errs_more(name):
    model, x = zoo.build(name), Samples.of(zoo.build(name), zoo.batch())
    int8 = TFLiteFile(convert(model, quantize="int8", representative_data=x))
    in_float = TFLiteFile(convert(model))
    found = calibrate(int8, in_float, x)
    assert error(found.file, in_float, x) <= error(int8, in_float, x)
    assert [op.name for op in found.file.description.operators] == [op.name for op in int8.description.operators]


def test_signals_of_16_bits_keep_their_ranges_and_biases_are_corrected():
    model, x = network(), images(64)
    wide = TFLiteFile(convert(model, quantize="int16x8", representative_data=x))
    found = calibrate(wide, TFLiteFile(convert(model)), Samples((x,)))
    grids = [[(each.scales, each.zero_points) for each in file.description.tensors] for file in (wide, found.file)]
    assert grids[0] == grids[1]
    assert found.errors["biases"] < found.errors["as given"]


def test_a_file_with_a_dead_layer_is_given_back_as_it_is():
    model = keras.Sequential([keras.Input((6,)), _L.Dense(4, activation="relu", name="dead"), _L.Dense(2)])
    model.get_layer("dead").set_weights([np.zeros((6, 4)), -np.ones(4)])
    x = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    int8 = TFLiteFile(convert(model, quantize="int8", representative_data=x))
    found = calibrate(int8, TFLiteFile(convert(model)), Samples((x,)))
    assert found.file is int8 and not found.errors
    assert convert(model, quantize="int8", representative_data=x, calibration="mse") == int8.data
