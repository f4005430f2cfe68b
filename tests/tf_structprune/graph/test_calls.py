"""The flat list of calls: names, order, wiring and shapes through nested models."""

import keras
import numpy as np
import pytest
from keras import ops

from tests import zoo
from tf_structprune.graph import input_names, is_readable, layer_inputs, named_layers, trace
from tf_structprune.graph._calls import TensorKey, list_calls

_L = keras.layers
SHAPE = (6, 6, 4)


class Subclassed(keras.Model):
    """A model in Python code."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = _L.Conv2D(4, 3, padding="same")

    def call(self, inputs):
        return self.conv(inputs)


def block(name="block", shape=SHAPE, filters=4):
    """A nested model of two convolutions."""
    inputs = keras.Input(shape, name="block_input")
    return keras.Model(inputs, zoo.conv(zoo.conv(inputs, 5, name="one"), filters, name="two"), name=name)


def stem(channels=4, shape=(6, 6, 2)):
    inputs = keras.Input(shape, name="image")
    return inputs, zoo.conv(inputs, channels, name="stem")


def head(x):
    return _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D(name="pool")(x))


def names(model):
    return [call.name for call in list_calls(model).calls]


def wiring(model):
    """(layer, calls that it reads) of each call, keys as text."""
    return [(call.name, [text(key) for key in call.inputs]) for call in list_calls(model).calls]


def text(key):
    return f"{key.call}:{key.node}:{key.index}"


# names


def test_layers_of_nested_models_have_paths():
    inputs, x = stem()
    outer_input = keras.Input(SHAPE, name="outer_input")
    outer = keras.Model(outer_input, block("inner")(outer_input), name="outer")
    model = keras.Model(inputs, head(outer(x)))
    inner = ["outer/outer_input", "outer/inner/block_input", "outer/inner/one", "outer/inner/two"]
    assert names(model) == ["image", "stem", *inner, "pool", "classifier"]
    assert list(named_layers(model)) == ["stem", "outer/inner/one", "outer/inner/two", "pool", "classifier"]
    assert named_layers(model)["outer/inner/one"] is outer.get_layer("inner").get_layer("one")


def test_sequential_in_functional_and_functional_in_sequential():
    layers = [keras.Input(SHAPE, name="first"), _L.Conv2D(5, 3, name="one"), _L.ReLU(name="relu")]
    inputs, x = stem()
    functional = keras.Model(inputs, head(keras.Sequential(layers, name="block")(x)))
    assert names(functional) == ["image", "stem", "block/first", "block/one", "block/relu", "pool", "classifier"]

    sequential = keras.Sequential([keras.Input(SHAPE, name="first"), block(), _L.Conv2D(3, 1, name="last")])
    assert names(sequential) == ["first", "block/block_input", "block/one", "block/two", "last"]
    assert (
        trace(sequential).channels["last"].inputs.tolist() == trace(sequential).channels["block/two"].outputs.tolist()
    )


def test_last_layer_of_nested_sequential_models_makes_their_output():
    inputs, x = stem()
    inner = keras.Sequential([keras.Input(SHAPE), block()], name="inner")
    outer = keras.Sequential([keras.Input(SHAPE), inner], name="outer")
    channels = trace(keras.Model(inputs, head(outer(x)))).channels
    assert channels["classifier"].inputs.tolist() == channels["outer/inner/block/two"].outputs.tolist()


def test_same_names_in_two_nested_models_are_two_layers():
    inputs, x = stem()
    model = keras.Model(inputs, head(block("right")(block("left")(x))))
    found = named_layers(model)
    assert found["left/one"] is not found["right/one"]
    assert {layer.name for layer in trace(model).layers} == {
        *("stem", "left/one", "left/two", "right/one", "right/two", "classifier")
    }


@pytest.mark.parametrize(
    "model, expected",
    [
        (lambda: keras.Sequential([keras.Input((3,), name="first"), _L.Dense(2)]), ["first"]),
        (lambda: keras.Model(*stem()), ["image"]),
        (lambda: _two_inputs([keras.Input((3,), name="b"), keras.Input((3,), name="a")]), ["b", "a"]),
        (lambda: _two_inputs({name: keras.Input((3,), name=name) for name in "ba"}), ["a", "b"]),
    ],
    ids=["sequential", "functional", "list", "dict"],
)
def test_input_names_are_in_the_order_of_the_inputs(model, expected):
    assert input_names(model()) == expected


def _two_inputs(inputs):
    return keras.Model(inputs, _L.Add()(keras.tree.flatten(inputs)))


def test_input_names_of_a_sequential_model_that_was_built_by_a_shape():
    model = keras.Sequential([_L.Dense(3, name="one"), _L.Dense(2, name="two")])
    model.build((None, 4))
    assert len(input_names(model)) == 1
    assert names(model) == [*input_names(model), "one", "two"]


# calls and nodes


def test_nested_model_called_twice_has_calls_of_its_own():
    inputs, x = stem()
    twice = block()
    model = keras.Model(inputs, head(_L.Add(name="sum")([twice(x), twice(twice(x))])))
    found = list_calls(model).calls
    one, two = ([call for call in found if call.name == f"block/{name}"] for name in ("one", "two"))
    assert len(one) == len(two) == 3
    assert [call.repeated for call in one] == [False, True, True]
    assert len({call.output for call in one}) == 3
    assert {call.layer for call in one} == {twice.get_layer("one")}
    assert {text(call.inputs[0]).rsplit("/", 1)[1] for call in two} == {"one:0:0"}
    (sum_,) = (call for call in found if call.name == "sum")
    assert set(sum_.inputs) < {call.output for call in two}
    layer = trace(model).layer("block/one")
    assert layer.pixels == 3 * 36


def test_later_calls_of_a_shared_layer_have_their_node():
    inputs, x = stem()
    shared = _L.Conv2D(4, 3, padding="same", name="shared")
    model = keras.Model(inputs, head(shared(zoo.conv(shared(x), 4, name="between"))))
    assert wiring(model)[2:5] == [
        ("shared", ["stem:0:0"]),
        ("between", ["shared:0:0"]),
        ("shared", ["between:0:0"]),
    ]
    assert wiring(model)[5] == ("pool", ["shared:1:0"])


def test_outputs_are_those_of_the_nested_model_s_layers():
    inputs, x = stem()
    nested = block()
    first, second = nested(x), nested(zoo.conv(x, 4, name="other"))
    found = list_calls(keras.Model(inputs, [second, first]))
    assert [(key.call.rsplit("/", 1)[1], key.node) for key in found.outputs] == [("two", 0), ("two", 0)]
    made_of = {call.output: call for call in found.calls}

    def source(key):
        call = made_of[key]
        return call.name if call.name in ("stem", "other") else source(call.inputs[0])

    assert [source(key) for key in found.outputs] == ["other", "stem"]


def test_several_outputs_of_a_nested_model_keep_their_order():
    shared_input = keras.Input(SHAPE, name="block_input")
    wide, narrow = zoo.conv(shared_input, 7, name="wide"), zoo.conv(shared_input, 3, name="narrow")
    nested = keras.Model(shared_input, [wide, narrow], name="block")
    inputs, x = stem()
    left, right = nested(x)
    model = keras.Model(inputs, [zoo.conv(right, 2, name="of_narrow"), zoo.conv(left, 2, name="of_wide")])
    channels = trace(model).channels
    assert channels["of_wide"].inputs.tolist() == channels["block/wide"].outputs.tolist()
    assert channels["of_narrow"].inputs.tolist() == channels["block/narrow"].outputs.tolist()


@pytest.mark.parametrize("structure", [list, dict], ids=["list", "dict"])
def test_several_inputs_of_a_nested_model_keep_their_order(structure):
    keys = ("b", "a")  # not in sorted order, in which Keras flattens dictionaries
    inner = {key: keras.Input((6, 6, size), name=key) for key, size in zip(keys, (5, 3), strict=True)}
    made = [zoo.conv(inner[key], 4, name=f"of_{key}") for key in keys]
    arguments = inner if structure is dict else [inner[key] for key in keys]
    nested = keras.Model(arguments, _L.Concatenate()(made), name="block")
    inputs, x = stem()
    outer = {key: zoo.conv(x, size, name=key) for key, size in zip(keys, (5, 3), strict=True)}
    y = nested(outer if structure is dict else [outer[key] for key in keys])
    model = keras.Model(inputs, head(y))
    channels = trace(model).channels
    for key in keys:
        assert channels[f"block/of_{key}"].inputs.tolist() == channels[key].outputs.tolist()
    assert {"a", "b"} <= {group.name for group in trace(model).prunable_groups}


def test_inputs_and_outputs_in_dictionaries():
    q, p = keras.Input((6, 6, 3), name="q"), keras.Input((6, 6, 2), name="p")
    model = keras.Model({"q": q, "p": p}, {"z": zoo.conv(p, 4, name="of_p"), "a": zoo.conv(q, 5, name="of_q")})
    found = list_calls(model)
    assert {call.name: call.input_shapes for call in found.calls if call.inputs} == {
        "of_p": ((None, 6, 6, 2),),
        "of_q": ((None, 6, 6, 3),),
    }
    assert [key.call for key in found.outputs] == ["of_q", "of_p"]  # sorted by key, as Keras flattens them


def test_intermediate_outputs_are_outputs():
    inputs, x = stem()
    middle = zoo.conv(x, 5, name="middle")
    model = keras.Model(inputs, [head(zoo.conv(middle, 6, name="last")), middle, x])
    assert [key.call for key in list_calls(model).outputs] == ["classifier", "middle", "stem"]
    reasons = {item.name: item.reason for item in trace(model).skipped}
    assert reasons["middle"] == "it is an output of the model"
    assert {group.name for group in trace(model).prunable_groups} == {"last"}


def test_model_cut_out_of_another_has_its_own_calls_only():
    inputs, x = stem()
    middle = zoo.conv(x, 5, name="middle")
    keras.Model(inputs, head(middle))
    features = keras.Model(x, middle)
    assert names(features)[1:] == ["middle"]
    assert list_calls(features).calls[1].inputs == (list_calls(features).calls[0].output,)


# arguments


def test_operators_keep_their_constants_and_the_places_of_tensors():
    inputs, x = stem()
    vector = np.arange(4, dtype="float32")
    model = keras.Model(inputs, head((2.0 - x) * vector))
    minus, times = (call for call in list_calls(model).calls if call.name.startswith(("subtract", "multiply")))
    assert minus.args == (2.0, TensorKey("stem"))
    assert times.args[0] == minus.output
    assert np.array_equal(ops.convert_to_numpy(times.args[1]), vector)
    args, _ = minus.arguments(lambda key: f"value of {key.call}")
    assert args == [2.0, "value of stem"]


def test_keyword_tensors_are_inputs():
    inputs, x = stem()
    other = zoo.conv(x, 4, name="other")
    model = keras.Model(inputs, head(ops.maximum(x1=x, x2=other)))
    (call,) = (call for call in list_calls(model).calls if call.name.startswith("maximum"))
    assert {key.call for key in call.inputs} == {"stem", "other"}
    assert call.input_shapes == ((None, *SHAPE),) * 2
    args, kwargs = call.arguments(lambda key: key.call)
    assert [*args, *kwargs.values()] == ["stem", "other"]


def test_string_arguments_are_no_tensors():
    inputs, x = stem()
    model = keras.Model(inputs, head(ops.image.resize(x, (3, 3), interpolation="nearest")))
    (call,) = (call for call in list_calls(model).calls if call.name.startswith("resize"))
    assert [key.call for key in call.inputs] == ["stem"]


# shapes


@pytest.mark.parametrize("sequential", [False, True], ids=["functional", "sequential"])
def test_open_sizes_are_inferred_inside_nested_models(sequential):
    layers = [_L.Conv2D(5, 3, strides=2, padding="same", name="one"), _L.Conv2D(4, 2, name="two")]
    if sequential:
        nested = keras.Sequential([keras.Input((None, None, 4)), *layers], name="block")
    else:
        x = inputs = keras.Input((None, None, 4))
        for layer in layers:
            x = layer(x)
        nested = keras.Model(inputs, x, name="block")
    inputs, x = stem(shape=(12, 10, 2))
    graph = trace(keras.Model(inputs, head(nested(x))))
    assert {layer.name: layer.pixels for layer in graph.layers} == {
        "stem": 120,
        "block/one": 6 * 5,
        "block/two": 5 * 4,
        "classifier": 1,
    }


def test_calls_of_one_nested_model_on_two_sizes_have_their_own_shapes():
    inner = keras.Input((None, None, 4), name="block_input")
    deep = keras.Model(inner, block("deep", (None, None, 4))(inner), name="block")
    inputs, x = stem()
    small = deep(_L.MaxPooling2D(2, name="half")(x))
    model = keras.Model(inputs, head(_L.Add()([deep(x), _L.UpSampling2D(2)(small)])))
    shapes = {call.output_shapes[0] for call in list_calls(model).calls if call.name == "block/deep/one"}
    assert shapes == {(None, 6, 6, 5), (None, 3, 3, 5)}
    assert trace(model).layer("block/deep/one").pixels == 36 + 9


def test_open_sizes_of_the_whole_model_stay_open():
    inputs, x = stem(shape=(None, None, 2))
    model = keras.Model(inputs, head(block(shape=(None, None, 4))(x)))
    assert {call.output_shapes[0] for call in list_calls(model).calls if call.name == "block/one"} == {
        (None, None, None, 5)
    }


# what cannot be read


def test_layer_in_two_models_is_refused_with_both_names():
    shared = _L.Conv2D(4, 3, padding="same", name="shared")
    inner = keras.Input(SHAPE)
    nested = keras.Model(inner, shared(inner), name="block")
    inputs, x = stem()
    model = keras.Model(inputs, head(nested(shared(x))))
    with pytest.raises(
        ValueError, match=r"Layer 'shared' is also layer 'block/shared': it is part of two models.*Use one model"
    ):
        trace(model)


def test_subclassed_model_inside_is_a_barrier_with_its_name():
    inputs, x = stem()
    x = zoo.conv(Subclassed(name="mine")(zoo.conv(x, 5, name="before")), 6, name="after")
    graph = trace(keras.Model(inputs, head(zoo.conv(x, 4, name="last"))))
    skipped = {item.name: item for item in graph.skipped}
    assert skipped["mine"].reason == "there is no rule for Subclassed"
    assert skipped["mine"].remedy
    assert skipped["before"].reason == "it feeds mine: there is no rule for Subclassed"
    assert {group.name for group in graph.prunable_groups} == {"after", "last"}
    assert not [name for name in graph.channels if name.startswith("mine")]


@pytest.mark.parametrize(
    "layer, readable",
    [
        (block, True),
        (lambda: keras.Sequential([keras.Input((3,)), _L.Dense(2)]), True),
        (lambda: keras.Sequential([_L.Dense(2)]), False),
        (Subclassed, False),
        (lambda: _L.Dense(2), False),
    ],
    ids=["functional", "sequential", "unbuilt_sequential", "subclassed", "layer"],
)
def test_readable_are_built_sequential_and_functional_models(layer, readable):
    assert is_readable(layer()) is readable


# the user's model


def test_tracing_and_running_add_no_node_to_the_user_s_layers():
    inputs, x = stem()
    nested = block(shape=(None, None, 4))
    x = ops.reshape(nested(nested(x)) * 2.0, (-1, 36, 4))
    model = keras.Model(inputs, _L.Dense(3, name="classifier")(_L.Flatten()(x)))
    operations = [*model.operations, *nested.operations]
    before = [len(operation._inbound_nodes) for operation in operations]
    trace(model)
    layer_inputs(model, ["block/one", "classifier"], zoo.batch(2, shape=(6, 6, 2)))
    named_layers(model)
    input_names(model)
    assert [len(operation._inbound_nodes) for operation in operations] == before
