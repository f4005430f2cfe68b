"""A float model as one whose weights and signals can be put on fixed-point grids."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.fixed_point import to_grid, word_range
from tf_structprune.graph import named_layers
from tf_structprune.layers import QuantizedLayer, SignalQuantizer, quantized_layers, signal_quantizers

_L = keras.layers
REFUSED = {
    "unknown_layer": "'unknown' .Unknown. has no fixed-point form",
    "leaky": "'leaky_re_lu.*' .LeakyReLU. has no fixed-point form",
    "shared_layer": "'shared' is called more than once",
    "batch_norm_behind_flatten": "does not follow a convolution or dense layer",
}
FIXED = [name for name in zoo.ZOO if name not in REFUSED]


def make(build):
    inputs = keras.Input(zoo.INPUT_SHAPE, name="image")
    return zoo.randomize(keras.Model(inputs, build(inputs)))


def calibrated(model, recipe=None, seed=1):
    fixed = sp.to_fixed_point(model, recipe)
    sp.calibrate(fixed, zoo.batch(32, seed))
    return fixed


def inner_signals(fixed, names, x):
    """What the quantizers of some signals give, by name."""
    model = keras.Model(fixed.input, {name: fixed.get_layer(name).output for name in names})
    return {name: keras.ops.convert_to_numpy(value) for name, value in model(x, training=False).items()}


@pytest.mark.every(2)
@pytest.mark.parametrize("name", FIXED)
def test_nothing_is_rounded_before_calibration(name):
    model = zoo.build(name)
    fixed = sp.to_fixed_point(model)
    assert zoo.largest_difference(model, fixed, zoo.batch()) < 2e-5
    assert not any(isinstance(layer, _L.BatchNormalization) for layer in fixed.layers)


@pytest.mark.parametrize("name, message", REFUSED.items(), ids=REFUSED)
def test_what_has_no_fixed_point_form_is_refused_by_name(name, message):
    with pytest.raises(ValueError, match=message):
        sp.to_fixed_point(zoo.build(name))


@pytest.mark.every(3)
@pytest.mark.parametrize("name", FIXED)
def test_the_model_given_is_untouched(name):
    model = zoo.build(name)
    before = [np.array(weight) for weight in model.get_weights()]
    calibrated(model)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.every(5)
@pytest.mark.parametrize("per_channel", [False, True], ids=["a step a layer", "a step a channel"])
@pytest.mark.parametrize("power_of_two", [False, True], ids=["free", "power of two"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_are_words_of_the_asked_length(bits, power_of_two, per_channel):
    fixed = calibrated(zoo.build("residual_identity"), sp.FixedPoint(bits, 8, power_of_two, per_channel))
    for layer in quantized_layers(fixed).values():
        steps = layer.step_values()
        words = keras.ops.convert_to_numpy(layer.effective_kernel()) / steps
        assert np.allclose(words, np.rint(words), atol=1e-3)
        assert np.abs(np.rint(words)).max() <= word_range(bits)[1]
        assert (np.exp2(np.rint(np.log2(steps))) == steps).all() or not power_of_two
        assert steps.shape == ((words.shape[-1],) if per_channel else ())


def test_rounding_is_that_of_the_numpy_room():
    layer = next(iter(quantized_layers(calibrated(zoo.build("chain"), sp.FixedPoint(3, 8))).values()))
    kernel = keras.ops.convert_to_numpy(layer.kernel_variable) * layer.gain_value()
    wanted = to_grid(kernel, float(layer.step_values()), 3)
    assert np.array_equal(keras.ops.convert_to_numpy(layer.effective_kernel()), wanted.astype(np.float32))


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_rectified_signals_are_unsigned_words(bits):
    fixed = calibrated(zoo.build("residual_projection"), sp.FixedPoint(8, bits))
    x = zoo.batch(16, seed=5)
    kinds, quantizers = set(), signal_quantizers(fixed)
    signals = inner_signals(fixed, quantizers, x)
    for name, quantizer in quantizers.items():
        step, smallest, largest = quantizer.calibration().tolist()
        words = signals[name] / step
        assert np.array_equal(words, np.rint(words))
        assert smallest <= words.min() and words.max() <= largest
        kinds.add((quantizer.kind, smallest, largest))
    assert kinds == {("rectified", 0, 2**bits - 1), ("signed", -128, 127), ("measured", -128, 127)}


def test_input_that_is_never_negative_is_unsigned():
    fixed = sp.to_fixed_point(zoo.build("chain"))
    sp.calibrate(fixed, np.abs(zoo.batch(32)) * 255)
    assert signal_quantizers(fixed)["image_signal"].calibration().tolist() == [1, 0, 255]


def test_pruned_weights_stay_zero_in_training():
    model = zoo.build("chain")
    kernel, bias = model.get_layer("b").get_weights()
    kernel[:, :, 1] = 0
    model.get_layer("b").set_weights([kernel, bias])
    fixed = sp.to_fixed_point(model, sp.FixedPoint(4, 6))
    fixed.compile("adam", "mse")
    callback = sp.FixedPointTraining(calibration_data=zoo.batch(32), signal_epoch=1)
    fixed.fit(zoo.batch(32), np.ones((32, 3)) / 3, epochs=3, verbose=0, callbacks=[callback])
    trained = keras.ops.convert_to_numpy(quantized_layers(fixed)["b"].effective_kernel())
    assert (trained[:, :, 1] == 0).all() and (trained[:, :, 0] != 0).any()


def test_rounded_weights_get_the_gradient_of_the_float_ones():
    fixed = calibrated(make(lambda x: zoo._head(zoo.conv(x, 4, name="a"))), sp.FixedPoint(8, 8))
    layer = quantized_layers(fixed)["a"]
    fixed.compile(keras.optimizers.SGD(0.1), "mse")
    before = np.array(layer.kernel_variable)
    fixed.fit(zoo.batch(32), np.eye(3)[np.zeros(32, int)], epochs=1, verbose=0)
    assert (np.array(layer.kernel_variable) != before).mean() > 0.5


def test_kernels_have_the_variance_of_a_beginning_training():
    fixed = sp.to_fixed_point(zoo.build("residual_identity"))
    for layer in quantized_layers(fixed).values():
        kernel = np.array(layer.kernel_variable)
        inputs = kernel.size // kernel.shape[-1]
        assert 0.5 < np.sqrt((kernel**2).mean() * inputs / 2) < 2
        assert np.log2(layer.gain_value()) % 1 == 0


def test_inputs_of_a_concatenation_share_a_grid():
    def build(x):
        joined = _L.Concatenate()([zoo.conv(x, 3, name="left"), zoo.conv(x, 2, name="right")])
        return zoo._head(joined)

    fixed = calibrated(make(build), sp.FixedPoint(8, 5))
    grids = {name: layer.calibration().tolist() for name, layer in signal_quantizers(fixed).items()}
    assert grids["left_signal"] == grids["right_signal"]
    assert grids["left_signal"][2] == 31


def test_separable_convolution_becomes_two_layers():
    model = make(lambda x: zoo._head(_L.SeparableConv2D(5, 3, name="sep", activation="relu")(zoo.conv(x, 4))))
    fixed = sp.to_fixed_point(model)
    assert {"sep_depthwise", "sep"} <= set(quantized_layers(fixed))
    assert zoo.largest_difference(model, fixed, zoo.batch()) < 1e-5


def test_nested_models_are_flattened():
    inner = keras.Sequential([keras.Input((8, 8, 4)), _L.Conv2D(4, 3, name="deep", activation="relu")], name="nest")
    model = make(lambda x: zoo._head(inner(zoo.conv(x, 4, name="a"))))
    fixed = sp.to_fixed_point(model, sp.FixedPoint(layers={"nest-deep": sp.LayerBits(3, 4)}))
    assert quantized_layers(fixed)["nest-deep"].weight_bits == 3
    assert signal_quantizers(fixed)["nest-deep_signal"].bits == 4
    assert zoo.largest_difference(model, fixed, zoo.batch()) < 1e-5


def test_exceptions_of_the_recipe_hold_by_name_and_pattern():
    recipe = sp.FixedPoint(
        4, 5, layers={"cl*": sp.LayerBits(8, 8), "a": sp.LayerBits(2, 3), "b": sp.LayerBits(None, None)}
    )
    fixed = sp.to_fixed_point(zoo.build("chain"), recipe)
    assert {name: layer.weight_bits for name, layer in quantized_layers(fixed).items()} == {
        "a": 2,
        "c": 4,
        "classifier": 8,
    }
    assert "b_signal" not in signal_quantizers(fixed)
    with pytest.raises(ValueError, match="no layer with weights or a signal has that name. Received: layer='z'"):
        sp.to_fixed_point(zoo.build("chain"), sp.FixedPoint(layers={"z": sp.LayerBits()}))


def test_saved_and_loaded_models_agree(tmp_path):
    fixed = calibrated(zoo.build("residual_projection"), sp.FixedPoint(3, 4, per_channel=True))
    fixed.save(tmp_path / "fixed.keras")
    loaded = keras.models.load_model(tmp_path / "fixed.keras")
    assert zoo.largest_difference(fixed, loaded, zoo.batch()) == 0


def test_quantized_and_masked_models_are_refused():
    model = zoo.build("chain")
    for taken in (sp.wrap(model), sp.to_fixed_point(model)):
        with pytest.raises(ValueError, match="is masked or quantized already"):
            sp.to_fixed_point(taken)


def test_masks_go_around_quantizers_and_off_again():
    fixed = calibrated(zoo.build("residual_projection"), sp.FixedPoint(4, 6, per_channel=True))
    masked = sp.wrap(fixed)
    assert zoo.largest_difference(fixed, masked, zoo.batch()) == 0
    assert set(quantized_layers(masked)) == set(quantized_layers(fixed))
    sp.set_masks(masked, sp.random_masks(masked, {"kernel": 0.4}, seed=3))
    plain = sp.unwrap(masked)
    assert zoo.largest_difference(plain, masked, zoo.batch()) < 1e-6
    assert all(type(layer) is not sp.MaskedLayer for layer in named_layers(plain).values())
    assert all((np.array(layer.keep) == 0).any() for name, layer in quantized_layers(plain).items() if name in "bc")


def test_first_convolution_of_a_quantized_model_is_kept():
    graph = sp.trace(sp.to_fixed_point(zoo.build("chain")))
    assert {layer.name: layer.prunable for layer in graph.layers} == {
        layer.name: layer.prunable for layer in sp.trace(zoo.build("chain")).layers
    }


@pytest.mark.parametrize(
    "make_it, message",
    [
        (lambda: SignalQuantizer(kind="odd"), "unknown kind. Received: kind='odd'"),
        (lambda: SignalQuantizer(kind="signed", bits=4), "a signed signal has 8 bits"),
        (lambda: SignalQuantizer(bits=2), "must be from 3 to 8. Received: bits=2"),
        (lambda: QuantizedLayer(_L.Dense(2), weight_bits=9), "must be from 2 to 8. Received: bits=9"),
    ],
    ids=["kind", "short signed word", "short word", "long word"],
)
def test_wrong_settings_are_refused(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()


@pytest.mark.parametrize(
    "layer",
    [
        lambda: _L.UpSampling2D(2),
        lambda: _L.Conv2DTranspose(4, 3),
        lambda: _L.ReLU(negative_slope=0.1),
        lambda: _L.Activation("silu"),
        lambda: _L.LayerNormalization(),
    ],
    ids=["upsampling", "transposed convolution", "leaky ReLU", "silu", "layer normalization"],
)
def test_layers_without_a_reference_in_integers_are_refused(layer):
    model = make(lambda x: zoo._head(layer()(zoo.conv(x, 4, name="a"))))
    with pytest.raises(ValueError, match="has no fixed-point form. Received: a model with such a layer. Replace it"):
        sp.to_fixed_point(model)


def test_rescaling_in_front_becomes_a_convolution_of_single_pixels():
    model = make(lambda x: zoo._head(zoo.conv(_L.Rescaling(1 / 127, offset=-1, name="scale")(x), 4, name="a")))
    fixed = sp.to_fixed_point(model, sp.FixedPoint(3, 6))
    assert quantized_layers(fixed)["scale"].weight_bits == 8
    assert zoo.largest_difference(model, fixed, 255 * np.abs(zoo.batch())) < 1e-4


RECTIFIERS = {
    "layer": lambda: keras.layers.ReLU(6.0),
    "activation": lambda: keras.layers.Activation("relu6"),
    "operation": lambda: keras.ops.relu6,
}


@pytest.mark.parametrize("rectifier", RECTIFIERS)
def test_relu6_in_a_layer_of_its_own_has_the_grid_that_it_reads(rectifier):
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(4, 3, name="read_twice")(inputs)
    x = keras.layers.Add()([x, RECTIFIERS[rectifier]()(x)])
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    fixed = sp.to_fixed_point(model)
    sp.calibrate(fixed, np.random.default_rng(0).normal(size=(20, 6, 6, 2)).astype("float32"))
    tied = [quantizer for quantizer in signal_quantizers(fixed).values() if quantizer.tied]
    assert len(tied) == 2 and (tied[0].calibration() == tied[1].calibration()).all()


@pytest.mark.parametrize("rectifier", [*RECTIFIERS.values(), lambda: keras.layers.ReLU()])
def test_input_that_only_a_rectifier_reads_has_a_grid(rectifier):
    inputs = keras.Input((6, 6, 2), name="image")
    model = keras.Model(inputs, keras.layers.Conv2D(3, 3)(rectifier()(inputs)))
    assert "image_signal" in signal_quantizers(sp.to_fixed_point(model))
