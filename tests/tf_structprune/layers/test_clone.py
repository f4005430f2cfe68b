"""Copies of models: wiring, names and sharing stay, layers are others."""

import keras
import numpy as np
import pytest
from keras import ops

from tests import zoo
from tf_structprune.graph import named_layers
from tf_structprune.layers import clone

_L = keras.layers
SHAPE = (6, 6, 2)


def copied(_, layer):
    return layer.__class__.from_config(layer.get_config())


def block(name="block", filters=4):
    inputs = keras.Input((6, 6, 4), name=f"{name}_input")
    x = zoo.conv(zoo.conv(inputs, 5, name="one"), filters, name="two")
    return keras.Model(inputs, _L.Add(name="sum")([inputs, x]), name=name)


def head(x):
    return _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D(name="pool")(x))


def _stem():
    inputs = keras.Input(SHAPE, name="image")
    return inputs, zoo.conv(inputs, 4, name="stem")


def nested_twice():
    inputs, x = _stem()
    nested = block()
    return keras.Model(inputs, head(nested(nested(x))), name="net")


def shared_twice():
    inputs, x = _stem()
    shared = _L.Conv2D(4, 3, padding="same", name="shared")
    return keras.Model(inputs, head(shared(shared(x))), name="net")


def sequential_of_models():
    layers = [keras.Input(SHAPE, name="image"), _L.Conv2D(4, 3, padding="same", name="stem"), block(), block("again")]
    return keras.Sequential([*layers, _L.Flatten(), _L.Dense(3, name="classifier")], name="net")


def operators():
    inputs, x = _stem()
    y = ops.maximum(x1=x * np.arange(1, 5, dtype="float32"), x2=1.0 - x)
    return keras.Model(inputs, head(ops.concatenate([y[..., :2], x], axis=-1)), name="net")


def two_outputs():
    inputs, x = _stem()
    middle = zoo.conv(x, 5, name="middle")
    return keras.Model(inputs, {"z": head(middle), "a": middle}, name="net")


def list_of_one_input():
    inputs, x = _stem()
    return keras.Model([inputs], head(x), name="net")


def inputs_in_a_dictionary():
    inputs = {name: keras.Input(SHAPE, name=name) for name in "ba"}
    x = _L.Concatenate()([zoo.conv(inputs["b"], 4, name="of_b"), zoo.conv(inputs["a"], 3, name="of_a")])
    return keras.Model(inputs, head(x), name="net")


MODELS = {
    model.__name__: model
    for model in (
        nested_twice,
        shared_twice,
        sequential_of_models,
        operators,
        two_outputs,
        list_of_one_input,
        inputs_in_a_dictionary,
    )
}
each_model = pytest.mark.parametrize("model", [zoo.randomize(make()) for make in MODELS.values()], ids=MODELS)


def structure_of(model):
    """The inputs in the structure that the model takes; a Sequential model that was not called has no `input`."""
    return model.inputs[0] if isinstance(model, keras.Sequential) else model.input


def sample(model):
    return keras.tree.map_structure(lambda tensor: zoo.batch(3, ord(tensor.name[0]), SHAPE), structure_of(model))


def twin(model, **options):
    """A clone with the same weights."""
    result = clone(model, copied, **options)
    old = named_layers(model)
    for name, layer in named_layers(result).items():
        layer.set_weights(old[name].get_weights())
    return result


@each_model
def test_clone_computes_the_same_with_layers_of_its_own(model):
    result = twin(model)
    x = sample(model)
    assert keras.tree.map_structure(np.shape, result(x)) == keras.tree.map_structure(np.shape, model(x))
    assert zoo.largest_difference(model, result, x) == 0
    assert list(named_layers(result)) == list(named_layers(model))
    assert not set(map(id, named_layers(result).values())) & set(map(id, named_layers(model).values()))
    assert (result.name, type(result)) == (model.name, type(model))
    assert [tensor.name for tensor in result.inputs] == [tensor.name for tensor in model.inputs]
    names = [keras.tree.map_structure(lambda tensor: tensor.name, structure_of(one)) for one in (result, model)]
    assert names[0] == names[1]
    assert result.count_params() == model.count_params()


@each_model
def test_clone_saves_and_reloads(model, tmp_path):
    result = twin(model)
    result.save(tmp_path / "clone.keras")
    assert zoo.largest_difference(model, keras.models.load_model(tmp_path / "clone.keras"), sample(model)) == 0


@each_model
def test_clone_leaves_the_model_unchanged(model):
    config, weights = model.to_json(), model.get_weights()
    twin(model)
    assert model.to_json() == config
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


@pytest.mark.parametrize("make", [nested_twice, shared_twice], ids=["nested", "shared"])
def test_what_is_called_twice_is_copied_once(make):
    made = []

    def make_layer(name, layer):
        made.append(name)
        return copied(name, layer)

    model = make()
    clone(model, make_layer)
    assert sorted(made) == sorted(named_layers(model))
    assert len(made) == len(set(made))


def test_make_gets_paths_and_call_gets_the_copies_with_their_arguments():
    model, called = nested_twice(), []

    def call(name, layer, args, kwargs):
        called.append((name, layer, [tuple(tensor.shape) for tensor in keras.tree.flatten(args)]))
        return layer(*args, **kwargs)

    result = clone(model, copied, call=call)
    copies = named_layers(result)
    names = [name for name, _, _ in called]
    assert set(names) == {*copies, "block"}
    assert names.count("block") == 2  # its layers are called once, when it is made
    assert names.count("block/one") == 1
    assert all(layer is copies[name] for name, layer, _ in called if name != "block")
    assert [shapes for name, _, shapes in called if name == "block/sum"] == [[(None, 6, 6, 4)] * 2]


def test_call_may_change_the_arguments():
    inputs, x = _stem()
    model = zoo.randomize(keras.Model(inputs, head(x * 2.0)))

    def call(name, layer, args, kwargs):
        if name.startswith("multiply"):
            args = (args[0], 3.0)
        return layer(*args, **kwargs)

    result = twin(model, call=call)
    bias = model.get_layer("classifier").get_weights()[1]
    one, other = (zoo.outputs_of(net, zoo.batch(shape=SHAPE))[0] - bias for net in (model, result))
    assert np.allclose(one * 1.5, other, atol=1e-5)


def test_make_may_change_sizes_inside_nested_models():
    inputs, x = _stem()
    y = keras.Input((6, 6, 4), name="features")
    nested = keras.Model(y, zoo.conv(y, 5, name="one"), name="block")
    model = keras.Model(inputs, head(nested(x)))

    def narrower(name, layer):
        config = layer.get_config()
        if name in ("stem", "block/one"):
            config["filters"] -= 1
        return layer.__class__.from_config(config)

    result = clone(model, narrower, input_channels={"block/features": (3, 3)})
    assert result.get_layer("block").input_shape == (None, 6, 6, 3)
    assert [tuple(w.shape) for w in named_layers(result)["block/one"].weights] == [(3, 3, 3, 4), (4,)]
    assert result.get_layer("block").get_layer("features").name == "features"
    with pytest.raises(ValueError, match="incompatible with the layer"):
        clone(model, narrower)


@pytest.mark.parametrize("make", [nested_twice, sequential_of_models], ids=["functional", "sequential"])
def test_compile_configuration_is_taken_over(make):
    model = make()
    model.compile(keras.optimizers.SGD(0.125), "mse", metrics=["mae"])
    result = clone(model, copied)
    assert float(result.optimizer.learning_rate) == 0.125
    assert result.optimizer is not model.optimizer
    x = zoo.batch(4, shape=SHAPE)
    assert "mae" in result.fit(x, np.zeros((4, 3)), verbose=0).history


@pytest.mark.parametrize("error", [TypeError("no units"), NotImplementedError("no config")], ids=["type", "config"])
def test_layer_that_cannot_be_copied_is_named(error):
    def make(name, layer):
        if name == "block/two":
            raise error
        return copied(name, layer)

    with pytest.raises(
        ValueError, match=rf"Layer 'block/two' \(Conv2D\) cannot be copied from its configuration: {error}.*get_config"
    ):
        clone(nested_twice(), make)
