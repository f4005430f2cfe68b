"""Patches times the kernel are what the layer computes, for every kind of layer and setting."""

import keras
import numpy as np
import pytest

from tests import zoo
from tf_structprune.observe import Pixels, patches_of

_L = keras.layers
CHANNELS_FIRST = {"data_format": "channels_first"}
CASES = {
    "conv1d": (_L.Conv1D(5, 3, padding="same"), (7, 4)),
    "conv1d causal": (_L.Conv1D(5, 3, padding="causal", dilation_rate=2), (7, 4)),
    "conv1d strides": (_L.Conv1D(5, 4, strides=2), (9, 4)),
    "conv2d": (_L.Conv2D(5, 3, padding="same"), (6, 7, 4)),
    "conv2d strides": (_L.Conv2D(5, (3, 2), strides=(2, 1), padding="same"), (6, 7, 4)),
    "conv2d dilated": (_L.Conv2D(5, 3, dilation_rate=2), (6, 7, 4)),
    "conv2d pointwise": (_L.Conv2D(5, 1, strides=2), (6, 7, 4)),
    "conv2d groups": (_L.Conv2D(6, 3, groups=2, padding="same"), (6, 7, 4)),
    "conv2d activation": (_L.Conv2D(5, 3, activation="relu"), (6, 7, 4)),
    "conv2d channels first": (_L.Conv2D(5, 3, padding="same", **CHANNELS_FIRST), (4, 6, 7)),
    "conv3d": (_L.Conv3D(5, 2, strides=2, padding="same"), (4, 5, 4, 3)),
    "transposed 1d": (_L.Conv1DTranspose(5, 3, strides=2, padding="same"), (5, 4)),
    "transposed": (_L.Conv2DTranspose(5, 3, strides=2, padding="same"), (4, 3, 4)),
    "transposed valid": (_L.Conv2DTranspose(5, (3, 2), strides=(2, 3)), (4, 3, 4)),
    "transposed output padding": (
        _L.Conv2DTranspose(5, 3, strides=2, padding="same", output_padding=0),
        (4, 3, 4),
    ),
    "transposed 3d": (_L.Conv3DTranspose(2, 2, strides=2), (2, 3, 2, 3)),
    "depthwise": (_L.DepthwiseConv2D(3, padding="same"), (6, 7, 4)),
    "depthwise multiplied": (_L.DepthwiseConv2D(3, depth_multiplier=2, strides=2), (6, 7, 4)),
    "depthwise 1d": (_L.DepthwiseConv1D(3, padding="same"), (7, 4)),
    "separable": (_L.SeparableConv2D(5, 3, padding="same"), (6, 7, 4)),
    "separable multiplied": (_L.SeparableConv1D(5, 3, depth_multiplier=2, strides=2), (7, 4)),
    "dense": (_L.Dense(5), (4,)),
    "dense on maps": (_L.Dense(5, activation="tanh"), (6, 7, 4)),
    "time distributed": (_L.TimeDistributed(_L.Conv2D(5, 3, padding="same")), (3, 6, 7, 4)),
    "time distributed dense": (_L.TimeDistributed(_L.Dense(5)), (3, 4)),
}


def computed(patches, layer, x):
    """What a layer makes of what its outputs read, without activation, channels last, pixels in one axis."""
    core = layer.layer if isinstance(layer, _L.TimeDistributed) else layer
    kernel = patches.view.view(
        np.array(core.pointwise_kernel if "Separable" in type(core).__name__ else core.kernel), np
    )
    groups = patches.view.groups
    weights = kernel.reshape(-1, groups, kernel.shape[-1] // groups).transpose(1, 0, 2)
    made = np.einsum("spgn,gno->spgo", patches.of(x), weights)
    return made.reshape(*made.shape[:2], -1) + np.array(core.bias)


@pytest.mark.parametrize("layer, shape", CASES.values(), ids=CASES)
def test_patches_times_kernel_are_the_outputs(layer, shape):
    x = zoo.batch(3, shape=shape)
    made = keras.Sequential([keras.Input(shape), layer])
    zoo.randomize(made)
    core = layer.layer if isinstance(layer, _L.TimeDistributed) else layer
    (expected,) = zoo.outputs_of(made, x)
    if getattr(core, "data_format", "") == "channels_first":
        expected = np.moveaxis(expected, 1, -1)
    found = keras.ops.convert_to_numpy(core.activation(computed(patches_of(layer), layer, x)))
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-4)


def test_dense_behind_flatten_reads_positions_of_maps():
    layer = _L.Dense(5)
    layer.build((None, 24))
    x = zoo.batch(3, shape=(24,))
    patches = patches_of(layer, 6)
    assert patches.view.view_shape == (6, 4, 5)
    np.testing.assert_array_equal(patches.of(x)[:, 0, 0].reshape(3, 6, 4)[:, 2, 1], x[:, 2 * 4 + 1])


@pytest.mark.parametrize("layer, shape", CASES.values(), ids=CASES)
def test_chosen_pixels_are_those_of_all(layer, shape):
    x = zoo.batch(3, shape=shape)
    layer = type(layer).from_config(layer.get_config())
    layer.build((None, *shape))
    patches = patches_of(layer)
    every = patches.of(x)
    chosen = np.random.default_rng(0).integers(0, every.shape[1], (3, 5))
    np.testing.assert_array_equal(patches.of(x, chosen), every[np.arange(3)[:, None], chosen])


def test_numbers_of_many_pixels_are_exact():
    layer = _L.Conv2D(1, 1)
    layer.build((None, 300, 300, 1))
    x = np.arange(300 * 300, dtype=np.float32).reshape(1, 300, 300, 1)
    np.testing.assert_array_equal(patches_of(layer).of(x).ravel(), x.ravel())


@pytest.mark.parametrize("rows", [1, 10**6])
def test_parts_are_the_whole(monkeypatch, rows):
    layer, shape = _L.Conv2D(5, 3, padding="same"), (6, 7, 4)
    x = zoo.batch(7, shape=shape)
    layer.build((None, *shape))
    patches = patches_of(layer)
    monkeypatch.setattr("tf_structprune.observe._patches._CHUNK", 500)
    monkeypatch.setattr("tf_structprune.observe._pixels._LEAST_ROWS", rows)
    monkeypatch.setattr("tf_structprune.observe._pixels._ROWS_A_WEIGHT", 1)
    parts = list(patches.parts(x, Pixels(7, patches.size, np.random.default_rng(0))))
    assert len(parts) > 2
    assert [part.start for part, _ in parts] == [0, *(part.stop for part, _ in parts[:-1])]
    assert parts[-1][0].stop == 7
    for part, chosen in parts:
        assert (chosen is None) == (rows > 1)
        assert chosen is None or chosen.shape == (part.stop - part.start, -(-patches.size // 7))


def test_layer_that_computes_something_of_its_own_has_none():
    class Own(_L.Conv2D):
        pass

    layer = Own(4, 3)
    layer.build((None, 6, 6, 2))
    assert patches_of(layer) is None
