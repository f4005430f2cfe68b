"""A masked normalization is the plain one over the channels that are kept."""

import copy

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import MaskedNormalization

_L = keras.layers
CHANNELS = 6
KEEP = np.array([True, False, True, True, False, False])
# class and settings
LAYERS = {
    "layer": (_L.LayerNormalization, {}),
    "layer_without_gamma": (_L.LayerNormalization, {"scale": False}),
    "layer_without_beta": (_L.LayerNormalization, {"center": False}),
    "layer_bare": (_L.LayerNormalization, {"scale": False, "center": False, "epsilon": 0.1}),
    "rms": (_L.RMSNormalization, {"epsilon": 0.01}),
    "unit": (_L.UnitNormalization, {}),
}
each_layer = pytest.mark.parametrize("name", LAYERS)
AXES = {"last": -1, "first": 1, "last_in_list": [-1], "first_in_list": [1]}
# Keras scales RMSNormalization along the last axis, whatever its axis
CASES = [(name, axis) for name in LAYERS for axis in AXES if name != "rms" or axis == "last"]
each_case = pytest.mark.parametrize(
    "name, axis", [(name, AXES[axis]) for name, axis in CASES], ids=["-".join(case) for case in CASES]
)


def shape_of(axis):
    return (4, 5, 3, CHANNELS) if axis in (-1, [-1]) else (4, CHANNELS, 5, 3)


def place_of(axis):
    """The channel axis of the four."""
    return 3 if axis in (-1, [-1]) else 1


def built(name, axis, keep=None):
    """The masked layer with random weights, and its plain layer, which holds the same."""
    kind, settings = LAYERS[name]
    plain = kind(axis=axis, name="norm", **settings)
    masked = MaskedNormalization(plain)
    masked.build(shape_of(axis))
    rng = np.random.default_rng(0)
    plain.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in plain.weights])
    if keep is not None:
        masked.keep.assign(keep)
    return masked, plain


def batch(axis, seed=1):
    return np.random.default_rng(seed).normal(0.7, 1.5, shape_of(axis)).astype("float32")


def run(layer, x):
    return ops.convert_to_numpy(layer(x))


def run_plain(name, axis, weights, x):
    """The plain layer with these weights, the channels turned to the end: on torch Keras normalizes no other axis."""
    kind, settings = LAYERS[name]
    plain, turned = kind(**settings), np.moveaxis(x, place_of(axis), -1)
    plain.build(turned.shape)
    plain.set_weights(weights)
    return np.moveaxis(run(plain, turned), -1, place_of(axis))


@each_case
def test_equals_the_plain_layer_when_all_is_kept(name, axis):
    masked, plain = built(name, axis)
    x = batch(axis)
    assert masked.keep.shape == (CHANNELS,)
    assert np.allclose(run(masked, x), run_plain(name, axis, plain.get_weights(), x), rtol=1e-5, atol=1e-6)


@each_case
def test_equals_the_plain_layer_on_the_kept_channels_alone(name, axis):
    masked, plain = built(name, axis, KEEP)
    place, x, weights = place_of(axis), batch(axis), plain.get_weights()
    small = run_plain(name, axis, [weight[KEEP] for weight in weights], np.compress(KEEP, x, axis=place))

    found = run(masked, x)
    assert np.allclose(np.compress(KEEP, found, axis=place), small, rtol=1e-5, atol=1e-6)
    assert np.isfinite(found).all()
    assert not np.allclose(np.compress(KEEP, run_plain(name, axis, weights, x), axis=place), small, atol=0.01)


@each_layer
def test_removed_channels_do_not_matter(name):
    masked, _ = built(name, -1, KEEP)
    x = batch(-1)
    other = np.where(KEEP, x, 100 * x + 7)
    assert np.array_equal(run(masked, x)[..., KEEP], run(masked, other)[..., KEEP])


@each_layer
def test_gradients_reach_the_kept_channels_and_weights_only(name):
    masked, plain = built(name, -1, KEEP)
    inputs = keras.Input(shape_of(-1)[1:])
    before = _L.Dense(CHANNELS, name="before")
    read = _L.Rescaling(KEEP.astype("float32").tolist())  # as a masked layer reads it
    model = keras.Model(inputs, read(masked(before(inputs))))
    first = [weight.copy() for weight in (*before.get_weights(), *plain.get_weights())]
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = batch(-1)
    assert np.isfinite(model.train_on_batch(x, np.random.default_rng(2).normal(size=x.shape)))

    for old, new in zip(first, (*before.get_weights(), *plain.get_weights()), strict=True):
        assert np.isfinite(new).all()
        assert np.array_equal(old[..., ~KEEP], new[..., ~KEEP])
        assert (old[..., KEEP] != new[..., KEEP]).any()
    assert np.array_equal(ops.convert_to_numpy(masked.keep), KEEP)


def net(name="layer", axis=-1):
    """Stem, convolution, normalization, convolution, classifier."""
    kind, settings = LAYERS[name]
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 4, name="stem"), CHANNELS, name="before")
    x = zoo.conv(kind(axis=axis, name="norm", **settings)(x), 5, name="after")
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))


def masked_net(name="layer"):
    """The net with masks that remove half of what the normalization reads."""
    masked = sp.wrap(net(name))
    sp.set_masks(masked, sp.MaskSet(feature_map={"before": KEEP}))
    return masked


@each_layer
def test_wrap_puts_it_in_place_and_set_masks_writes_it(name):
    model = net(name)
    masked = sp.wrap(model)
    assert isinstance(masked.get_layer("norm"), MaskedNormalization)
    assert type(masked.get_layer("norm").layer) is type(model.get_layer("norm"))
    assert zoo.largest_difference(model, masked, zoo.batch()) < 1e-5
    sp.set_masks(masked, sp.MaskSet(feature_map={"before": KEEP}))
    assert np.array_equal(ops.convert_to_numpy(masked.get_layer("norm").keep), KEEP)


def test_wrap_for_kernels_alone_leaves_the_layer_plain():
    assert isinstance(sp.wrap(net(), granularity="kernel").get_layer("norm"), _L.LayerNormalization)


def test_normalization_over_another_axis_keeps_the_channels():
    model = net("unit", axis=1)  # Keras runs a LayerNormalization of axis 1 on no torch
    reasons = {item.name: item.reason for item in sp.trace(model).skipped}
    assert reasons["before"] == "norm works on axis 1, but the channels lie on axis 3"
    assert zoo.largest_difference(model, sp.wrap(model), zoo.batch()) < 1e-5


@each_layer
def test_saves_and_reloads(name, tmp_path):
    masked = masked_net(name)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    assert isinstance(loaded.get_layer("norm"), MaskedNormalization)
    assert np.array_equal(ops.convert_to_numpy(loaded.get_layer("norm").keep), KEEP)
    assert zoo.largest_difference(masked, loaded, zoo.batch()) == 0
    assert sp.get_masks(loaded).equals(sp.get_masks(masked))


def test_from_config_leaves_its_dict_unchanged():
    layer = MaskedNormalization(_L.LayerNormalization(axis=1, epsilon=0.25, name="norm"))
    config = layer.get_config()
    before = copy.deepcopy(config)
    again = MaskedNormalization.from_config(config)
    assert config == before
    assert (again.name, again.layer.axis, again.layer.epsilon) == ("norm", 1, 0.25)


@each_layer
def test_unwrap_gives_the_plain_layer_back(name):
    masked = sp.wrap(net(name))
    plain = sp.unwrap(masked)
    assert type(plain.get_layer("norm")) is LAYERS[name][0]
    assert zoo.largest_difference(masked, plain, zoo.batch()) < 1e-5


def test_unwrap_refuses_removed_channels():
    with pytest.raises(
        ValueError, match=r"Layer 'norm' normalizes over channels of .* Received: 3 removed channels\. Use shrink"
    ):
        sp.unwrap(masked_net())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_policy_and_is_near(policy):
    plain = _L.LayerNormalization(dtype=policy, name="norm")
    masked = MaskedNormalization(plain)
    x = batch(-1)
    found = masked(x)
    assert masked.dtype_policy.name == policy
    assert keras.backend.standardize_dtype(found.dtype) == policy.removeprefix("mixed_")
    assert np.allclose(run(masked, x).astype("float32"), run(plain, x).astype("float32"), atol=0.03)


def test_output_shape_is_that_of_the_input():
    masked, _ = built("layer", -1)
    assert masked.compute_output_shape((None, 3, CHANNELS)) == (None, 3, CHANNELS)
