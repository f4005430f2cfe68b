"""Classes of layers that tf_structprune does not know, and models with them or with layers that end a flow."""

import keras
from keras import ops

from tests import zoo

_L = keras.layers


def scale_class():
    """A new class with vectors over the channels, one of them of the tensor's rank, and a number."""

    class Scale(_L.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(1, 1, shape[-1]), name="factor")
            self.shift = self.add_weight(shape=(shape[-1],), name="shift")
            self.power = self.add_weight(shape=(), name="power")

        def call(self, inputs):
            return inputs * self.factor * ops.tanh(self.power) + self.shift

    return Scale


def doubled_class():
    """A new class of operations that are no layers."""

    class Doubled(keras.Operation):
        def call(self, inputs):
            return inputs * 2.0

        def compute_output_spec(self, inputs):
            return keras.KerasTensor(inputs.shape, inputs.dtype)

    return Doubled


def odd_convolution_class():
    """A new class of convolutions whose kernel has shape (filters, rows, columns, inputs)."""

    class OddConvolution(_L.Layer):
        def __init__(self, filters, **kwargs):
            super().__init__(**kwargs)
            self.filters = filters

        def build(self, shape):
            self.weights_of_maps = self.add_weight(shape=(self.filters, 3, 3, shape[-1]), name="weights_of_maps")
            self.offset = self.add_weight(shape=(self.filters,), name="offset")

        def call(self, inputs):
            kernel = ops.transpose(self.weights_of_maps, (1, 2, 3, 0))
            return ops.tanh(ops.conv(inputs, kernel, padding="same") + self.offset)

        def compute_output_shape(self, input_shape):
            return (*input_shape[:-1], self.filters)

        def get_config(self):
            return {**super().get_config(), "filters": self.filters}

    return OddConvolution


def blend_class():
    """A new class that mixes two tensors, by a share for each channel."""

    class Blend(_L.Layer):
        def build(self, shapes):
            self.share = self.add_weight(shape=(shapes[0][-1],), name="share")

        def call(self, inputs):
            first, second = inputs
            return self.share * first + (1 - self.share) * second

        def compute_output_shape(self, input_shape):
            return input_shape[0]

    return Blend


def net(junction, channels=6):
    """Stem, 'before', junction, 'after', classifier."""
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = zoo.conv(zoo.conv(inputs, 4, name="stem"), channels, name="before")
    x = zoo.conv(junction(x), 5, name="after")
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))


def dense_net():
    """A net with a dense layer on its maps."""
    return net(lambda x: _L.Dense(7, activation="relu", name="dense")(x))


def attention(x):
    x = _L.Reshape((64, 6))(x)
    return _L.Reshape((8, 8, 6))(_L.MultiHeadAttention(2, 3, name="end")(x, x))


def recurrent(x):
    return _L.Reshape((8, 8, 5))(_L.LSTM(5, return_sequences=True, name="end")(_L.Reshape((64, 6))(x)))


def product(x):
    x = _L.Reshape((64, 6))(x)
    return _L.Reshape((6, 6, 1))(_L.Dot(axes=1, name="end")([x, x]))


@keras.saving.register_keras_serializable(package="tests_of_rules")
def doubled(x):
    return x * 2.0


# layers behind which no channel is followed, and why
ENDS = {
    "MultiHeadAttention": (attention, "relates all channels"),
    "LSTM": (recurrent, "recurrent"),
    "Lambda": (lambda x: _L.Lambda(doubled, output_shape=(8, 8, 6), name="end")(x), "Python code"),
    "Dot": (product, "a product of two tensors"),
}


def embedded():
    """A network that reads words."""
    inputs = keras.Input((12,), dtype="int32")
    x = _L.Conv1D(5, 3, name="stem")(_L.Embedding(9, 6, name="end")(inputs))
    x = _L.Conv1D(4, 3, name="after")(x)
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalMaxPooling1D()(x))))
