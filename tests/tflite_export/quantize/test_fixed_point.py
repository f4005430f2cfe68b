"""Fixed-point files hold the model's grids to the last bit, and every runtime computes them alike."""

import functools

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from hypothesis import given, settings
from hypothesis import strategies as st

import tf_structprune as sp
from tests import zoo
from tests.marks import sweep_but
from tf_structprune.fixed_point import word_range
from tf_structprune.layers import quantized_layers, recipe_of
from tf_structprune.shrink import shrink
from tflite_export.file import TFLiteFile, packed, without_ties
from tflite_export.quantize import check_file, fixed_point_files, float_form
from tflite_export.quantize._scales import guard_factor
from tflite_export.runtime import run_litert, run_reference, run_tflm

_L = keras.layers
X = 1.2 * zoo.batch(300, 7)  # leaves the range of the calibration
FREE = sp.FixedPoint(3, 5, power_of_two=False, per_channel=True)
RECIPES = {
    "8-8 a step a layer": sp.FixedPoint(8, 8),
    "4-4 a step a channel": sp.FixedPoint(4, 4, per_channel=True),
    "3-5 free": FREE,
    "6-8 a step a layer": sp.FixedPoint(6, 8),
}
REFUSED = {"unknown_layer", "leaky", "shared_layer", "batch_norm_behind_flatten", "two_outputs"}
TOPOLOGIES = [name for name in zoo.ZOO if name not in REFUSED]
# Every topology once, every recipe in turn, and all recipes for the one with the most kinds of layers.
CASES = [(name, list(RECIPES)[at % len(RECIPES)]) for at, name in enumerate(TOPOLOGIES)]
CASES += [("residual_projection", recipe) for recipe in RECIPES if ("residual_projection", recipe) not in CASES]
GATE = ("residual_projection", "flatten_head", "poolings", "grouped_convolution", "add_itself", "sequential")
cases = pytest.mark.parametrize(
    "name, recipe",
    sweep_but([" ".join(case) for case in CASES if case[0] in GATE], {" ".join(case): case for case in CASES}),
)


def max_head(x):
    return _L.Dense(3, activation="softmax", name="classifier")(_L.GlobalMaxPooling2D()(x))


def concatenation(x):
    joined = _L.Concatenate()([zoo.conv(x, 3, name="left", activation=None), zoo.conv(x, 4, name="right")])
    return zoo._head(zoo.conv(joined, 5, name="after"))


def separable(x):
    return zoo._head(_L.SeparableConv2D(5, 3, name="sep", activation="relu")(zoo.conv(x, 4)))


def depthwise(x):
    x = _L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6")(zoo.conv(x, 4))
    x = _L.DepthwiseConv2D(3, strides=2, padding="same")(x)
    return zoo._head(zoo.conv(_L.ReLU(6.0)(_L.BatchNormalization()(x)), 6, 1))


def pad_and_crop(x):
    x = _L.Cropping2D(1)(_L.ZeroPadding2D(2)(zoo.conv(x, 4, activation=None)))
    return zoo._head(zoo.conv(x, 4))


def rows(x):
    x = _L.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="relu", name="causal")(_L.Reshape((16, 8))(x))
    x = _L.Conv1D(4, 3, strides=2, padding="same", groups=2, name="grouped")(x)
    x = _L.MaxPooling1D(2)(_L.Conv1D(5, 1, activation="relu", name="point")(_L.ReLU()(x)))
    return _L.Dense(3, activation="softmax", name="classifier")(_L.Flatten()(x))


OWN = {build.__name__: build for build in (concatenation, separable, depthwise, pad_and_crop, rows)}


def build(name):
    if name not in OWN:
        return zoo.build(name)
    inputs = keras.Input(zoo.INPUT_SHAPE, name="image")
    return zoo.randomize(keras.Model(inputs, OWN[name](inputs), name=name))


def calibrated(model, recipe):
    fixed = sp.to_fixed_point(model, recipe)
    sp.calibrate(fixed, zoo.batch(64))
    return fixed


@functools.cache
def made(name, recipe):
    """A model in fixed point and its files."""
    model = calibrated(build(name), RECIPES[recipe])
    return model, fixed_point_files(model)


def files_of(name, recipe):
    files = made(name, recipe)[1]
    return [data for data in (files.int8, files.int4) if data is not None]


def test_cases_cover_every_topology_and_every_recipe():
    assert {name for name, _ in CASES} == set(TOPOLOGIES)
    assert {recipe for _, recipe in CASES} == set(RECIPES)


@pytest.mark.every(2)
@cases
def test_runtimes_and_numpy_agree_on_every_score(name, recipe):
    for data in (file.scores for file in files_of(name, recipe)):
        expected = run_litert(data, X, kernels="reference")
        assert len(np.unique(expected)) > 3
        np.testing.assert_array_equal(run_reference(data, X), expected)
        np.testing.assert_array_equal(run_reference(data, X, runtime="tflm"), expected)
        pytest.importorskip("tflite_micro")
        np.testing.assert_array_equal(run_tflm(data, X), expected)


@pytest.mark.every(2)
@cases
def test_scales_are_powers_of_two_when_asked(name, recipe):
    for data in files_of(name, recipe):
        scales = [scale for tensor in data.description.tensors for scale in tensor.scales]
        exact = np.log2(scales) % 1 == 0
        assert exact.all() if RECIPES[recipe].power_of_two else (~exact).any()


@cases
def test_files_are_integers_throughout_without_dense_layers(name, recipe):
    for data in files_of(name, recipe):
        description = data.description
        assert {tensor.dtype for tensor in description.tensors} <= {"int8", "int4", "int32"}
        assert not {"FULLY_CONNECTED", "QUANTIZE", "DEQUANTIZE"} & set(description.operator_names)


@pytest.mark.parametrize("bits", [3, 4, 6])
def test_weights_are_words_of_the_asked_length(bits):
    files = fixed_point_files(calibrated(zoo.build("flatten_head"), sp.FixedPoint(bits, 8)))
    largest = word_range(bits)[1]
    factor = guard_factor(largest)
    wide = words_of(files.int8)
    assert all((integers % factor == 0).all() and np.abs(integers).max() <= largest * factor for integers in wide)
    assert max(np.abs(integers).max() for integers in wide) > largest * factor / 2  # no shorter word would do
    assert (files.int4 is None) == (bits > 4)
    if files.int4 is not None:
        narrow = words_of(files.int4)
        assert all(np.array_equal(one * factor, other) for one, other in zip(narrow, wide, strict=True))
        assert {tensor.dtype for tensor in weight_tensors(files.int4)} == {"int4"}


@pytest.mark.parametrize("sharing", ["cws", "ecsq"])
@pytest.mark.parametrize("name", ["flatten_head", "residual_projection"])
def test_layers_use_few_of_their_words_where_they_are_shared(name, sharing):
    recipe = sp.FixedPoint(8, 8, shared=5, sharing=sharing)
    given = zoo.build(name)
    model = calibrated(given, recipe)
    file = fixed_point_files(model).int8
    integers = words_of(file)
    assert all(len(np.unique(each[each != 0])) <= 5 for each in integers)
    assert max(np.abs(each).max() for each in integers) > 64
    expected = run_litert(file.scores, X, kernels="reference")
    np.testing.assert_array_equal(run_reference(file.scores, X), expected)
    assert recipe_of(model).shared == 5 and recipe_of(model).sharing == sharing
    assert fixed_point_files(calibrated(given, recipe_of(model))).int8 == file


def weight_tensors(data):
    description = data.description
    return [description.tensors[index] for index in sorted(description.weights)]


def words_of(data):
    return [data.constants[index].astype(int) for index in sorted(data.description.weights)]


def test_only_short_words_of_a_mixed_recipe_are_packed():
    recipe = sp.FixedPoint(4, 6, layers={"b": sp.LayerBits(6, 6)})
    files = fixed_point_files(calibrated(zoo.build("flatten_head"), recipe))
    assert sorted(tensor.dtype for tensor in weight_tensors(files.int4)) == ["int4", "int4", "int4", "int8"]


# Operators that round nothing, or what a tie cannot reach.
ALIKE = {"ADD", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D", "PAD", "REDUCE_MAX", "RESHAPE"}
ALIKE |= {"STRIDED_SLICE"}
SHORT = [sp.FixedPoint(6, 8), sp.FixedPoint(4, 4, per_channel=True), sp.FixedPoint(2, 3)]
# Left out: AVERAGE_POOL_2D ("poolings") and, in "residual_projection" with any recipe, a normalization that stands
# alone: it keeps 8 bits, which leave no room below the word.
OBEYING = [*OWN, *(name for name in TOPOLOGIES if name not in ("poolings", "softmax_layer", "residual_projection"))]
OFTEN = ("concatenation", "separable", "depthwise", "pad_and_crop", "residual_twice")


@pytest.mark.every(2)
@pytest.mark.parametrize("at, name", sweep_but(OFTEN, {name: (at, name) for at, name in enumerate(OBEYING)}))
def test_short_words_give_the_same_scores_in_xnnpack_and_keras(at, name, monkeypatch):
    """Power-of-two steps, words of 6 bits or fewer; sums that may be negative only in front of ReLU."""
    monkeypatch.setattr(zoo, "_head", max_head)
    model = calibrated(build(name), SHORT[at % len(SHORT)])
    data = fixed_point_files(model).int8.scores
    assert set(data.description.operator_names) <= ALIKE
    assert scores_differ(model, data, X[:300]) == (0, 0)


def scores_differ(model, data, x):
    """On how many scores XNNPACK and the Keras model differ from the reference kernels."""
    expected = run_litert(data, x, kernels="reference")
    scores = keras.Model(model.inputs, model.get_layer("classifier_signal").output).predict(x, verbose=0)
    (output,) = data.description.outputs
    integers = np.rint(scores / output.scales[0]) + output.zero_points[0]
    return int((run_litert(data, x) != expected).sum()), int((integers != expected).sum())


def test_long_words_are_within_a_step_in_keras():
    """A tie may go either way, and no more: the scores' own rounding, behind equal signals."""
    inputs = keras.Input(zoo.INPUT_SHAPE, name="image")
    outputs = _L.Dense(3, activation="softmax", name="classifier")(_L.Flatten()(inputs))
    model = calibrated(zoo.randomize(keras.Model(inputs, outputs)), sp.FixedPoint(8, 8))
    data = fixed_point_files(model).int8.scores
    expected = run_litert(data, X, kernels="reference").astype(int)
    scores = keras.Model(model.inputs, model.get_layer("classifier_signal").output).predict(X, verbose=0)
    assert np.abs(np.rint(scores / data.description.outputs[0].scales[0]) - expected).max() <= 1
    assert np.abs(run_litert(data, X) - expected).max() <= 1


def test_convolutions_over_time_are_converted():
    model = calibrated(build("rows"), sp.FixedPoint(6, 8, per_channel=True))
    data = fixed_point_files(model).int8.scores
    assert scores_differ(model, data, X[:100]) == (0, 0)


def test_scores_finer_than_the_products_have_biases_that_are_not_rounded(monkeypatch):
    """Where a sum is divided by less than 8, all of it is a multiple of 4."""
    monkeypatch.setattr(zoo, "_head", max_head)
    model = calibrated(build("separable"), sp.FixedPoint(4, 4, per_channel=True))
    data = fixed_point_files(model).int8
    description, constants = data.description, data.constants
    kinds = set()
    for operator in description.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            bias, output = operator.inputs[2], description.tensors[operator.outputs[0]]
            fine = np.asarray(description.tensors[bias].scales) / output.scales[0] > 1 / 8
            assert (constants[bias] % 4 == np.where(fine, 0, 1)).all()
            kinds |= set(fine.tolist())
    assert kinds == {False, True}


def edited(data, change):
    """The file with its parsed form changed by a function."""
    return data.edited(lambda parsed: change(parsed, data.description))


def _weights_buffer(parsed, description):
    index = min(description.weights)
    return parsed.subgraphs[0].tensors[index], parsed.buffers[parsed.subgraphs[0].tensors[index].buffer]


def change_a_weight(parsed, description):
    _, buffer = _weights_buffer(parsed, description)
    values = np.array(buffer.data, np.uint8)
    values[3] ^= 16
    buffer.data = values


def change_a_weight_scale(parsed, description):
    quantization = _weights_buffer(parsed, description)[0].quantization
    quantization.scale = quantization.scale * np.float32(1.001)


def change_a_signal_scale(parsed, description):
    (operator, *_) = description.operators
    quantization = parsed.subgraphs[0].tensors[operator.outputs[0]].quantization
    quantization.scale = quantization.scale * np.float32(1.001)


def change_a_zero_point(parsed, description):
    (operator, *_) = description.operators
    quantization = parsed.subgraphs[0].tensors[operator.outputs[0]].quantization
    quantization.zeroPoint = quantization.zeroPoint + 1


TAMPERED = {
    change_a_weight: "weights that no layer of the model has on its grid",
    change_a_weight_scale: "weights that no layer of the model has on its grid",
    change_a_signal_scale: r"tensor of shape \(1, 8, 8, 4\) is not on a grid of the model. Received: int8, scales",
    change_a_zero_point: "is not on a grid of the model. Received: int8, scales .*, zero points",
}


@pytest.mark.every(2)
@pytest.mark.parametrize("change", TAMPERED, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind, recipe", [("int8", "4-4 a step a channel"), ("int4", "3-5 free")])
def test_file_that_was_tampered_with_is_refused(change, kind, recipe):
    model, files = made("chain", recipe)
    data = getattr(files, kind)
    check_file(data, model)
    with pytest.raises(RuntimeError, match=TAMPERED[change]):
        check_file(edited(data, change), model)


def test_file_of_another_model_is_refused():
    model, files = made("chain", "4-4 a step a channel")
    with pytest.raises(RuntimeError, match="weights that no layer of the model has"):
        check_file(files.int8, calibrated(zoo.build("chain", seed=3), RECIPES["4-4 a step a channel"]))
    check_file(files.int8, model)


def test_file_without_the_weights_of_a_layer_is_refused():
    recipe = sp.FixedPoint(4, 4)
    short = calibrated(zoo.build("chain"), recipe)
    (inputs,) = short.inputs
    extra = sp.to_fixed_point(build("separable"), recipe)
    sp.calibrate(extra, zoo.batch(16))
    both = keras.Model(inputs, [short.output, extra(inputs)])
    with pytest.raises(RuntimeError, match=r"Layer '.*': the file does not hold its weights. Received: \d of 8 layers"):
        check_file(fixed_point_files(short).int8, both)


def test_packed_file_is_smaller():
    files = made("residual_projection", "4-4 a step a channel")[1]
    assert len(files.int4.data) < len(files.int8.data)


def hand_made(weights, biases, scales=(0.5, 1.0, 16.0)):
    """A file of one convolution of single pixels; scales of input, weights and output."""
    given, kernel, made = np.float32(scales)
    weights, biases = np.asarray(weights, np.int8), np.asarray(biases, np.int32)
    outputs, inputs = weights.shape
    parts = [
        ((1, 1, 1, inputs), schema.TensorType.INT8, given, 0),
        ((outputs, 1, 1, inputs), schema.TensorType.INT8, kernel, 1),
        ((outputs,), schema.TensorType.INT32, given * kernel, 2),
        ((1, 1, 1, outputs), schema.TensorType.INT8, made, 0),
    ]
    tensors = [schema.TensorT() for _ in parts]
    for tensor, (shape, kind, scale, buffer) in zip(tensors, parts, strict=True):
        tensor.shape, tensor.type, tensor.buffer, tensor.name = list(shape), kind, buffer, b"some name"
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = np.array([scale]), np.array([0])
    buffers = [schema.BufferT() for _ in range(3)]
    buffers[1].data, buffers[2].data = weights.tobytes(), biases.tobytes()
    code, operator, graph, model = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = schema.Conv2DOptionsT()
    operator.builtinOptions.strideH = operator.builtinOptions.strideW = 1
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [operator], [0], [3]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], buffers
    return TFLiteFile(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def matrices(largest):
    shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))
    word = st.integers(-largest, largest)
    return shapes.flatmap(
        lambda s: st.lists(st.lists(word, min_size=s[1], max_size=s[1]), min_size=s[0], max_size=s[0])
    )


@settings(deadline=None)
@given(matrices(8))
def test_packing_keeps_every_weight_of_four_bits(weights):
    data = hand_made(weights, np.zeros(len(weights))).edited(packed)
    integers = np.array(weights)
    assert np.array_equal(data.constants[1].reshape(integers.shape), integers)
    short = np.abs(integers).max() <= 7
    assert data.description.tensors[1].dtype == ("int4" if short else "int8")
    stored = data.parsed.buffers[1].data
    assert len(stored) == ((integers.size + 1) // 2 if short else integers.size)


def test_packed_odd_numbers_of_weights_are_computed_with():
    weights = np.arange(-7, 8).reshape(3, 5)
    data = hand_made(weights, [3, -4, 5])
    x = np.random.default_rng(0).integers(-128, 128, (50, 1, 1, 5)).astype(np.int8)
    expected = run_litert(data, x, kernels="reference")
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(run_litert(data.edited(packed), x, kernels="reference"), expected)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**31) + 4, 2**31 - 4), min_size=1, max_size=6), st.integers(-2, 6))
def test_biases_leave_no_tie_and_hardly_move(biases, shift):
    weights = np.full((len(biases), 1), 4)
    data = hand_made(weights, biases, scales=(1.0, 1.0, 2.0**shift))
    moved = data.edited(without_ties).constants[2].astype(np.int64)
    assert np.abs(moved - biases).max() <= 2
    assert set(moved % 4) == ({1} if shift >= 3 else {0})
    untouched = hand_made(weights + [[2]], biases, scales=(1.0, 1.0, 2.0**shift))
    assert np.array_equal(untouched.edited(without_ties).constants[2], biases)


@pytest.mark.parametrize("shift", range(-2, 8))
def test_no_runtime_rounds_otherwise_once_ties_are_gone(shift):
    """Over all inputs of one multiple of four: what is left is the nearest integer, ties gone up."""
    rng = np.random.default_rng(shift + 2)
    biases = 4 * rng.integers(-20, 20, 8)
    data = hand_made(np.full((8, 1), 4), biases, scales=(1.0, 1.0, 2.0**shift))
    x = np.arange(-128, 128).astype(np.int8).reshape(-1, 1, 1, 1)
    exact = np.clip(np.floor((4 * x.astype(int) + biases) / 2.0**shift + 0.5), -128, 127)
    for kernels in ("reference", "xnnpack"):
        np.testing.assert_array_equal(run_litert(data.edited(without_ties), x, kernels=kernels), exact)


def test_same_model_gives_the_same_bytes():
    model, files = made("sequential", dict(CASES)["sequential"])
    assert fixed_point_files(model) == files


def test_float_form_has_the_rounded_weights_and_float_signals():
    model = calibrated(zoo.build("residual_projection"), sp.FixedPoint(3, 3))
    plain = float_form(model)
    assert not sp.layers.is_fixed_point(plain)
    for name, layer in quantized_layers(model).items():
        kernel, bias = plain.get_layer(name).get_weights()
        np.testing.assert_array_equal(kernel, keras.ops.convert_to_numpy(layer.effective_kernel()))
        np.testing.assert_array_equal(bias, keras.ops.convert_to_numpy(layer.effective_bias()))
    in_float = sp.to_fixed_point(zoo.build("residual_projection"), sp.FixedPoint(3, None))
    sp.stages.calibrate_weights(in_float)
    assert zoo.largest_difference(plain, in_float, zoo.batch()) < 0.05


def with_masks():
    return sp.wrap(calibrated(zoo.build("chain"), sp.FixedPoint(4, 4)))


BAD_MODELS = {
    "plain": (lambda: zoo.build("chain"), "Layer 'a' has weights in float. Received: Conv2D. Give it weight_bits"),
    "not calibrated": (
        lambda: sp.to_fixed_point(zoo.build("chain")),
        r"Layer '.*' is not calibrated. Received: step=0. Call calibrate\(model, samples\), or train",
    ),
    "masked": (with_masks, "Layer '.*' is masked. Received: MaskedLayer. Shrink the model first"),
    "a layer's weights in float": (
        lambda: calibrated(zoo.build("chain"), sp.FixedPoint(layers={"b": sp.LayerBits(None, 8)})),
        "Layer 'b' has weights in float. Received: Conv2D",
    ),
    "all signals in float": (
        lambda: calibrated(zoo.build("chain"), sp.FixedPoint(8, None)),
        "Model 'chain' is not in fixed point throughout. Received: 4 layers with weights and 0 signals",
    ),
    "a signal in float": (
        lambda: calibrated(zoo.build("chain"), sp.FixedPoint(layers={"b": sp.LayerBits(8, None)})),
        "Model 'chain' has a signal in float. Received: .*Give every layer signal_bits",
    ),
    "the scores in float": (
        lambda: calibrated(zoo.build("chain"), sp.FixedPoint(layers={"classifier": sp.LayerBits(8, None)})),
        "Model 'chain' has a signal in float",
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_models_that_are_not_ready_are_refused(case):
    make, message = BAD_MODELS[case]
    with pytest.raises(ValueError, match=message):
        fixed_point_files(make())


def test_another_backend_is_refused(monkeypatch):
    model, _ = made("chain", "8-8 a step a layer")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="Received: KERAS_BACKEND=jax. Save the model .*KERAS_BACKEND=tensorflow"):
        fixed_point_files(model)


def test_shrunk_model_has_a_smaller_file_with_its_grids():
    fixed = sp.to_fixed_point(zoo.build("residual_projection"), sp.FixedPoint(4, 6))
    sp.calibrate(fixed, zoo.batch(32))
    masked = sp.wrap(fixed)
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.4}))
    small = fixed_point_files(shrink(masked).model)  # reads back what it wrote
    whole = fixed_point_files(sp.unwrap(masked))
    assert len(small.int8.data) < len(whole.int8.data) and len(small.int4.data) < len(whole.int4.data)
