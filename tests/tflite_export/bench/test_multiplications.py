"""The model of direct, im2col and FFT multiplications of kernel-pruned layers."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

from tflite_export.bench import (
    LayerMultiplications,
    count_multiplications,
    kernel_pruned_multiplications,
    multiplications_section,
)
from tflite_export.bench._multiplications import fft_side, sufficient_side

SIZES = {"kernel_size": (3, 3), "input_size": (8, 8), "output_size": (6, 6)}


def count(alive, **sizes):
    return count_multiplications("conv", np.asarray(alive, bool), **SIZES | sizes)


def some_alive(seed, shape=(5, 4)):
    return np.random.default_rng(seed).random(shape) < 0.6


def network(removed=(), **arguments):
    """A model of one convolution from 3 maps of 7x6 to 4, without some of its kernels."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Conv2D(4, name="conv", use_bias=False, **{"kernel_size": (3, 2)} | arguments)
    shape = (7, 6, 3) if layer.data_format == "channels_last" else (3, 7, 6)
    model = keras.Sequential([keras.Input(shape), layer])
    remove(layer, removed)
    return model


def remove(layer, pairs):
    kernel = layer.get_weights()[0]
    for source, target in pairs:
        kernel[:, :, source, target] = 0
    layer.set_weights([kernel, *layer.get_weights()[1:]])


def convolve(x, kernel, shape, strides, dilation):
    """Direct convolution that passes over removed kernels, and the number of its multiplications."""
    missing = [
        max((outputs - 1) * step + (taps - 1) * apart + 1 - places, 0)
        for places, outputs, taps, step, apart in zip(
            x.shape[:2], shape, kernel.shape[:2], strides, dilation, strict=True
        )
    ]
    x = np.pad(x, [(each // 2, each - each // 2) for each in missing] + [(0, 0)])
    y, products = np.zeros((*shape, kernel.shape[3])), 0
    taps = list(itertools.product(*map(range, kernel.shape[:2])))
    pairs = [pair for pair in itertools.product(*map(range, kernel.shape[2:])) if kernel[:, :, *pair].any()]
    for row, column, (down, right), (source, target) in itertools.product(*map(range, shape), taps, pairs):
        place = row * strides[0] + down * dilation[0], column * strides[1] + right * dilation[1]
        y[row, column, target] += x[*place, source] * kernel[down, right, source, target]
        products += 1
    return y, products


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"padding": "same"},
        {"strides": 2},
        {"strides": (2, 1), "padding": "same"},
        {"dilation_rate": (1, 2), "padding": "same"},
        {"kernel_size": 1},
    ],
    ids=str,
)
def test_direct_is_what_a_convolution_loop_multiplies(arguments):
    model = network([(0, 1), (2, 3), (2, 0)], **arguments)
    layer = model.layers[0]
    x = np.random.default_rng(0).random((7, 6, 3), np.float32)
    expected = np.asarray(model(x[None]))[0]
    y, products = convolve(x, layer.get_weights()[0], expected.shape[:2], layer.strides, layer.dilation_rate)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    (row,) = kernel_pruned_multiplications(model)
    assert (row.direct, row.kept_kernels, row.kernels) == (products, 9, 12)


@pytest.mark.parametrize("strides, output_size", [((1, 1), (6, 6)), ((2, 3), (3, 2))])
def test_all_kept_is_the_textbook_number(strides, output_size):
    row = count(np.ones((5, 4)), strides=strides, output_size=output_size)
    assert row.direct == row.im2col == output_size[0] * output_size[1] * 9 * 5 * 4
    assert row.kept_kernels == row.kernels == 20


@pytest.mark.parametrize("seed", range(10))
def test_every_removed_kernel_lowers_direct_and_fft_and_never_raises_im2col(seed):
    alive = np.ones((5, 4), bool)
    before = count(alive)
    for place in np.random.default_rng(seed).permutation(alive.size):
        alive.flat[place] = False
        after = count(alive)
        assert after.direct < before.direct and after.fft < before.fft
        assert after.direct <= after.im2col <= before.im2col
        before = after
    assert (before.direct, before.im2col, before.fft, before.kept_kernels) == (0, 0, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_im2col_is_the_matrix_product_that_is_left(seed):
    alive = some_alive(seed) & some_alive(seed + 100)
    weights = np.repeat(alive, 9, axis=0)  # one row a column of the data matrix
    left = weights[weights.any(axis=1)][:, weights.any(axis=0)]
    assert count(alive).im2col == 36 * left.shape[0] * left.shape[1]


def test_im2col_gains_nothing_from_scattered_kernels_and_all_from_a_map():
    scattered, whole = np.ones((4, 4)) - np.eye(4), np.ones((4, 4))
    whole[2] = 0
    assert count(scattered).im2col == count(np.ones((4, 4))).im2col
    assert count(whole).im2col == count(np.ones((3, 4))).im2col
    assert count(scattered).direct == count(whole).direct


def test_fft_counted_by_hand():
    # Maps of 8 x 8, transforms too: 64 log2(64) = 384 each; 8 x 5 coefficients are half the spectrum, 4 a product.
    row = count([[1, 1, 0], [1, 0, 1]])
    assert row.fft == 2 * 384 + 4 * (4 * 40) + 3 * 384
    assert (row.direct, row.im2col) == (4 * 9 * 36, 6 * 9 * 36)
    # An input map that nothing reads and an output map without a kernel are not transformed.
    assert count([[1, 0, 0], [0, 0, 0]]).fft == 2 * 384 + 4 * 40
    # Padded by one on each side the maps need 9 places, so 16: 256 log2(256) = 2048, 16 x 9 coefficients.
    assert count([[1]], output_size=(8, 8)).fft == 2 * 2048 + 4 * 144
    # Sides of their own: 4 x 16 = 64 places, 4 x 9 coefficients.
    assert count([[1]], input_size=(4, 16), output_size=(2, 14)).fft == 2 * 384 + 4 * 36


def test_strides_lower_direct_and_not_fft():
    dense, strided = count([[1]], output_size=(5, 5)), count([[1]], output_size=(3, 3), strides=(2, 2))
    assert strided.fft == dense.fft
    assert strided.direct * 25 == dense.direct * 9


def test_cheapest_is_the_least_and_direct_among_equals():
    assert LayerMultiplications("a", 1, 2, 5, 5, 5).cheapest == "direct"
    assert LayerMultiplications("a", 1, 2, 5, 4, 4).cheapest == "im2col"
    assert LayerMultiplications("a", 1, 2, 5, 4, 3).cheapest == "fft"


def axis_outputs(x, taps, outputs, stride, dilation):
    span = (outputs - 1) * stride + (len(taps) - 1) * dilation + 1
    missing = max(span - len(x), 0)
    x = np.pad(x, (missing // 2, missing - missing // 2))
    starts = np.arange(outputs) * stride
    return x[starts[:, None] + np.arange(len(taps)) * dilation] @ taps, missing // 2


def circular_outputs(x, taps, outputs, stride, dilation, side, front):
    wrapped = np.zeros(side)
    np.add.at(wrapped, np.arange(len(taps)) * dilation % side, taps)
    every = np.fft.irfft(np.fft.rfft(x, side) * np.fft.rfft(wrapped).conj(), side)
    return every[(np.arange(outputs) * stride - front) % side]


AXES = [
    (inputs, outputs, taps, stride, dilation)
    for inputs, taps, stride, dilation in itertools.product((5, 8, 9), (2, 3, 5), (1, 2, 3), (1, 2))
    for outputs in {-(-inputs // stride), (inputs - (taps - 1) * dilation - 1) // stride + 1}  # same, valid
    if outputs > 0
]


@pytest.mark.parametrize("axis", AXES, ids=str)
def test_sufficient_side_suffices_and_is_the_least(axis):
    inputs, outputs, places, stride, dilation = axis
    rng = np.random.default_rng(0)
    x, taps = rng.random(inputs) + 1, rng.random(places) + 1
    expected, front = axis_outputs(x, taps, outputs, stride, dilation)
    side = sufficient_side(*axis)
    computed = [circular_outputs(x, taps, outputs, stride, dilation, each, front) for each in (side, side - 1)]
    np.testing.assert_allclose(computed[0], expected)
    assert not np.allclose(computed[1], expected)
    power = fft_side(*axis)
    assert power // 2 < side <= power and power.bit_count() == 1
    np.testing.assert_allclose(circular_outputs(x, taps, outputs, stride, dilation, power, front), expected)


BAD = {
    "flat": ({"alive": np.ones(4, bool)}, r"alive must be a boolean array .*Received: shape \(4,\), bool"),
    "weights": ({"alive": np.ones((2, 2))}, r"alive must be a boolean array .*Received: shape \(2, 2\), float64"),
    "one side": ({"kernel_size": (3,)}, r"kernel_size must be two whole numbers .*Received: \(3,\)"),
    "zero": ({"output_size": (0, 6)}, r"output_size must be two whole numbers of at least 1. Received: \(0, 6\)"),
    "fraction": ({"strides": (1, 1.5)}, r"strides must be two whole numbers"),
    "too many outputs": ({"strides": (2, 2)}, r"output_size must be at most input_size / strides, rounded up"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    change, message = BAD[case]
    arguments = {"alive": np.ones((2, 2), bool)} | SIZES | change
    with pytest.raises(ValueError, match=f"Layer 'conv': {message}"):
        count_multiplications("conv", **arguments)


def test_only_layers_with_a_removed_kernel_have_a_row():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 9, 4))
    inner = keras.Sequential([keras.Input((9, 9, 4)), keras.layers.Conv2D(4, 3, name="inside")], name="inner")
    x = keras.layers.Conv2D(4, 3, padding="same", name="pruned")(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", name="whole")(x)
    x = inner(x)
    x = keras.layers.Conv2D(4, 3, groups=2, name="grouped")(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(keras.layers.Flatten()(x)))
    assert kernel_pruned_multiplications(model) == ()
    remove(model.get_layer("pruned"), [(0, 0), (1, 2)])
    remove(inner.get_layer("inside"), [(3, 3)])
    remove(model.get_layer("grouped"), [(0, 0)])
    weights = model.get_layer("whole").get_weights()
    weights[0][0] = 0  # taps are gone, no kernel is
    model.get_layer("whole").set_weights(weights)
    rows = kernel_pruned_multiplications(model)
    assert [(row.name, row.kept_kernels) for row in rows] == [("pruned", 14), ("inner/inside", 15)]


def test_layout_of_the_maps_does_not_matter():
    removed = [(0, 1), (2, 3)]
    first, last = (network(removed, data_format=f"channels_{side}", padding="same") for side in ("first", "last"))
    assert kernel_pruned_multiplications(first) == kernel_pruned_multiplications(last) != ()


def test_maps_of_open_size_are_left_out():
    model = keras.Sequential([keras.Input((None, 8, 3)), keras.layers.Conv2D(4, 3, kernel_initializer="zeros")])
    assert kernel_pruned_multiplications(model) == ()


def test_layer_called_twice_has_two_rows():
    layer = keras.layers.Conv2D(3, 3, padding="same", name="shared", kernel_initializer="zeros")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layer(keras.layers.MaxPooling2D()(layer(inputs))))
    assert [row.name for row in kernel_pruned_multiplications(model)] == ["shared", "shared"]


def test_section_is_there_for_kernel_pruned_layers_only_and_says_what_it_is():
    assert multiplications_section(()) is None
    section = multiplications_section([count([[1, 0]])])
    assert "A model, not a measurement" in section.note
    assert "No TFLite runtime has an FFT convolution" in section.note
    assert [dataclasses.asdict(row) for row in section.layers] == [
        {
            "name": "conv",
            "kept_kernels": 1,
            "kernels": 2,
            "direct": 324,
            "im2col": 324,
            "fft": 928,
            "cheapest": "direct",
        }
    ]
