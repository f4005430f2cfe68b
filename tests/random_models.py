"""Hypothesis strategies for small random networks."""

from collections.abc import Callable

import keras
import numpy as np
from hypothesis import strategies as st
from keras import ops

from tests import zoo

_L = keras.layers


@st.composite
def networks(draw):
    """A functional model with random weights on `zoo.INPUT_SHAPE`: a chain with residuals."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(inputs, draw(st.integers(1, 4)))
    for _ in range(draw(st.integers(1, 3))):
        x = draw(st.sampled_from([_plain, _residual]))(draw, x)
        if draw(st.booleans()):
            x = _L.BatchNormalization()(x)
        if draw(st.booleans()):
            x = _L.MaxPooling2D(2, padding="same")(x)
    x = _L.Flatten()(x) if draw(st.booleans()) else _L.GlobalAveragePooling2D()(x)
    if draw(st.booleans()):
        x = _L.Dense(draw(st.integers(2, 5)), activation="relu")(x)
    outputs = _L.Dense(3, activation="softmax")(x)
    return zoo.randomize(keras.Model(inputs, outputs), draw(st.integers(0, 99)))


def _plain(draw, x):
    size, strides = draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 2]))
    return zoo.conv(x, draw(st.integers(2, 5)), size, strides=strides, use_bias=draw(st.booleans()))


def _residual(draw, x):
    """An identity or a projection shortcut beside one or two convolutions."""
    project = draw(st.booleans())
    filters = draw(st.integers(2, 5)) if project else x.shape[-1]
    y = zoo.conv(x, filters, activation=None)
    if draw(st.booleans()):
        y = zoo.conv(_L.LeakyReLU()(_L.BatchNormalization()(y)), filters, activation=None)
    short = zoo.conv(x, filters, 1, activation=None) if project else x
    return _L.ReLU()(_L.Add()([y, short]))


def functional_models(most_nodes=8):
    """A functional model with random weights in which up to `most_nodes` junctions of all kinds are wired at random.

    Every node reads one of the last two tensors, and those that join read another one of the same size. Hypothesis
    draws the seed alone: its own draws repeat themselves, and half of the models would be twins.
    """
    return st.randoms(use_true_random=True).map(lambda rng: _functional_model(rng, most_nodes))


def _functional_model(rng, most_nodes):
    inputs = keras.Input((rng.randint(4, 6), rng.randint(4, 6), 2), name="image")
    tensors = [_conv(rng, _conv(rng, inputs, "stem"), "body")]
    for index in range(rng.randint(2, most_nodes)):
        kind = rng.choice(list(NODES))
        tensors.append(NODES[kind](rng, rng.choice(tensors[-2:]), tensors, f"{index}_{kind}"))
    outputs = [_head(rng, tensors[-1], "first")]
    if rng.random() < 0.5:
        outputs.append(_head(rng, rng.choice(tensors), "second"))
    model = keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs)
    return zoo.randomize(model, rng.randint(0, 99))


def describe(model):
    """The layers of a model and what they read, one a line."""
    lines = []
    model.summary(line_length=120, expand_nested=True, print_fn=lambda line, **_: lines.append(line))
    return "\n".join(lines)


def _channels(rng):
    return rng.randint(2, 8)


def _divisor(rng, number):
    return rng.choice([n for n in range(1, number + 1) if number % n == 0])


def _partner(rng, x, tensors):
    """A tensor of the same height and width."""
    return rng.choice([other for other in tensors if other.shape[1:3] == x.shape[1:3]])


def _conv(rng, x, name, filters=None):
    size = rng.randint(1, 3)
    fits = min(x.shape[1:3]) > size + 1
    strides, padding = (rng.choice([1, 1, 2]), rng.choice(["same", "valid"])) if fits and not filters else (1, "same")
    layer = _L.Conv2D(
        filters or _channels(rng),
        size,
        strides=strides,
        padding=padding,
        activation=rng.choice([None, "relu", "tanh"]),
        use_bias=rng.random() < 0.5,
        name=f"{name}_{size}x{size}_{padding}_by_{strides}",
    )
    return layer(x)


def _node_conv(rng, x, _, name):
    return _conv(rng, x, name)


def _node_dense(rng, x, _, name):
    return _L.Dense(_channels(rng), name=name, activation=rng.choice([None, "relu"]))(x)


def _node_transpose(rng, x, _, name):
    strides = 2 if max(x.shape[1:3]) <= 3 else 1
    return _L.Conv2DTranspose(_channels(rng), 2, strides=strides, padding=rng.choice(["same", "valid"]), name=name)(x)


def _node_depthwise(rng, x, _, name):
    multiplier = rng.choice([1, 2]) if x.shape[-1] <= 4 else 1
    name = f"{name}_times_{multiplier}"
    return _L.DepthwiseConv2D(3, padding="same", depth_multiplier=multiplier, name=name)(x)


def _node_separable(rng, x, _, name):
    multiplier = rng.choice([1, 2])
    name = f"{name}_times_{multiplier}"
    return _L.SeparableConv2D(_channels(rng), 3, padding="same", depth_multiplier=multiplier, name=name)(x)


def _node_grouped(rng, x, _, name):
    groups = _divisor(rng, x.shape[-1])
    filters = groups * rng.randint(1, max(1, 8 // groups))
    return _L.Conv2D(filters, 3, padding="same", groups=groups, name=f"{name}_in_{groups}")(x)


def _node_norm(rng, x, _, name):
    kind = rng.choice(["batch", "batch", "layer", "group", "instance", "unit"])
    layers = {
        "batch": lambda: _L.BatchNormalization(name=name),
        "layer": lambda: _L.LayerNormalization(name=name),
        "group": lambda: _L.GroupNormalization(_divisor(rng, x.shape[-1]), name=name),
        "instance": lambda: _L.GroupNormalization(-1, name=name),
        "unit": lambda: _L.UnitNormalization(name=name),
    }
    return layers[kind]()(x)


def _node_activation(rng, x, _, name):
    kind = rng.choice(["relu", "leaky", "prelu", "prelu_shared", "silu", "ops", "dropout"])
    layers = {
        "relu": lambda: _L.ReLU(max_value=6, name=name),
        "leaky": lambda: _L.LeakyReLU(negative_slope=0.3, name=name),
        "prelu": lambda: _L.PReLU(name=name),
        "prelu_shared": lambda: _L.PReLU(shared_axes=[1, 2], name=name),
        "silu": lambda: _L.Activation("silu", name=name),
        "ops": lambda: ops.sigmoid,
        "dropout": lambda: _L.SpatialDropout2D(0.2, name=name),
    }
    return layers[kind]()(x)


def _node_residual(rng, x, tensors, name):
    """Two tensors joined channel by channel, the second by a convolution if it does not fit."""
    other = _partner(rng, x, tensors)
    if other.shape != x.shape or rng.random() < 0.5:
        other = _conv(rng, other, f"{name}_short", x.shape[-1])
    joins = [_L.Add(), _L.Subtract(), _L.Maximum(), _L.Average(), _L.Multiply()]
    functions = [lambda pair: pair[0] + pair[1], lambda pair: ops.subtract(*pair), lambda pair: pair[0] * pair[1]]
    return rng.choice([*joins, *functions])([x, other])


def _node_concatenate(rng, x, tensors, name):
    parts = [x, _partner(rng, x, tensors)]
    if parts[0].shape == parts[1].shape and rng.random() < 0.5:
        return _L.Concatenate(axis=1, name=f"{name}_height")(parts)
    wide = _L.Concatenate(name=name)(parts) if rng.random() < 0.5 else ops.concatenate(parts, axis=-1)
    return wide if wide.shape[-1] <= 8 else _conv(rng, wide, f"{name}_narrow")


def _node_excite(rng, x, _, name):
    """Squeeze and excite."""
    channels, maps = x.shape[-1], rng.random() < 0.5
    gate = _L.GlobalAveragePooling2D(keepdims=maps)(x)
    gate = _L.Dense(rng.randint(1, 3), activation="relu", name=f"{name}_squeeze")(gate)
    gate = _L.Dense(channels, activation="sigmoid", name=name)(gate)
    return _L.Multiply()([x, gate if maps else _L.Reshape((1, 1, channels))(gate)])


def _node_gate(rng, x, tensors, name):
    """A map of one channel over all channels."""
    gate = _conv(rng, _partner(rng, x, tensors), name, 1)
    return _L.Multiply()([x, gate]) if rng.random() < 0.5 else gate * x


def _node_resize(rng, x, _, name):
    if max(x.shape[1:3]) <= 3:
        return _L.UpSampling2D(2, interpolation=rng.choice(["nearest", "bilinear"]), name=name)(x)
    layers = {
        "maximum": lambda: _L.MaxPooling2D(2, padding="same", name=name),
        "mean": lambda: _L.AveragePooling2D(2, padding="same", name=name),
        "pad": lambda: _L.ZeroPadding2D(((1, 0), (0, 1)), name=name),
        "crop": lambda: _L.Cropping2D(((1, 0), (0, 1)), name=name),
    }
    return layers[rng.choice(["maximum", "mean", "pad", *(["crop"] if min(x.shape[1:3]) > 1 else [])])]()(x)


def _node_operator(rng, x, _, name):
    del name
    vector = np.linspace(0.5, 1.5, x.shape[-1]).astype(np.float32)
    functions = [
        lambda: x * 0.5 + 0.1,
        lambda: 1 - x / 2,
        lambda: x * vector,
        lambda: ops.subtract(vector, x),
        lambda: ops.relu(x) - ops.tanh(x),
        lambda: ops.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]]),
    ]
    return rng.choice(functions)()


def _node_slice(rng, x, _, name):
    """Some of the channels, or both halves read by different layers."""
    channels = x.shape[-1]
    if channels < 2:
        return _conv(rng, x, name)
    cut = rng.randint(1, channels - 1)
    if rng.random() < 0.5:
        return rng.choice([lambda: x[..., :cut], lambda: x[..., cut:], lambda: x[..., ::2]])()
    left, right = ops.split(x, 2 if channels % 2 == 0 else [cut], axis=-1)
    return _L.Concatenate()([right, _conv(rng, left, name, rng.randint(1, 4))])


def _node_shuffle(rng, x, _, name):
    del name
    height, width, channels = x.shape[1:]
    groups = _divisor(rng, channels)
    x = _L.Permute((1, 2, 4, 3))(_L.Reshape((height, width, groups, channels // groups))(x))
    return _L.Reshape((height, width, channels))(x)


def _node_shared(rng, x, tensors, name):
    """One convolution on two tensors, or twice in a row."""
    shared = _L.Conv2D(x.shape[-1] if (twice := rng.random() < 0.5) else _channels(rng), 2, padding="same", name=name)
    if twice:
        return shared(_L.ReLU()(shared(x)))
    other = _partner(rng, x, tensors)
    other = other if other.shape == x.shape else _conv(rng, other, f"{name}_other", x.shape[-1])
    return _L.Add()([shared(x), shared(other)])


def _node_nested(rng, x, _, name):
    """A functional or sequential sub-model, called once or twice in a row."""
    twice = rng.random() < 0.5
    last = x.shape[-1] if twice else _channels(rng)
    if rng.random() < 0.5:
        inputs = keras.Input(x.shape[1:], name=f"{name}_input")
        y = _node_norm(rng, _conv(rng, inputs, "inner", _channels(rng)), (), "norm")
        y = _conv(rng, y, "last", last)
        y = _L.Add()([inputs, y]) if inputs.shape == y.shape and rng.random() < 0.5 else y
        block = keras.Model(inputs, y, name=name)
    else:
        inner = _L.Conv2D(_channels(rng), 3, padding="same", activation="relu", name="inner")
        layers = [inner, _L.BatchNormalization(name="norm"), _L.Conv2D(last, 1, name="last")]
        block = keras.Sequential([keras.Input(x.shape[1:]), *layers], name=name)
    return block(block(x)) if twice else block(x)


def _node_barrier(rng, x, _, name):
    kind = rng.choice([zoo.Unknown, _L.Softmax])
    return (kind if x.shape[-1] > 1 else zoo.Unknown)(name=name)(x)  # Keras warns of a softmax over one channel


def _head(rng, x, name):
    x = rng.choice([_L.Flatten, _L.GlobalAveragePooling2D, _L.GlobalMaxPooling2D])()(x)
    if rng.random() < 0.5:
        x = _L.Dense(_channels(rng), activation="tanh", name=f"{name}_hidden")(x)
    return _L.Dense(3, name=f"{name}_classifier")(x)


NODES: dict[str, Callable] = {
    "conv": _node_conv,
    "dense": _node_dense,
    "transpose": _node_transpose,
    "depthwise": _node_depthwise,
    "separable": _node_separable,
    "grouped": _node_grouped,
    "norm": _node_norm,
    "activation": _node_activation,
    "residual": _node_residual,
    "concatenate": _node_concatenate,
    "excite": _node_excite,
    "gate": _node_gate,
    "resize": _node_resize,
    "operator": _node_operator,
    "slice": _node_slice,
    "shuffle": _node_shuffle,
    "shared": _node_shared,
    "nested": _node_nested,
    "barrier": _node_barrier,
}
