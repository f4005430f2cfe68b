"""Tiny models, one a topology, with weights in which every leak would show."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

INPUT_SHAPE = (8, 8, 2)
_L = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class Unknown(keras.layers.Layer):
    """A layer for which tf_structprune has no rule."""

    def call(self, inputs):
        return inputs * 2.0

    def compute_output_shape(self, input_shape):
        return input_shape


def batch(samples=6, seed=1, shape=INPUT_SHAPE):
    """Inputs between -1 and 1."""
    return np.random.default_rng(seed).uniform(-1, 1, (samples, *shape)).astype(np.float32)


def lit_rows(samples):
    """Images of `INPUT_SHAPE` and their class of three, the pair of rows that is lit: easy to learn."""
    rng = np.random.default_rng(0)
    y = np.arange(samples) % 3
    x = rng.normal(0, 0.3, (samples, *INPUT_SHAPE)).astype(np.float32)
    x[np.arange(samples), y * 2] += 1.0
    return x, y


def outputs_of(model, x):
    """Outputs of a model as a list of arrays."""
    call = model
    if keras.backend.backend() == "tensorflow" and _is_channels_first(model):
        import tensorflow as tf

        call = tf.function(model, jit_compile=True, autograph=False)  # its own kernels need a CPU with AVX512
    return [keras.ops.convert_to_numpy(value) for value in keras.tree.flatten(call(x, training=False))]


def _is_channels_first(layer):
    """Whether a layer or one within it is."""
    inner = [*getattr(layer, "layers", ()), *([layer.layer] if hasattr(layer, "layer") else ())]
    return getattr(layer, "data_format", None) == "channels_first" or any(map(_is_channels_first, inner))


def largest_difference(first, second, x):
    """Largest absolute difference between the outputs of two models."""
    pairs = zip(outputs_of(first, x), outputs_of(second, x), strict=True)
    return max(float(np.abs(one.astype(np.float64) - two).max()) for one, two in pairs)


def randomize(model, seed=0):
    """Fill all weights such that no bias, offset or statistic is zero, and signals stay near 1."""
    rng = np.random.default_rng(seed)
    for layer in _layers(model):
        layer.set_weights([_random_weight(layer, weight, rng) for weight in layer.weights])
    return model


def _layers(model):
    """The layers of a model and of those nested in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
        else:
            yield layer


def _random_weight(layer, weight, rng):
    shape, name = tuple(weight.shape), weight.name
    if name == "alpha":
        return rng.uniform(0.1, 0.9, shape)
    if len(shape) > 1:
        depthwise = "Depthwise" in type(layer).__name__ or name == "depthwise_kernel"
        return rng.normal(0, 1.4 / np.sqrt(np.prod(shape[: -2 if depthwise else -1])), shape)
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.5, shape) + 0.1


def conv(x, filters, size=3, **settings):
    return _L.Conv2D(filters, size, **{"padding": "same", "activation": "relu", **settings})(x)


def _norm_conv(x, filters, name, **settings):
    x = conv(x, filters, activation=None, name=name, **settings)
    return _L.ReLU()(_L.BatchNormalization()(x))


def _head(x):
    return _L.Dense(3, activation="softmax", name="classifier")(_L.GlobalAveragePooling2D()(x))


def chain(x):
    x = conv(conv(conv(x, 4, name="a"), 6, name="b"), 5, name="c")
    return _head(x)


def batch_norm_chain(x):
    return _head(_norm_conv(_norm_conv(_norm_conv(x, 4, "a"), 6, "b"), 5, "c"))


def poolings(x):
    x = _L.MaxPooling2D(3, 2, padding="same")(conv(x, 4, name="a"))
    x = _L.AveragePooling2D(2)(conv(x, 6, name="b"))
    x = _L.ZeroPadding2D(((1, 0), (0, 2)))(x)
    x = _L.GlobalMaxPooling2D()(conv(x, 5, 2, name="c", padding="valid"))
    return _L.Dense(3, activation="softmax", name="classifier")(x)


def flatten_head(x):
    x = _L.MaxPooling2D(4)(conv(conv(x, 4, name="a"), 5, name="b"))
    x = _L.Dense(7, activation="relu", name="hidden")(_L.Flatten()(x))
    return _L.Dense(3, activation="softmax", name="classifier")(x)


def batch_norm_behind_flatten(x):
    x = _L.BatchNormalization()(_L.Flatten()(_L.MaxPooling2D(4)(conv(conv(x, 4, name="a"), 5, name="b"))))
    x = _L.Dense(7, name="hidden")(x)
    x = _L.ReLU()(_L.BatchNormalization()(x))
    return _L.Dense(3, activation="softmax", name="classifier")(x)


def dropouts(x):
    x = _L.SpatialDropout2D(0.2)(conv(conv(x, 4, name="a"), 5, name="b"))
    return _head(_L.Dropout(0.2)(conv(x, 4, name="c")))


def residual_projection(x):
    x = _norm_conv(x, 4, "stem")
    y = _norm_conv(x, 6, "main_1", strides=2)
    y = conv(y, 6, name="main_2", activation=None)
    short = conv(x, 6, 1, strides=2, name="short", activation=None)
    return _head(_L.ReLU()(_L.BatchNormalization()(_L.Add()([y, short]))))


def residual_identity(x):
    x = _norm_conv(_norm_conv(x, 4, "first"), 6, "wide")
    y = conv(_norm_conv(x, 5, "main_1"), 6, name="main_2", activation=None)
    return _head(_L.ReLU()(_L.Add()([x, _L.BatchNormalization()(y)])))


def residual_twice(x):
    x = _norm_conv(conv(x, 4, name="first"), 5, "stem")
    for block in "ab":
        y = conv(_norm_conv(x, 4, f"{block}_1"), 5, name=f"{block}_2", activation=None)
        x = _L.ReLU()(_L.Add()([x, y]))
    return _head(x)


def add_itself(x):
    x = conv(conv(x, 4, name="a"), 5, name="b")
    return _head(conv(_L.Add()([x, x]), 4, name="c"))


def dense_on_maps(x):
    x = _L.Dense(5, activation="relu", name="pointwise")(conv(conv(x, 4, name="a"), 6, name="b"))
    return _head(x)


def softmax_layer(x):
    x = _L.GlobalAveragePooling2D()(conv(conv(x, 4, name="a"), 5, name="b"))
    return _L.Softmax()(_L.Dense(3, name="classifier")(x))


def two_outputs(x):
    x = conv(conv(x, 4, name="a"), 6, name="b")
    left = _L.Dense(3, activation="softmax", name="left")(_L.GlobalAveragePooling2D()(x))
    right = _L.Dense(2, name="right")(_L.GlobalMaxPooling2D()(conv(x, 5, name="c")))
    return [left, right]


def leaky(x):
    x = _L.LeakyReLU(negative_slope=0.3)(conv(conv(x, 4, name="a"), 5, name="b", activation=None))
    x = _L.Activation("sigmoid")(_L.ELU()(conv(x, 4, name="c", activation="tanh")))
    return _head(x)


def strides_and_dilations(x):
    x = conv(conv(x, 4, name="a"), 5, (3, 2), name="valid", padding="valid")
    x = conv(x, 4, name="strided", strides=2, use_bias=False)
    return _head(conv(x, 6, name="dilated", dilation_rate=2))


def unknown_layer(x):
    x = Unknown(name="unknown")(conv(conv(x, 4, name="a"), 5, name="b"))
    return _head(conv(conv(x, 6, name="c"), 5, name="d"))


def grouped_convolution(x):
    x = conv(conv(x, 4, name="a"), 4, name="b")
    x = conv(x, 6, name="grouped", groups=2)
    return _head(conv(conv(x, 5, name="c"), 4, name="d"))


def shared_layer(x):
    x = conv(conv(x, 4, name="a"), 5, name="b")
    twice = _L.Conv2D(5, 3, padding="same", name="shared")
    return _head(conv(twice(twice(x)), 4, name="c"))


BUILDERS: dict[str, Callable] = {
    builder.__name__: builder
    for builder in (
        chain,
        batch_norm_chain,
        poolings,
        flatten_head,
        batch_norm_behind_flatten,
        dropouts,
        residual_projection,
        residual_identity,
        residual_twice,
        add_itself,
        dense_on_maps,
        softmax_layer,
        two_outputs,
        leaky,
        strides_and_dilations,
        unknown_layer,
        grouped_convolution,
        shared_layer,
    )
}
ZOO = (*BUILDERS, "sequential")


def build(name, seed=0):
    """The zoo model of that name, with its own random weights."""
    if name == "sequential":
        model = keras.Sequential(_sequential_layers(), name=name)
    else:
        inputs = keras.Input(INPUT_SHAPE, name="image")
        model = keras.Model(inputs, BUILDERS[name](inputs), name=name)
    return randomize(model, seed)


def _sequential_layers() -> Iterator[keras.layers.Layer]:
    yield keras.Input(INPUT_SHAPE)
    yield _L.Conv2D(4, 3, padding="same", activation="relu", name="a")
    yield _L.Conv2D(6, 3, name="b")
    yield _L.BatchNormalization(name="norm")
    yield _L.ReLU()
    yield _L.MaxPooling2D(2)
    yield _L.Flatten()
    yield _L.Dense(8, activation="relu", name="hidden")
    yield _L.Dense(3, activation="softmax", name="classifier")


def adapted():
    """A network behind a normalization that was adapted to data."""
    inputs = keras.Input(INPUT_SHAPE)
    normalize = _L.Normalization(name="normalize")
    x = conv(conv(normalize(inputs), 4, name="a"), 6, name="b")
    net = keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x)))
    randomize(net)
    normalize.adapt(3 + 2 * batch(50))
    return net
