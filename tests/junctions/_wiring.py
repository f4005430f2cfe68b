"""Nested models, shared layers, several inputs and outputs."""

from typing import Any

import keras
from keras import ops

from tests.junctions._net import Junction, chain, classifier, conv, linear, net, pool, whole

_L = keras.layers
IMAGE = (6, 6, 2)


def _image(name: str = "image") -> Any:
    return keras.Input(IMAGE, name=name)


def _start(x: Any) -> Any:
    return conv(conv(x, 6, "stem"), 8, "before")


def _block(filters: int, name: str = "block", shape: tuple[int, ...] = (6, 6, 8)) -> keras.Model:
    """A functional model with two convolutions, the first with 9 channels."""
    x = inputs = keras.Input(shape, name=f"{name}_input")
    x = _L.BatchNormalization(name="norm")(linear(x, 9, "inner_1"))
    return keras.Model(inputs, conv(_L.ReLU(name="relu")(x), filters, "inner_2"), name=name)


def _sequential(*layers: Any, name: str = "block", shape: tuple[int, ...] = (6, 6, 8)) -> keras.Sequential:
    return keras.Sequential([keras.Input(shape), *layers], name=name)


def _two_convolutions() -> tuple[Any, ...]:
    first = _L.Conv2D(9, 3, padding="same", activation="relu", name="inner_1")
    return first, _L.BatchNormalization(name="norm"), _L.Conv2D(5, 1, name="inner_2")


def _residual_block() -> keras.Model:
    inputs = keras.Input((6, 6, 8), name="block_input")
    y = linear(conv(inputs, 9, "inner_1"), 8, "inner_2", 1)
    return keras.Model(inputs, _L.ReLU()(_L.Add()([inputs, y])), name="block")


def _nested_in_nested(x: Any) -> Any:
    inputs = keras.Input((6, 6, 8), name="block_input")
    core = _sequential(*_two_convolutions(), name="core", shape=(6, 6, 7))
    return keras.Model(inputs, core(conv(inputs, 7, "inner_0")), name="block")(x)


def _nested_twice(x: Any) -> Any:
    block = _block(8)
    return block(block(x))


def _nested_on_two_tensors(x: Any) -> Any:
    block = _block(5)
    return _L.Subtract()([block(conv(x, 8, "left")), block(linear(x, 8, "right", 1))])


def _nested_with_two_outputs(x: Any) -> Any:
    inputs = keras.Input((6, 6, 8), name="block_input")
    wide = conv(inputs, 9, "inner_1")
    block = keras.Model(inputs, [wide, conv(wide, 5, "inner_2")], name="block")
    return _L.Concatenate()(list(reversed(block(x))))


def _nested_with_two_inputs(x: Any) -> Any:
    left, right = keras.Input((6, 6, 9), name="left_input"), keras.Input((6, 6, 5), name="right_input")
    block = keras.Model([left, right], _L.Concatenate()([linear(left, 7, "inner_1"), right]), name="block")
    return block([linear(x, 9, "left"), linear(x, 5, "right")])


def _nested_backbone() -> keras.Model:
    """Transfer learning: the stem stands in the nested model."""
    image, inputs = _image("backbone_image"), _image()
    x = keras.Model(image, _start(image), name="backbone")(inputs)
    return keras.Model(inputs, classifier(conv(x, 7, "after")))


def _nested_head() -> keras.Model:
    inputs = _image()
    layers = [
        _L.GlobalAveragePooling2D(),
        _L.Dense(7, activation="relu", name="hidden"),
        _L.Dense(3, name="classifier"),
    ]
    return keras.Model(inputs, _sequential(*layers, name="head")(_start(inputs)))


def _nested_functional_head() -> keras.Model:
    """The nested model comes last; Keras counts the calls of such a model from 1, of others from 0."""
    inputs, features = _image(), keras.Input((6, 6, 8), name="features")
    x = _L.Dense(7, activation="relu", name="hidden")(pool(features))
    head = keras.Model(features, classifier(x), name="head")
    return keras.Model(inputs, head(_start(inputs)))


def _nested_functional_outputs() -> keras.Model:
    """Both calls of a nested model are outputs, in the other order."""
    inputs, features = _image(), keras.Input((6, 6, 8), name="features")
    head = keras.Model(features, classifier(conv(features, 7, "inner")), name="head")
    x = _start(inputs)
    outputs = [head(x), head(linear(x, 8, "second"))]
    return keras.Model(inputs, list(reversed(outputs)))


def _nested_in_sequential() -> keras.Model:
    x = conv(image := _image("start_image"), 6, "stem")
    start = keras.Model(image, conv(x, 8, "before"), name="start")
    layers = [start, _sequential(*_two_convolutions()), _L.GlobalAveragePooling2D(), _L.Dense(3, name="classifier")]
    return keras.Sequential([keras.Input(IMAGE), *layers])


def _sequential_net() -> keras.Model:
    layers = [
        _L.Conv2D(6, 3, name="stem"),
        _L.Conv2D(8, 3, name="before"),
        _L.LayerNormalization(),
        _L.SeparableConv2D(7, 2, name="after"),
        _L.Flatten(),
        _L.Dense(9, activation="relu", name="hidden"),
        _L.Dense(3, name="classifier"),
    ]
    return keras.Sequential([keras.Input(IMAGE), *layers])


def _sequential_without_input() -> keras.Model:
    """Built by a call instead of an Input layer."""
    layers = [
        _L.Conv2D(6, 3, name="stem"),
        _L.Conv2D(8, 3, activation="relu", name="before"),
        _L.Conv2D(7, 1, name="after"),
    ]
    model = keras.Sequential([*layers, _L.Flatten(), _L.Dense(3, name="classifier")])
    model.build((None, *IMAGE))
    return model


def _shared_conv(x: Any) -> Any:
    shared = _L.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    return shared(shared(x))


def _shared_across_sizes(x: Any) -> Any:
    """As detection heads do it: the same convolution on maps of two sizes."""
    shared = _L.Conv2D(9, 3, padding="same", name="shared")
    small = shared(_L.AveragePooling2D(2)(x))
    return _L.Add()([shared(x), _L.UpSampling2D(2)(small)])


def _shared_activation(x: Any) -> Any:
    relu, norm = _L.ReLU(name="relu"), _L.BatchNormalization(name="norm")
    x = relu(norm(linear(relu(norm(x)), 8, "middle")))
    return relu(linear(x, 9, "last"))


def _siamese() -> keras.Model:
    stem = _L.Conv2D(6, 3, activation="relu", name="stem")
    before = _L.Conv2D(8, 3, name="before")
    inputs = [_image("left"), _image("right")]
    left, right = (before(stem(image)) for image in inputs)
    both = _L.Concatenate()([ops.abs(left - right), left, right])
    return keras.Model(inputs, classifier(conv(both, 7, "after")))


def _inputs(as_dict: bool) -> keras.Model:
    image, facts = _image(), keras.Input((5,), name="facts")
    x = pool(conv(_start(image), 7, "after"))
    x = _L.Concatenate()([x, _L.Dense(9, activation="relu", name="read")(facts)])
    outputs = classifier(_L.Dense(8, activation="relu", name="hidden")(x))
    return keras.Model({"facts": facts, "image": image} if as_dict else [image, facts], outputs)


def _outputs(as_dict: bool) -> keras.Model:
    inputs = _image()
    x = _start(inputs)
    label = classifier(conv(x, 7, "after"))
    box = _L.Dense(4, name="box")(pool(conv(x, 9, "other")))
    return keras.Model(inputs, {"label": label, "box": box} if as_dict else [label, box])


def _intermediate_output() -> keras.Model:
    inputs = _image()
    x = linear(conv(_start(inputs), 9, "middle"), 5, "features")
    return keras.Model(inputs, [x, classifier(conv(_L.ReLU()(x), 7, "after"))])


def _same_output_twice() -> keras.Model:
    inputs = _image()
    x = classifier(conv(_start(inputs), 7, "after"))
    return keras.Model(inputs, [x, _L.Softmax()(x), x])


def _list_of_one() -> keras.Model:
    inputs = _image()
    return keras.Model([inputs], [classifier(conv(_start(inputs), 7, "after"))])


def _input_passed_on() -> keras.Model:
    """The image joins behind the prunable layers, as in networks that correct their input."""
    inputs = _image()
    x = _L.Concatenate()([inputs, conv(_start(inputs), 7, "after")])
    return keras.Model(inputs, _L.Add()([inputs, linear(conv(x, 9, "last"), 2, "classifier")]))


def _dead_end() -> keras.Model:
    """A layer behind which no output lies is not in the model."""
    inputs = _image()
    x = _start(inputs)
    conv(x, 4, "unread")
    return keras.Model(inputs, classifier(conv(x, 7, "after")))


_INNER = ("block/inner_1", "block/inner_2")
WIRING: dict[str, Junction] = {
    "sequential": whole(_sequential_net, "before", "after", "hidden"),
    "sequential_without_input": whole(_sequential_without_input, "before", "after"),
    "nested_functional": net(lambda x: _block(5)(x), prunable=("before", *_INNER, "after")),
    "nested_residual": net(lambda x: _residual_block()(x), prunable=("before", *_INNER, "after")),
    "nested_sequential": net(lambda x: _sequential(*_two_convolutions())(x), prunable=("before", *_INNER, "after")),
    "nested_in_nested": net(
        _nested_in_nested, prunable=("before", "block/inner_0", "block/core/inner_1", "block/core/inner_2", "after")
    ),
    "nested_in_sequential": whole(_nested_in_sequential, "start/before", *_INNER),
    "nested_twice": net(_nested_twice, prunable=("before", *_INNER, "after")),
    "nested_on_two_tensors": net(_nested_on_two_tensors, prunable=("before", "left", "right", *_INNER, "after")),
    "nested_with_two_outputs": net(_nested_with_two_outputs, prunable=("before", *_INNER, "after")),
    "nested_with_two_inputs": net(
        _nested_with_two_inputs, prunable=("before", "left", "right", "block/inner_1", "after")
    ),
    "nested_backbone": whole(_nested_backbone, "backbone/before", "after"),
    "nested_head": whole(_nested_head, "before", "head/hidden"),
    "nested_functional_head": whole(_nested_functional_head, "before", "head/hidden"),
    "nested_functional_outputs": whole(_nested_functional_outputs, "before", "second", "head/inner"),
    "shared_conv": net(_shared_conv, prunable=("before", "shared", "after")),
    "shared_across_sizes": net(_shared_across_sizes, prunable=("before", "shared", "after")),
    "shared_activation": net(_shared_activation, prunable=("before", "middle", "last", "after")),
    "siamese": whole(_siamese, "before", "after"),
    "inputs_in_a_list": whole(lambda: _inputs(False), "before", "after", "read", "hidden"),
    "inputs_in_a_dict": whole(lambda: _inputs(True), "before", "after", "read", "hidden"),
    "outputs_in_a_list": whole(lambda: _outputs(False), "before", "after", "other"),
    "outputs_in_a_dict": whole(lambda: _outputs(True), "before", "after", "other"),
    "intermediate_output": whole(_intermediate_output, "before", "middle", "after"),
    "same_output_twice": whole(_same_output_twice, "before", "after"),
    "list_of_one": whole(_list_of_one, "before", "after"),
    "input_passed_on": whole(_input_passed_on, "before", "after", "last"),
    "dead_end": whole(_dead_end, "before", "after"),
    "nested_chain": net(
        chain(lambda x: _block(7, "first")(x), lambda x: _block(5, "second", (6, 6, 7))(x)),
        prunable=("before", "first/inner_1", "first/inner_2", "second/inner_1", "second/inner_2", "after"),
    ),
}
