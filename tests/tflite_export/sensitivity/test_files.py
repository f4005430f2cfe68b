"""The file that is rewritten in floats is the float file where nothing is rounded, and the int8 file where all is."""

import functools

import keras
import numpy as np
import pytest

from tests.tflite_export.sensitivity.int8_models import MODELS, samples
from tf_structprune.graph import input_names
from tf_structprune.task import Samples, output_names
from tflite_export.file import TFLiteFile
from tflite_export.quantize import convert
from tflite_export.runtime import as_list, real_outputs, run_litert
from tflite_export.sensitivity._marks import marked
from tflite_export.sensitivity._mixed import mixed
from tflite_export.sensitivity._pair import pair
from tflite_export.sensitivity._parts import INPUT, parts_of

PARTS = {
    "branches": {
        *("image", "extra", "separable/DEPTHWISE_CONV_2D", "separable/CONV_2D", "gate", "wide", "mean"),
        *("first", "second/FULLY_CONNECTED", "second/TANH"),
    },
    "nested": {"pixels", "inside/conv", "inside/conv_1", "conv", "conv_1_1"},
}


@functools.cache
def converted(name):
    """A model with its files and their parts; shared, for to convert takes longest."""
    model = MODELS[name]()
    copy, marks = marked(model)
    int8 = TFLiteFile(convert(copy, quantize="int8", representative_data=samples(model)))
    files = pair(int8, TFLiteFile(convert(copy)))
    return model, files, parts_of(files, marks, inputs=input_names(model), outputs=output_names(model))


@pytest.fixture(params=MODELS)
def found(request):
    return converted(request.param)


def outputs(file, x):
    return real_outputs(as_list(run_litert(file, Samples(tuple(x)))), file.description)


def test_parts_have_the_names_of_their_layers(found):
    model, _, parts = found
    names = [part.name for part in parts]
    assert len(set(names)) == len(names)
    assert PARTS[model.name] <= set(names)
    assert [part.kind for part in parts].count(INPUT) == len(model.inputs)


def test_file_without_a_rounded_part_is_the_model(found):
    model, files, parts = found
    x = samples(model)
    wanted = keras.tree.flatten(model(x if len(x) > 1 else x[0], training=False))
    for given, output in zip(outputs(mixed(files, parts, ()), x), wanted, strict=True):
        np.testing.assert_allclose(given, np.asarray(output), rtol=1e-4, atol=1e-5)


def test_file_with_all_parts_rounded_is_the_int8_file(found):
    model, files, parts = found
    x = samples(model)
    ends = zip(
        outputs(mixed(files, parts, parts), x), outputs(files.int8, x), files.int8.description.outputs, strict=True
    )
    for simulated, real, tensor in ends:
        steps = np.abs(simulated - real) / tensor.scales[0]
        assert steps.max() <= 3.01 and np.mean(steps > 0.01) < 0.2  # tanh makes up to three steps of one


def test_each_part_changes_what_comes_out_or_is_exact(found):
    model, files, parts = found
    x = samples(model)
    exact = outputs(mixed(files, parts, ()), x)
    for part in parts:
        rounded = outputs(mixed(files, parts, [part]), x)
        assert any((one != other).any() for one, other in zip(rounded, exact, strict=True)), part


def test_signal_that_is_shown_lies_on_the_grid_of_the_file(found):
    model, files, parts = found
    for part in parts:
        tensor = files.int8.description.tensors[part.signal]
        (values,) = outputs(mixed(files, parts, [part], shown=[part.signal]), samples(model))
        steps = values / tensor.scales[0] + tensor.zero_points[0]
        np.testing.assert_allclose(steps, np.round(steps), atol=2e-3)
        assert steps.min() > -128.01 and steps.max() < 127.01


def test_grids_and_weights_are_those_of_the_file_without_marks():
    model, files, _ = converted("nested")
    plain = TFLiteFile(convert(model, quantize="int8", representative_data=samples(model)))

    def grids(file):
        return sorted((each.shape, each.dtype, each.scales, each.zero_points) for each in file.description.tensors)

    def weights(file):
        return sorted(values.tobytes() for values in file.constants.values())

    assert grids(plain) == grids(files.int8)
    assert weights(plain) == weights(files.int8)


def test_file_of_another_model_is_refused():
    int8, other = (converted(name)[1].int8 for name in MODELS)
    with pytest.raises(ValueError, match="the int8 file has another operator than the float file"):
        pair(int8, other)


def test_float_file_with_other_weights_is_refused():
    _, files, parts = converted("nested")

    def changed(model):
        tensor = model.subgraphs[0].tensors[parts[1].constants[0]]
        values = files.real[parts[1].constants[0]]
        data = (values + np.abs(values).max() / 50).astype("<f4").tobytes()
        model.buffers[tensor.buffer].data = np.frombuffer(data, np.uint8)

    with pytest.raises(ValueError, match="of the int8 file are not those of the float file"):
        pair(files.int8, mixed(files, parts, ()).edited(changed))
