"""Weights of every kind: few values, all of them, zero points for channels, odd shapes."""

import numpy as np

from tflite_export.pack import Form, Weights


def drawn(rng):
    """The weights of a tensor, with channels on the first axis, the last or none."""
    shape = tuple(int(size) for size in rng.integers(1, 9, size=rng.integers(1, 5)))
    axis = int(rng.choice([0, len(shape) - 1]))
    if rng.random() < 0.5:
        axis, points = 0, (int(rng.integers(-3, 3)),)
    else:
        points = tuple(int(point) for point in rng.integers(-5, 5, shape[axis]))
    kinds = int(rng.choice([1, 2, 3, 15, 40, 128, 256]))
    values = rng.permutation(256)[:kinds] - 128
    return weights(rng.choice(values, size=shape, p=rng.dirichlet(np.full(kinds, 0.3))), points, axis)


def weights(values, points=(0,), axis=0):
    """Weights of given values."""
    array = np.asarray(values, np.int8)
    return Weights(array, Form(array.shape, points, axis))


EDGES = {
    "one weight": weights([5]),
    "one value": weights(np.full((3, 5, 7), -128)),
    "all zero points": weights(np.zeros((4, 1, 1, 9))),
    "all zero points of channels": weights(np.repeat([[3], [-7], [0]], 11, axis=1), (3, -7, 0)),
    "two values": weights(np.arange(33) % 2),
    "256 values": weights(np.arange(-128, 128).reshape(4, 64)),
    "256 values, unlike often": weights(np.repeat(np.arange(-128, 128), np.arange(256) ** 2 // 512 + 1)),
    "deep code": weights(np.repeat(np.arange(18), np.floor(1.62 ** np.arange(18)).astype(int))),
    "channels last": weights(np.arange(60).reshape(3, 4, 5) % 7, (1, 2, 3, 4, 5), 2),
}
