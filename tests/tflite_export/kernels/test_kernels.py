"""Kernels against loops over scalars; against the runtimes themselves in tests/tflite_export/runtime."""

import numpy as np
import pytest

from tflite_export import kernels

OUTPUT = kernels.AffineFormat((0.05,), -11)
rng = np.random.default_rng(0)


def array(*shape, scales=(0.03,), zero_point=0):
    return kernels.QuantizedArray(
        rng.integers(-128, 128, shape).astype(np.int8), kernels.AffineFormat(scales, zero_point)
    )


def weights(*shape, channels):
    scales = tuple(float(np.float32(scale)) for scale in rng.uniform(0.001, 0.01, channels))
    return kernels.QuantizedArray(rng.integers(-127, 128, shape).astype(np.int8), kernels.AffineFormat(scales))


def margins(size, tap, stride, dilation, padding):
    """Pixels that SAME puts in front, and the number of positions."""
    span = (tap - 1) * dilation + 1
    if padding == "VALID":
        return 0, (size - span) // stride + 1
    positions = -(-size // stride)
    return max((positions - 1) * stride + span - size, 0) // 2, positions


def rescaled(total, x, kernel, channel):
    scales = (x.format.scale, np.float32(kernel.format.scales[channel]), OUTPUT.scale)
    one, other, output = map(np.float64, scales)
    return kernels.multiply_by_quantized_multiplier(total, *kernels.quantize_multiplier(one * other / output))


def slow_convolution(x, kernel, bias, window, connected):
    """One multiplication after the other; `connected(channel, c)` is the place of input c in the kernel, or None."""
    n, height, width, channels = x.values.shape
    taps = kernel.values.shape[1:3]
    options = (taps, window.strides, window.dilations)
    (top, rows), (left, columns) = (
        margins(size, tap, stride, dilation, window.padding)
        for size, tap, stride, dilation in zip((height, width), *options, strict=True)
    )
    out = len(bias)
    result = np.zeros((n, rows, columns, out), np.int64)
    for image, row, column, channel in np.ndindex(*result.shape):
        total = int(bias[channel])
        for i, j, c in np.ndindex(*taps, channels):
            y = row * window.strides[0] - top + i * window.dilations[0]
            z = column * window.strides[1] - left + j * window.dilations[1]
            place = connected(channel, c)
            if place is not None and 0 <= y < height and 0 <= z < width:
                value = int(x.values[image, y, z, c]) - x.format.zero_point
                total += value * int(kernel.values[(place[0], i, j, place[1])])
        result[image, row, column, channel] = rescaled(total, x, kernel, channel)
    return np.clip(result + OUTPUT.zero_point, -128, 127)


WINDOWS = {
    "plain": kernels.Window(),
    "same": kernels.Window(padding="SAME"),
    "strided": kernels.Window((2, 1), "SAME"),
    "dilated": kernels.Window((1, 1), "SAME", (2, 1)),
    "strided_valid": kernels.Window((2, 3), "VALID"),
}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", WINDOWS)
def test_conv_2d_is_the_sum_over_taps(name, groups):
    x, kernel = array(2, 6, 5, 4, zero_point=7), weights(6, 3, 2, 4 // groups, channels=6)
    bias = rng.integers(-2000, 2000, 6).astype(np.int32)
    found = kernels.conv_2d(x, kernel, bias, output=OUTPUT, window=WINDOWS[name])

    def connected(channel, c):
        depth = 4 // groups
        return (channel, c % depth) if channel // (6 // groups) == c // depth else None

    np.testing.assert_array_equal(found, slow_convolution(x, kernel, bias, WINDOWS[name], connected))


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("name", WINDOWS)
def test_depthwise_conv_2d_is_the_sum_over_taps(name, multiplier):
    x, kernel = array(2, 6, 5, 2, zero_point=-5), weights(1, 3, 2, 2 * multiplier, channels=2 * multiplier)
    bias = rng.integers(-2000, 2000, 2 * multiplier).astype(np.int32)
    found = kernels.depthwise_conv_2d(x, kernel, bias, output=OUTPUT, window=WINDOWS[name])

    def connected(channel, c):
        return (0, channel) if channel // multiplier == c else None

    np.testing.assert_array_equal(found, slow_convolution(x, kernel, bias, WINDOWS[name], connected))


def test_dense_layer_is_a_convolution_of_one_pixel_in_tflite_micro():
    x, kernel = array(50, 30, zero_point=4), weights(7, 30, channels=7)
    pixels = kernels.QuantizedArray(x.values[:, None, None], x.format)
    taps = kernels.QuantizedArray(kernel.values[:, None, None], kernel.format)
    expected = kernels.conv_2d(pixels, taps, None, output=OUTPUT, window=kernels.Window())[:, 0, 0]
    found = kernels.fully_connected(x, kernel, None, output=OUTPUT, runtime="tflm")
    np.testing.assert_array_equal(found, expected)


def test_dense_layer_rounds_once_in_litert_even_with_powers_of_two():
    x = kernels.QuantizedArray(np.array([[127]], np.int8), kernels.AffineFormat((2.0**-4,)))
    kernel = kernels.QuantizedArray(np.array([[1]], np.int8), kernels.AffineFormat((2.0**-4,)))
    steps = [
        int(kernels.fully_connected(x, kernel, None, output=kernels.AffineFormat((1.0,)), runtime=runtime).item())
        for runtime in ("litert", "tflm")
    ]
    assert steps == [0, 1]


@pytest.mark.parametrize("features", [100, 5000])
def test_sums_beyond_single_precision_are_exact(features):
    x = kernels.QuantizedArray(np.full((1, features), 127, np.int8), kernels.AffineFormat((1.0,), -128))
    kernel = kernels.QuantizedArray(np.full((1, features), 127, np.int8), kernels.AffineFormat((1.0,)))
    bias = np.array([-255 * 127 * features + 1], np.int32)
    found = kernels.fully_connected(x, kernel, bias, output=kernels.AffineFormat((1.0,)))
    assert found.item() == 1


def test_accumulators_beyond_32_bits_are_refused():
    x = kernels.QuantizedArray(np.full((1, 70_000), 127, np.int8), kernels.AffineFormat((1.0,), -128))
    kernel = kernels.QuantizedArray(np.full((1, 70_000), 127, np.int8), kernels.AffineFormat((1.0,)))
    with pytest.raises(ValueError, match="Accumulators must fit 32 bits. Received: 2266950000 to 2266950000"):
        kernels.fully_connected(x, kernel, None, output=OUTPUT)


def test_pooling_ignores_padding():
    x = array(3, 5, 6, 2)
    window = kernels.Window((2, 2), "SAME")
    highest = kernels.max_pool_2d(x, (3, 3), output=x.format, window=window)
    means = kernels.average_pool_2d(x, (3, 3), output=x.format, window=window)
    for image, row, column, channel in np.ndindex(*highest.shape):
        top, left = row * 2 - 1, column * 2  # 5 rows miss one on both sides, 6 columns one behind
        inside = x.values[image, max(top, 0) : top + 3, left : left + 3, channel].astype(int)
        assert highest[image, row, column, channel] == inside.max()
        exact = inside.mean()
        assert means[image, row, column, channel] == np.copysign(np.floor(abs(exact) + 0.5), exact)


@pytest.mark.parametrize("activation, low, high", [("NONE", -128, 127), ("RELU", -11, 127), ("RELU6", -11, 109)])
def test_fused_activations_bound_the_integers(activation, low, high):
    x, kernel = array(100, 30), weights(7, 30, channels=1)
    free = kernels.fully_connected(x, kernel, None, output=OUTPUT)
    found = kernels.fully_connected(x, kernel, None, output=OUTPUT, activation=activation)
    np.testing.assert_array_equal(found, np.clip(free, low, high))


def test_softmax_is_near_the_real_one():
    x = array(200, 10, scales=(0.1,))
    real = np.exp(x.values * 0.1) / np.exp(x.values * 0.1).sum(-1, keepdims=True)
    found = (kernels.softmax(x).astype(int) + 128) / 256
    assert np.abs(found - np.minimum(real, 255 / 256)).max() <= 0.51 / 256


def test_softmax_is_over_the_last_axis():
    x = array(4, 5, 10, scales=(0.1,))
    rows = kernels.QuantizedArray(x.values.reshape(20, 10), x.format)
    np.testing.assert_array_equal(kernels.softmax(x).reshape(20, 10), kernels.softmax(rows))


@pytest.mark.parametrize("scale", [16.0, 200.0, 1e4])
def test_softmax_of_scores_far_apart_is_all_or_nothing(scale):
    """Scores that are a step apart, or 255; their exponentials have no bits left."""
    x = kernels.QuantizedArray(np.array([[-128, 126, 127], [3, 3, -128]], np.int8), kernels.AffineFormat((scale,)))
    assert kernels.softmax(x).tolist() == [[-128, -128, 127], [0, 0, -128]]


@pytest.mark.parametrize("axes", [(1, 2), (1,)], ids=str)
def test_mean_is_near_the_real_one(axes):
    """Rounded to an eighth of a step or finer, then to a step."""
    x = array(20, 7, 5, 3, zero_point=-20)
    steps = np.clip(0.03 * (x.values + 20.0).mean(axis=axes) / 0.013 + 4, -128, 127)
    found = kernels.mean(x, axes, output=kernels.AffineFormat((0.013,), 4))
    assert np.abs(found - steps).max() <= 0.5 + 1 / 16


def test_windows_slide_by_one_and_stay_inside_unless_told():
    assert kernels.Window() == kernels.Window((1, 1), "VALID", (1, 1))


def test_add_and_multiply_are_near_the_real_ones():
    first, second = array(500, zero_point=3), array(500, scales=(0.011,), zero_point=-90)
    output = kernels.AffineFormat((0.06,), 4)
    one, other = (0.03 * (first.values - 3.0), 0.011 * (second.values + 90.0))
    for kernel, real in ((kernels.add, one + other), (kernels.multiply, one * other)):
        steps = np.clip(real / 0.06 + 4, -128, 127)
        assert np.abs(kernel(first, second, output=output) - steps).max() <= 0.51


def test_requantize_and_relu_are_near_the_real_ones():
    x = array(500, zero_point=3)
    steps = np.clip(0.03 * (x.values - 3.0) / 0.05 - 11, -128, 127)
    assert np.abs(kernels.requantize(x, output=OUTPUT) - steps).max() <= 0.51
    assert np.abs(kernels.relu(x, output=OUTPUT) - np.maximum(steps, -11)).max() <= 0.51


def test_relu6_of_tflite_micro_ignores_the_output_format():
    x = array(100, zero_point=3)
    np.testing.assert_array_equal(
        kernels.relu(x, output=OUTPUT, activation="RELU6", runtime="tflm"), np.clip(x.values, 3, 127)
    )


@pytest.mark.parametrize("runtime", ["litert", "tflm"])
def test_multiply_forms_its_factor_in_the_precision_of_the_runtime(runtime):
    number = {"litert": np.float32, "tflm": np.float64}[runtime]
    first, second = array(2000, scales=(0.1,)), array(2000, scales=(0.3,))
    factor = number(np.float32(0.1)) * number(np.float32(0.3)) / number(np.float32(0.05))
    products = first.values.astype(int) * second.values
    expected = kernels.multiply_by_quantized_multiplier(products, *kernels.quantize_multiplier(factor))
    found = kernels.multiply(first, second, output=kernels.AffineFormat((0.05,)), runtime=runtime)
    np.testing.assert_array_equal(found, np.clip(expected, -128, 127))


SAME = kernels.AffineFormat((0.03,))
REFUSED = {
    "max_pool": lambda: kernels.max_pool_2d(array(1, 4, 4, 1), (2, 2), output=OUTPUT, window=kernels.Window()),
    "average_pool": lambda: kernels.average_pool_2d(array(1, 4, 4, 1), (2, 2), output=OUTPUT, window=kernels.Window()),
    "reduce_max": lambda: kernels.reduce_max(array(1, 4), (1,), output=OUTPUT),
    "pad": lambda: kernels.pad(array(1, 4), [(0, 0), (1, 1)], output=OUTPUT),
    "take": lambda: kernels.take(array(1, 4), (slice(None),), output=OUTPUT),
    "concatenate": lambda: kernels.concatenate([array(1, 4), array(1, 4, zero_point=1)], axis=1, output=SAME),
}


@pytest.mark.parametrize("name", REFUSED)
def test_integers_are_not_moved_between_formats(name):
    with pytest.raises(ValueError, match="Formats must be equal where integers are only moved. Received: "):
        REFUSED[name]()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: kernels.Window(padding="FULL"), "padding must be 'SAME' or 'VALID'. Received: padding='FULL'"),
        (lambda: kernels.Window((0, 1)), r"strides and dilations must be 1 or above. Received: strides=\(0, 1\)"),
        (lambda: kernels.AffineFormat(()), r"scales must be finite and above 0. Received: scales=\(\)"),
        (lambda: kernels.AffineFormat((0.0,)), r"scales must be finite and above 0. Received: scales=\(0.0,\)"),
        (
            lambda: kernels.requantize(array(3, scales=(0.1, 0.2)), output=SAME),
            "The tensor must have one scale. Received: 2 scales",
        ),
        *(
            (
                lambda size=size: kernels.conv_2d(
                    array(1, *size, 1), weights(1, 3, 3, 1, channels=1), None, output=SAME, window=kernels.Window()
                ),
                rf"Images must be at least as large as the window. Received: \({size[0]}, {size[1]}\), window",
            )
            for size in ((2, 2), (2, 3), (3, 2))
        ),
        (
            lambda: kernels.conv_2d(
                array(1, 2, 2, 3), weights(1, 1, 1, 2, channels=1), None, output=SAME, window=kernels.Window()
            ),
            r"A kernel must fit its input. Received: kernel \(1, 1, 1, 2\), input \(1, 2, 2, 3\)",
        ),
        (
            lambda: kernels.depthwise_conv_2d(
                array(1, 2, 2, 2), weights(1, 1, 1, 3, channels=1), None, output=SAME, window=kernels.Window()
            ),
            "A depthwise kernel must have a multiple of its input's channels",
        ),
        (
            lambda: kernels.fully_connected(array(1, 4), weights(2, 5, channels=1), None, output=SAME),
            "A dense kernel must fit its input",
        ),
        (
            lambda: kernels.fully_connected(array(1, 4), array(2, 4, zero_point=1), None, output=SAME),
            "Weights must have zero point 0. Received: zero_point=1",
        ),
        (
            lambda: kernels.fully_connected(array(1, 4), array(2, 4), None, output=SAME, runtime="tpu"),
            "runtime must be 'litert' or 'tflm'. Received: runtime='tpu'",
        ),
        (
            lambda: kernels.add(array(1, 4), array(1, 4), output=SAME, activation="TANH"),
            "activation must be one of .* Received: activation='TANH'",
        ),
    ],
)
def test_kernels_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def exactly(total):
    """Inputs of 255 steps above their zero point and weights whose products sum to that, nothing to spare."""
    sign, (whole, rest) = (1 if total > 0 else -1), divmod(abs(total), 255)
    row = [127] * (whole // 127) + [whole % 127]
    x = np.array([[127] * len(row) + [rest - 128]], np.int16).astype(np.int8)
    kernel = np.array([[sign * value for value in [*row, 1]], [1] * (len(row) + 1)], np.int8)
    return kernels.QuantizedArray(x, kernels.AffineFormat((1.0,), -128)), kernels.QuantizedArray(
        kernel, kernels.AffineFormat((1.0,))
    )


@pytest.mark.parametrize("layer", ["dense", "convolution"])
@pytest.mark.parametrize("total", [sign * (2**24 + more) for sign in (1, -1) for more in (-1, 0, 1, 3, 255)])
def test_sums_around_the_end_of_single_precision_are_exact(total, layer):
    """2**24 + 1 is the first integer that float32 does not have."""
    x, kernel = exactly(total)
    bias, output = np.array([5 - total, 0], np.int32), kernels.AffineFormat((1.0,))
    if layer == "dense":
        found = kernels.fully_connected(x, kernel, bias, output=output)
    else:
        pixel = kernels.QuantizedArray(x.values[:, None, None], x.format)
        taps = kernels.QuantizedArray(kernel.values[:, None, None], kernel.format)
        found = kernels.conv_2d(pixel, taps, bias, output=output, window=kernels.Window())
    assert found.ravel().tolist() == [5, 127]


ONE, TWO = kernels.AffineFormat((1.0,)), kernels.AffineFormat((2.0,))
STEPS = np.array([-3, -2, -1, 0, 1, 2, 3], np.int8)
UP, AWAY = [-1, -1, 0, 0, 1, 1, 2], [-2, -1, -1, 0, 1, 1, 2]  # halves of the steps, rounded
TIES = {
    # Integer multipliers round the half that is left at 31 bits upwards.
    "requantize": (lambda x: kernels.requantize(x, output=TWO), UP),
    "multiply": (lambda x: kernels.multiply(x, kernels.QuantizedArray(np.ones(7, np.int8), ONE), output=TWO), UP),
    "relu": (lambda x: kernels.relu(x, output=TWO), np.maximum(UP, 0).tolist()),
    "dense, tflm": (lambda x: _dense(x, runtime="tflm"), UP),
    # Doubles are rounded away from zero, and so is what is shifted, and integer means.
    "dense, litert": (lambda x: _dense(x, runtime="litert"), AWAY),
    "add": (lambda x: kernels.add(x, kernels.QuantizedArray(np.zeros(7, np.int8), ONE), output=TWO), AWAY),
    "average pooling": (
        lambda x: kernels.average_pool_2d(
            kernels.QuantizedArray(np.stack([x.values, 0 * x.values], axis=-1)[:, None, :, None], ONE),
            (1, 2),
            output=ONE,
            window=kernels.Window(),
        ),
        AWAY,
    ),
}


def _dense(x, runtime):
    kernel = kernels.QuantizedArray(np.ones((1, 1), np.int8), ONE)
    return kernels.fully_connected(
        kernels.QuantizedArray(x.values[:, None], ONE), kernel, None, output=TWO, runtime=runtime
    )


@pytest.mark.parametrize("call, expected", TIES.values(), ids=TIES)
def test_exact_ties_are_rounded_as_the_runtimes_do(call, expected):
    assert call(kernels.QuantizedArray(STEPS, ONE)).ravel().tolist() == expected


@pytest.mark.parametrize(
    "activation, scale, expected",
    [
        ("RELU6", 1.0, [0, 6]),
        ("RELU_N1_TO_1", 1.0, [-1, 1]),
        ("RELU6", 4.0, [0, 2]),  # 6 / 4 is a step and a half
        ("RELU_N1_TO_1", 2.0, [-1, 1]),  # 1 / 2 is half of one
    ],
)
def test_bounds_of_fused_activations_are_rounded_away_from_zero(activation, scale, expected):
    output = kernels.AffineFormat((scale,))
    found = kernels.relu(array(100, scales=(scale,)), output=output, activation=activation)
    assert [found.min(), found.max()] == expected
