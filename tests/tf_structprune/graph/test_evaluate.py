"""What layers read, against models that end before them."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import layer_inputs, named_layers

_L = keras.layers
SHAPE = (6, 6, 4)


def block(inputs_shape=SHAPE):
    """A nested model with a skip connection, in which the order of calls matters."""
    inputs = keras.Input(inputs_shape, name="block_input")
    x = _L.BatchNormalization(name="norm")(zoo.conv(inputs, 5, name="one"))
    return keras.Model(inputs, _L.Add()([inputs, zoo.conv(x, 4, name="two")]), name="block")


def head(x):
    return _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D(name="pool")(x))


def run(model, x):
    return ops.convert_to_numpy(model(x, training=False))


def read(model, names, x):
    """`layer_inputs` as NumPy arrays."""
    found = layer_inputs(model, names, x)
    assert list(found) == list(names)
    return {name: [ops.convert_to_numpy(value) for value in values] for name, values in found.items()}


@pytest.mark.parametrize("name", [name for name in zoo.ZOO if name != "shared_layer"])
def test_flat_model_reads_what_a_probe_gives(name):
    model, x = zoo.build(name), zoo.batch()
    single = [layer for layer in named_layers(model) if not isinstance(model.get_layer(layer).input, list)]
    assert len(single) > 3
    probe = keras.Model(model.inputs[0], [model.get_layer(layer).input for layer in single])
    found = read(model, single, x)
    for layer, expected in zip(single, zoo.outputs_of(probe, x), strict=True):
        (value,) = found[layer]
        assert np.allclose(value, expected, rtol=1e-5, atol=1e-6), layer


def test_first_of_several_tensors_is_given():
    model, x = zoo.build("residual_projection"), zoo.batch()
    (add,) = (layer for layer in model.layers if isinstance(layer, _L.Add))
    expected = run(keras.Model(model.input, add.input[0]), x)
    (value,) = read(model, [add.name], x)[add.name]
    assert np.allclose(value, expected, rtol=1e-5, atol=1e-6)


def test_layers_of_a_nested_model_are_given_call_by_call():
    inputs = keras.Input((6, 6, 2), name="image")
    nested = block()
    first = zoo.conv(inputs, 4, name="stem")
    second = nested(first)
    third = zoo.conv(second, 4, name="between")
    model = zoo.randomize(keras.Model(inputs, head(nested(third))))
    x = zoo.batch(shape=(6, 6, 2))
    found = read(model, ["block/two", "block/one", "classifier"], x)

    of_two = keras.Model(nested.inputs[0], nested.get_layer("two").input)
    seen = [run(keras.Model(inputs, tensor), x) for tensor in (first, third)]
    assert len(found["block/one"]) == len(found["block/two"]) == 2
    for value, expected in zip(found["block/one"], seen, strict=True):
        assert np.allclose(value, expected, rtol=1e-5, atol=1e-6)
    for value, expected in zip(found["block/two"], [run(of_two, tensor) for tensor in seen], strict=True):
        assert np.allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(*found["block/one"], atol=1e-2)
    assert np.allclose(found["classifier"][0], run(keras.Model(inputs, model.get_layer("pool").output), x), atol=1e-6)


def test_shared_layer_is_given_call_by_call():
    model, x = zoo.build("shared_layer"), zoo.batch()
    first, second = read(model, ["shared"], x)["shared"]
    assert np.allclose(first, run(keras.Model(model.input, model.get_layer("b").output), x), atol=1e-6)
    assert np.allclose(second, run(model.get_layer("shared"), first), atol=1e-6)
    assert not np.allclose(first, second, atol=1e-2)


def test_nested_in_nested_in_sequential():
    layers = [_L.Conv2D(4, 3, padding="same", name="stem"), block(), _L.GlobalAveragePooling2D(), _L.Dense(3)]
    model = keras.Sequential([keras.Input((6, 6, 2)), keras.Sequential([keras.Input((6, 6, 2)), *layers], name="all")])
    zoo.randomize(model)
    x = zoo.batch(shape=(6, 6, 2))
    (value,) = read(model, ["all/block/one"], x)["all/block/one"]
    assert np.allclose(value, run(layers[0], x), atol=1e-6)


def two_inputs(structure):
    """Two inputs of different shapes, not in sorted order."""
    inputs = {"q": keras.Input((6, 6, 3), name="q"), "p": keras.Input((4, 4, 2), name="p")}
    pooled = [_L.GlobalAveragePooling2D()(zoo.conv(inputs[key], 5, name=f"of_{key}")) for key in "qp"]
    outputs = _L.Dense(2, name="classifier")(_L.Concatenate()(pooled))
    return zoo.randomize(keras.Model(inputs if structure is dict else [inputs["q"], inputs["p"]], outputs))


@pytest.mark.parametrize("order", ["qp", "pq"])
@pytest.mark.parametrize("model, given", [(dict, dict), (list, dict), (list, list)], ids=["dict", "by_name", "list"])
def test_batches_of_several_inputs(model, given, order):
    arrays = {"q": zoo.batch(shape=(6, 6, 3)), "p": zoo.batch(shape=(4, 4, 2), seed=2)}
    x = {key: arrays[key] for key in order} if given is dict else [arrays["q"], arrays["p"]]
    found = read(two_inputs(model), ["of_p", "of_q"], x)
    for key in "pq":
        (value,) = found[f"of_{key}"]
        assert np.array_equal(value, arrays[key])


def test_masks_that_layers_pass_on_are_heeded():
    words = keras.Input((6,), dtype="int32")
    x = _L.LSTM(5)(_L.Embedding(9, 4, mask_zero=True)(words))
    model = zoo.randomize(keras.Model(words, _L.Dense(2, name="classifier")(x)))
    batch = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 7, 8, 1]])
    expected = ops.convert_to_numpy(keras.Model(words, x)(batch, training=False))
    (value,) = read(model, ["classifier"], batch)["classifier"]
    assert np.allclose(value, expected, atol=1e-6)


def test_dropout_and_statistics_are_those_of_inference():
    inputs = keras.Input((6, 6, 2))
    x = _L.GaussianNoise(1.0)(_L.Dropout(0.5)(_L.BatchNormalization()(zoo.conv(inputs, 4, name="stem"))))
    model = zoo.randomize(keras.Model(inputs, head(zoo.conv(x, 5, name="b"))))
    batch = zoo.batch(shape=(6, 6, 2))
    (value,) = read(model, ["b"], batch)["b"]
    assert np.allclose(value, run(keras.Model(inputs, x), batch), atol=1e-6)


def test_masked_model_reads_what_its_masks_leave():
    masked = sp.wrap(zoo.build("chain"))
    keep = np.arange(6) % 2 == 0
    sp.set_masks(masked, sp.MaskSet(feature_map={"b": keep}))
    (value,) = read(masked, ["c"], zoo.batch())["c"]
    assert (np.abs(value).sum(axis=(0, 1, 2))[keep] > 0).all()
    bias = np.maximum(masked.get_layer("b").layer.get_weights()[1], 0)
    assert np.allclose(value[..., ~keep], bias[~keep])


def test_no_names_give_nothing():
    assert layer_inputs(zoo.build("chain"), [], zoo.batch(1)) == {}
