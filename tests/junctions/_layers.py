"""One Keras layer in the middle."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tests.junctions._net import Junction, chain, classifier, conv, layer, linear, net, one, whole

_L = keras.layers
_NAMED = ("gelu", "silu", "hard_sigmoid", "selu", "softsign")


@keras.saving.register_keras_serializable(package="tests")
class Mirrored(_L.Layer):
    """A layer for which there is no rule: it adds the channels in reverse order."""

    def call(self, inputs):
        return inputs + ops.flip(inputs, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="tests")
class ChannelScale(_L.Layer):
    """A layer with weights for which there is no rule."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), name="scale")

    def call(self, inputs):
        return inputs * self.scale + ops.mean(inputs, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable(package="tests")
class StandardizedConv2D(_L.Conv2D):
    """A subclass of a known layer that does something else: each kernel minus its mean."""

    def call(self, inputs):
        kernel = self.kernel - ops.mean(self.kernel, axis=(0, 1, 2))
        return ops.conv(inputs, kernel, padding=self.padding) + self.bias


def _barrier(layer_class: type, *arguments: Any, **settings: Any) -> Junction:
    """A layer that keeps the channels that it reads; what lies behind it is pruned."""
    behind = chain(one(layer_class, *arguments, **settings), lambda x: conv(x, 5, "later"))
    return net(behind, prunable=("later", "after"))


def _each_step(layer_class: type, *arguments: Any, **settings: Any) -> Callable[[Any], Any]:
    """A layer of that class for each row of what it reads, new in every build."""
    return lambda x: _L.TimeDistributed(layer_class(*arguments, **settings))(x)


def _in_each_step(layer_class: type, *arguments: Any, **settings: Any) -> Callable[[Any], Any]:
    """The same, named 'junction'."""
    return lambda x: _L.TimeDistributed(layer_class(*arguments, **settings), name="junction")(x)


_STEPS = ("before", "junction", "after")


def _images_in_a_row() -> Junction:
    """Everything that a network for single images has, for each image of a row."""
    steps = (
        _in_each_step(_L.Conv2D, 9, 3, padding="same"),
        _each_step(_L.BatchNormalization),
        _each_step(_L.ReLU),
        _each_step(_L.MaxPooling2D),
        _each_step(_L.DepthwiseConv2D, 2, depth_multiplier=2),
        _each_step(_L.PReLU),
        _each_step(_L.Dropout, 0.2, noise_shape=(None, 1, 1, 18)),
        _each_step(_L.Flatten),
        lambda x: _L.TimeDistributed(_L.Dense(8, activation="relu"), name="dense")(x),
    )
    return net(chain(*steps), rank=3, prunable=(*_STEPS, "dense"))


def _channels_first_in_each_step() -> Junction:
    steps = (
        layer(_L.Permute, (1, 3, 2)),
        _in_each_step(_L.BatchNormalization, axis=1),
        _each_step(_L.PReLU),
        layer(_L.Permute, (1, 3, 2)),
    )
    return net(chain(*steps))


def _model_in_each_step(x: Any) -> Any:
    inner = keras.Sequential([keras.Input((6, 8)), _L.Conv1D(5, 3), _L.Conv1D(6, 3)])
    return conv(_L.TimeDistributed(inner, name="junction")(x), 5, "later")


def _dense_activations() -> keras.Model:
    x = inputs = keras.Input((5,), name="inputs")
    x = _L.PReLU()(_L.Dense(9, name="one")(x))
    x = _L.LayerNormalization()(_L.Dense(8, activation="tanh", name="two")(x))
    x = _L.BatchNormalization()(_L.Dense(7, name="three")(x))
    x = _L.GroupNormalization(2)(_L.Dense(6, name="four")(x))
    return keras.Model(inputs, classifier(x))


def _activation_layers(x: Any) -> Any:
    """Every kind of activation layer behind a convolution of its own."""
    kinds = {
        "relu": _L.ReLU(max_value=6, negative_slope=0.1, threshold=0.1),
        "leaky": _L.LeakyReLU(negative_slope=0.3),
        "elu": _L.ELU(alpha=0.7),
        "function": _L.Activation(ops.relu6),
        **{name: _L.Activation(name) for name in _NAMED},
    }
    return _L.Concatenate()([kinds[kind](linear(x, 4, f"to_{kind}")) for kind in kinds])


def _poolings(rank: int) -> Junction:
    """Every layer that moves pixels of a rank: pooling, padding, cropping, upsampling."""
    return net(
        chain(
            layer(getattr(_L, f"ZeroPadding{rank}D"), 1, name="pad"),
            layer(getattr(_L, f"MaxPooling{rank}D"), 3, 1, padding="valid", name="maximum"),
            layer(getattr(_L, f"UpSampling{rank}D"), 2, name="up"),
            layer(getattr(_L, f"AveragePooling{rank}D"), 2, 2, padding="same", name="mean"),
            layer(getattr(_L, f"Cropping{rank}D"), 1, name="crop"),
            layer(getattr(_L, f"AdaptiveAveragePooling{rank}D"), 2, name="adaptive_mean"),
            layer(getattr(_L, f"SpatialDropout{rank}D"), 0.2, name="drop"),
            lambda x: conv(x, 5, "between"),
            layer(getattr(_L, f"GlobalMaxPooling{rank}D"), name="global_maximum"),
        ),
        rank=rank,
        prunable=("before", "between", "after"),
    )


def _two_flattens(x: Any) -> Any:
    left = _L.Flatten(name="flat_left")(_L.MaxPooling2D(2)(conv(x, 5, "left")))
    right = _L.Flatten(name="flat_right")(conv(x, 7, "right", strides=3))
    return _L.Concatenate()([left, right])


def _attention(x: Any) -> Any:
    x = _L.Reshape((36, 8))(x)
    x = _L.Add()([x, _L.MultiHeadAttention(2, 4, name="attention")(x, x)])
    return conv(_L.Reshape((6, 6, 8))(x), 5, "later")


def _global_poolings(x: Any) -> Any:
    parts = [_L.GlobalAveragePooling2D()(x), _L.GlobalMaxPooling2D(keepdims=True)(x)]
    return _L.Concatenate()([parts[0], _L.Flatten()(parts[1])])


def _generator() -> keras.Model:
    inputs = keras.Input((5,), name="latent")
    x = _L.Dense(4 * 4 * 6, activation="relu", name="project")(inputs)
    x = _L.BatchNormalization()(_L.Reshape((4, 4, 6))(x))
    x = conv(x, 9, "stem")
    x = _L.Conv2DTranspose(8, 4, strides=2, padding="same", activation="relu", name="up")(x)
    return keras.Model(inputs, linear(x, 3, "classifier"))


def _autoencoder() -> keras.Model:
    inputs = keras.Input((8, 8, 2), name="image")
    x = conv(conv(inputs, 6, "stem"), 8, "down", strides=4)
    x = _L.Dense(7, activation="relu", name="latent")(_L.Flatten()(x))
    x = _L.Reshape((2, 2, 9))(_L.Dense(2 * 2 * 9, activation="relu", name="project")(x))
    x = _L.Conv2DTranspose(8, 3, strides=4, padding="same", activation="relu", name="up")(x)
    return keras.Model(inputs, linear(x, 2, "classifier"))


def _embedding() -> keras.Model:
    inputs = keras.Input((12,), dtype="int32", name="words")
    x = conv(_L.Embedding(10, 6, name="embedding")(inputs), 7, "stem")
    x = conv(_L.MaxPooling1D(2)(conv(x, 8, "before")), 9, "after", padding="causal")
    return keras.Model(inputs, classifier(_L.GlobalMaxPooling1D()(x)))


def _recurrent_end() -> keras.Model:
    inputs = keras.Input((10, 2), name="sequence")
    x = conv(conv(conv(inputs, 6, "stem"), 8, "before"), 7, "last")
    x = _L.Dense(9, activation="relu", name="hidden")(_L.LSTM(5, name="recurrent")(x))
    return keras.Model(inputs, classifier(x))


def _input_layers() -> keras.Model:
    inputs = keras.Input((6, 6, 3), name="image")
    x = _L.Normalization(mean=[0.1, -0.2, 0.3], variance=[0.5, 1.5, 2.0], name="normalization")(inputs)
    x = _L.RandomFlip(name="flip")(_L.Rescaling(2.0, offset=-0.5, name="rescaling")(x))
    x = conv(conv(_L.Resizing(5, 5, name="resizing")(x), 6, "stem"), 8, "before")
    return keras.Model(inputs, classifier(conv(x, 7, "after")))


def _channels_first() -> keras.Model:
    # Wider than any layer has channels: Keras 3.15 on TensorFlow adds the bias along the wrong axis of a
    # channels-first tensor that is as wide as it has channels.
    first = {"data_format": "channels_first"}
    inputs = keras.Input((2, 22, 22), name="image")
    x = conv(inputs, 6, "stem", **first)
    x = _L.BatchNormalization(axis=1)(linear(x, 8, "before", **first))
    x = _L.MaxPooling2D(2, **first)(_L.PReLU(shared_axes=[2, 3])(x))
    x = _L.Concatenate(axis=1)([conv(x, 7, "left", **first), _L.DepthwiseConv2D(3, padding="same", **first)(x)])
    x = _L.GlobalAveragePooling2D(**first)(conv(_L.ZeroPadding2D(1, **first)(x), 9, "after", **first))
    return keras.Model(inputs, classifier(x))


def _channels_first_flatten() -> keras.Model:
    first = {"data_format": "channels_first"}
    inputs = keras.Input((2, 22, 22), name="image")
    x = conv(conv(inputs, 6, "stem", **first), 8, "before", strides=2, **first)
    return keras.Model(inputs, classifier(_L.Dense(7, name="hidden")(_L.Flatten(**first)(x))))


def _regularized() -> keras.Model:
    inputs = keras.Input((6, 6, 2), name="image")
    rules = {"kernel_regularizer": keras.regularizers.L2(0.01), "kernel_constraint": keras.constraints.MaxNorm(2.0)}
    x = conv(inputs, 6, "stem", **rules)
    x = linear(x, 8, "before", bias_constraint="non_neg", activity_regularizer="l1", **rules)
    x = _L.BatchNormalization(gamma_regularizer="l2", beta_constraint="unit_norm")(x)
    x = _L.DepthwiseConv2D(3, depthwise_regularizer="l2", depthwise_constraint="max_norm")(x)
    model = keras.Model(inputs, classifier(_L.ActivityRegularization(0.1)(conv(x, 7, "after", **rules))))
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    return model


def _open_size() -> keras.Model:
    inputs = keras.Input((None, None, 3), name="image")
    x = _L.BatchNormalization()(linear(conv(inputs, 6, "stem"), 8, "before", strides=2))
    x = _L.Add()([x, linear(conv(x, 9, "wide", 1), 8, "narrow")])
    return keras.Model(inputs, classifier(conv(_L.UpSampling2D(2)(x), 7, "after")))


def _frozen() -> keras.Model:
    model = net(one(_L.BatchNormalization)).build()
    for name in ("stem", "before", "junction"):
        model.get_layer(name).trainable = False
    return model


def _mixed(x: Any) -> Any:
    """Permute the channels into the rows, where a convolution mixes them."""
    return conv(_L.Permute((3, 2, 1))(x), 5, "across")


SCALES, OFFSETS = np.linspace(0.5, 2, 8).tolist(), np.linspace(-1, 1, 8).tolist()
ALL = ("before", "junction", "after")
LAYERS: dict[str, Junction] = {
    # convolutions
    "conv1d": net(one(_L.Conv1D, 5, 2, strides=2, dilation_rate=1), rank=1, prunable=ALL),
    "conv2d_dilated": net(one(_L.Conv2D, 5, (3, 2), dilation_rate=2, use_bias=False), prunable=ALL),
    "conv3d": net(one(_L.Conv3D, 5, (1, 2, 3)), rank=3, prunable=ALL),
    "conv1d_transpose": net(one(_L.Conv1DTranspose, 5, 3, strides=2), rank=1, prunable=ALL),
    "conv2d_transpose": net(one(_L.Conv2DTranspose, 5, 3, strides=2, padding="same"), prunable=ALL),
    "conv3d_transpose": net(one(_L.Conv3DTranspose, 5, 2, strides=2, use_bias=False), rank=3, prunable=ALL),
    "depthwise_conv1d": net(one(_L.DepthwiseConv1D, 3), rank=1),
    "depthwise_conv2d": net(one(_L.DepthwiseConv2D, 3, padding="same", activation="relu")),
    "depthwise_conv2d_multiplier": net(one(_L.DepthwiseConv2D, 3, depth_multiplier=2)),
    "separable_conv1d": net(one(_L.SeparableConv1D, 5, 3), rank=1, prunable=ALL),
    "separable_conv2d": net(one(_L.SeparableConv2D, 5, 3, strides=2), prunable=ALL),
    "separable_conv2d_multiplier": net(one(_L.SeparableConv2D, 5, 3, depth_multiplier=2), prunable=ALL),
    "grouped_conv_2": net(one(_L.Conv2D, 6, 3, groups=2), prunable=ALL),
    "grouped_conv_4": net(one(_L.Conv2D, 12, 3, groups=4), prunable=ALL),
    "grouped_conv_of_1": net(one(_L.Conv2D, 16, 3, groups=8), prunable=ALL),
    "grouped_conv1d": net(one(_L.Conv1D, 6, 3, groups=2), rank=1, prunable=ALL),
    # dense layers
    "dense_on_maps": net(one(_L.Dense, 5, activation="relu"), prunable=ALL),
    "dense_on_sequence": net(one(_L.Dense, 5), rank=1, prunable=ALL),
    "dense_behind_flatten": net(chain(layer(_L.AveragePooling2D, 2), one(_L.Flatten))),
    "two_flattens": net(_two_flattens, prunable=("before", "left", "right", "after")),
    "generator": whole(_generator, "project", "up"),
    "autoencoder": whole(_autoencoder, "down", "latent", "project", "up"),
    # normalizations
    "batch_norm": net(one(_L.BatchNormalization)),
    "batch_norm_plain": net(one(_L.BatchNormalization, scale=False, center=False)),
    "batch_norm_behind_flatten": net(
        chain(layer(_L.AveragePooling2D, 2), layer(_L.Flatten), one(_L.BatchNormalization))
    ),
    "layer_norm": net(one(_L.LayerNormalization)),
    "layer_norm_plain": net(one(_L.LayerNormalization, scale=False, center=False)),
    "layer_norm_over_maps": net(one(_L.LayerNormalization, axis=[1, 2, 3]), prunable=("after",)),
    "layer_norm_over_pixels": net(one(_L.LayerNormalization, axis=[1, 2]), prunable=("after",)),
    "layer_norm_behind_flatten": net(
        chain(layer(_L.AveragePooling2D, 3), layer(_L.Flatten), one(_L.LayerNormalization))
    ),
    "rms_norm": net(one(_L.RMSNormalization)),
    "group_norm_2": net(one(_L.GroupNormalization, 2)),
    "group_norm_3": net(one(_L.GroupNormalization, 3), channels=12),
    "group_norm_1": net(one(_L.GroupNormalization, 1), prunable=("after",)),
    "instance_norm": net(one(_L.GroupNormalization, -1)),
    "unit_norm": net(one(_L.UnitNormalization)),
    # activations
    "activation_layers": net(
        _activation_layers,
        prunable=("before", *(f"to_{kind}" for kind in ("relu", "leaky", "elu", "function", *_NAMED)), "after"),
    ),
    "activations_of_vectors": whole(_dense_activations, "one", "two", "three", "four"),
    "prelu": net(one(_L.PReLU)),
    "prelu_shared": net(one(_L.PReLU, shared_axes=[1, 2])),
    "prelu_one_alpha": net(one(_L.PReLU, shared_axes=[1, 2, 3])),
    "softmax_over_channels": net(chain(one(_L.Softmax), layer(_L.Rescaling, 8.0)), prunable=("after",)),
    "softmax_over_pixels": net(chain(one(_L.Softmax, axis=[1, 2]), layer(_L.Rescaling, 36.0))),
    "softmax_argument": net(one(_L.Conv2D, 5, 3, activation="softmax"), prunable=("before", "after")),
    # layers without weights
    "dropouts": net(
        chain(
            layer(_L.Dropout, 0.2),
            layer(_L.SpatialDropout2D, 0.2),
            layer(_L.GaussianNoise, 0.1),
            layer(_L.GaussianDropout, 0.1),
            layer(_L.Identity),
        )
    ),
    "rescaling": net(one(_L.Rescaling, 2.0, offset=-0.5)),
    "rescaling_of_channels": net(one(_L.Rescaling, SCALES, offset=OFFSETS)),
    "resizing": net(one(_L.Resizing, 5, 4)),
    "input_layers": whole(_input_layers, "before", "after"),
    "poolings_1d": _poolings(1),
    "poolings_2d": _poolings(2),
    "poolings_3d": _poolings(3),
    "global_poolings": net(_global_poolings),
    "zero_padding": net(one(_L.ZeroPadding2D, ((1, 0), (0, 2)))),
    "cropping": net(one(_L.Cropping2D, ((1, 0), (0, 2)))),
    "upsampling_bilinear": net(one(_L.UpSampling2D, 2, interpolation="bilinear")),
    "reshape": net(one(_L.Reshape, (36, 8))),
    "reshape_open": net(one(_L.Reshape, (-1, 8))),
    "permute_pixels": net(one(_L.Permute, (2, 1, 3))),
    "permute_there_and_back": net(chain(layer(_L.Permute, (3, 1, 2)), layer(_L.ReLU), layer(_L.Permute, (2, 3, 1)))),
    "permute_into_pixels": net(_mixed, prunable=("across", "after")),
    # ends of channels
    "embedding": whole(_embedding, "before", "after"),
    "steps_of_conv1d": net(_in_each_step(_L.Conv1D, 9, 3, activation="relu"), prunable=_STEPS),
    "steps_of_grouped_conv1d": net(_in_each_step(_L.Conv1D, 8, 3, groups=2), prunable=_STEPS),
    "steps_of_separable_conv1d": net(_in_each_step(_L.SeparableConv1D, 9, 3, depth_multiplier=2), prunable=_STEPS),
    "steps_of_conv1d_transpose": net(_in_each_step(_L.Conv1DTranspose, 9, 3, strides=2), prunable=_STEPS),
    "steps_of_dense": net(_in_each_step(_L.Dense, 9, activation="tanh"), prunable=_STEPS),
    "steps_of_group_norm": net(_in_each_step(_L.GroupNormalization, 4)),
    "steps_of_reshape": net(_in_each_step(_L.Reshape, (3, 2, 8))),
    "steps_of_softmax": net(chain(_in_each_step(_L.Softmax, axis=1)), prunable=("before", "after")),
    "steps_of_images": _images_in_a_row(),
    "steps_of_channels_first": _channels_first_in_each_step(),
    "steps_of_layer_norm": net(
        chain(_in_each_step(_L.LayerNormalization), lambda x: conv(x, 5, "later")), prunable=("later", "after")
    ),
    "steps_of_a_model": net(_model_in_each_step, prunable=("later", "after")),
    "attention": net(_attention, prunable=("later", "after")),
    "recurrent_end": whole(_recurrent_end, "before", "hidden"),
    "time_distributed": _barrier(_L.TimeDistributed, _L.Dense(5)),
    "unknown_layer": _barrier(Mirrored),
    "unknown_layer_with_weights": _barrier(ChannelScale),
    "unknown_subclass": _barrier(StandardizedConv2D, 5, 3),
    # settings of the whole model
    "channels_first": whole(_channels_first, "before", "left", "after"),
    "channels_first_flatten": whole(_channels_first_flatten, "before", "hidden"),
    "regularized": whole(_regularized, "before", "after"),
    "open_size": whole(_open_size, "before", "wide", "narrow", "after"),
    "frozen": whole(_frozen, "before", "after"),
}
