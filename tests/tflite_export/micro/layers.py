"""Layers of random weights like those that come: dense or pruned, of few bits, of shared values; and the odd ones."""

from dataclasses import dataclass

import numpy as np

from tflite_export import kernels

COUNTS = (0, 1, 2, 3, 7, 64, 255, 1000, 1001)
EDGES = {
    "empty": np.zeros(0, np.int8),
    "one zero": np.zeros(1, np.int8),
    "all zero": np.zeros(999, np.int8),
    "one value": np.full(501, -77, np.int8),
    "the least value": np.full(5, -128, np.int8),
    "all 256 values": np.arange(-128, 128).astype(np.int8),
    "all values often": np.tile(np.arange(-128, 128).astype(np.int8), 9),
    "two extremes": np.resize(np.array([-128, 127], np.int8), 301),
    "one among zeros": np.eye(1, 4000, 17, dtype=np.int8)[0] * np.int8(-3),
    "one zero among others": np.where(np.arange(4000) == 5, 0, 9).astype(np.int8),
    "values of one sign": (np.arange(777) % 100).astype(np.int8),
}


def weights(seed):
    """Weights of a seed: number of them, share of zeros, bits and values are drawn."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice(COUNTS))
    kind = seed % 4
    if kind == 0:
        values = np.round(rng.laplace(0, rng.uniform(0.5, 40), count)).clip(-128, 127)
    elif kind == 1:
        values = np.round(rng.normal(0, 3, count)).clip(-7, 7) * 2 ** rng.integers(0, 5)
    elif kind == 2:
        values = rng.choice(rng.integers(-128, 128, rng.integers(1, 40)), count)
    else:
        values = rng.integers(-128, 128, count)
    return np.where(rng.random(count) < rng.choice([0, 0.5, 0.9, 0.99]), 0, values).astype(np.int8)


def matrix(seed):
    """The weights of a seed as (outputs, inputs)."""
    values = weights(seed)
    sides = [side for side in range(1, len(values) + 1) if len(values) % side == 0] or [1]
    return values.reshape(int(np.random.default_rng(seed).choice(sides)), -1)


def changed(data, rng):
    """Bytes with one damage: another byte, a bit, one more, some fewer, or two parts exchanged."""
    data = bytearray(data)
    place, kind = int(rng.integers(len(data))), int(rng.integers(5))
    if kind == 0:
        data[place] = (data[place] + int(rng.integers(1, 256))) % 256
    elif kind == 1:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        data.insert(place, int(rng.integers(256)))
    elif kind == 3:
        del data[place : place + int(rng.integers(1, 9))]
    else:
        data = data[place:] + data[:place]
    return bytes(data)


@dataclass(frozen=True)
class Layer:
    """A dense layer or 1x1 convolution and its input, and what NumPy's kernel makes of it."""

    x: np.ndarray
    weights: np.ndarray
    bias: np.ndarray | None
    multipliers: np.ndarray
    shifts: np.ndarray
    offsets: tuple[int, int]
    limits: tuple[int, int]
    sums: int
    expected: np.ndarray

    @property
    def outputs(self):
        return len(self.weights)

    @property
    def bias_bytes(self):
        return b"" if self.bias is None else self.bias.tobytes()


def layer(seed):
    """A layer of a seed: sizes, scales, activation and how many pixels go at a time are drawn."""
    rng = np.random.default_rng(seed)
    kernel = matrix(seed)
    outputs, inputs = kernel.shape
    pixels = int(rng.choice([1, 1, 4, 12]))
    scales = np.float32(rng.uniform(1e-4, 0.1, outputs if rng.random() < 0.5 else 1))
    source = kernels.AffineFormat((float(np.float32(rng.uniform(1e-3, 1))),), int(rng.integers(-128, 128)))
    target = kernels.AffineFormat((float(np.float32(rng.uniform(1e-3, 1))),), int(rng.integers(-128, 128)))
    activation = str(rng.choice(["NONE", "RELU", "RELU6"]))
    x = kernels.QuantizedArray(rng.integers(-128, 128, (1, 1, pixels, inputs)).astype(np.int8), source)
    bias = None if rng.random() < 0.3 else rng.integers(-(2**15), 2**15, outputs).astype(np.int32)
    packed = kernels.QuantizedArray(
        kernel[:, None, None, :], kernels.AffineFormat(tuple(float(scale) for scale in scales))
    )
    window = kernels.Window((1, 1), "VALID", (1, 1))
    expected = kernels.conv_2d(x, packed, bias, output=target, window=window, activation=activation)
    factors = np.float64(source.scale) * scales.astype(np.float64) / np.float64(target.scale)
    multipliers, shifts = kernels.quantize_multiplier(factors)
    low, high = _limits(activation, target)
    return Layer(
        x.values.reshape(pixels, inputs),
        kernel,
        bias,
        multipliers.astype("<i4"),
        shifts.astype(np.int8),
        (-source.zero_point, target.zero_point),
        (low, high),
        int(rng.choice([1, 3, pixels, pixels + 5])),
        expected.reshape(pixels, outputs),
    )


def _limits(activation, target):
    if activation == "NONE":
        return -128, 127
    high = 127
    if activation == "RELU6":
        high = min(high, int(np.floor(np.float32(6) / target.scale + 0.5)) + target.zero_point)
    return max(-128, target.zero_point), max(high, max(-128, target.zero_point))
