"""Small int8 files that between them hold every operator of the NumPy reference."""

import functools

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tests import zoo
from tflite_export.quantize import convert

_L = keras.layers
_rng = np.random.default_rng(0)
_CONV = _rng.normal(0, 0.3, (3, 3, 2, 6)).astype(np.float32)
_DEPTHWISE = _rng.normal(0, 0.3, (3, 3, 2, 3)).astype(np.float32)
_DENSE = _rng.normal(0, 0.2, (128, 5)).astype(np.float32)


def _depthwise(x):
    x = _L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu6")(zoo.conv(x, 4))
    x = _L.DepthwiseConv2D(3, strides=2, padding="same")(x)
    return zoo._head(zoo.conv(_L.ReLU(6.0)(_L.BatchNormalization()(x)), 6, 1))


def _concat(x):
    parts = [zoo.conv(x, 4), zoo.conv(x, 5, 1, activation=None), _L.MaxPooling2D(3, 1, padding="same")(x)]
    y = zoo.conv(_L.Concatenate()(parts)[:, 1:7:2, ::2, 1:], 5)
    return zoo._head(_L.Concatenate()([y, y[..., :2]]))


def _gate(x):
    x = zoo.conv(x, 6)
    gate = _L.Conv2D(6, 1, activation="relu6")(_L.GlobalAveragePooling2D(keepdims=True)(x))
    return zoo._head(_L.Multiply()([x, gate]))


def _average(x):
    x = _L.ReLU()(_L.AveragePooling2D(3, 2, padding="same")(zoo.conv(x, 4, activation=None)))
    x = _L.GlobalAveragePooling2D(keepdims=True)(_L.Multiply()([x, zoo.conv(x, 4, activation=None)]))
    return _L.Flatten()(_L.Dense(3)(x))


OWN = {"depthwise": _depthwise, "concat": _concat, "gate": _gate, "average": _average}
# Left out: two outputs, a layer without operator, and ELU, LOGISTIC and TANH, which have no kernel here.
NETWORKS = (*OWN, *(name for name in zoo.ZOO if name not in ("two_outputs", "unknown_layer", "leaky")))

FUNCTIONS = {
    "add_constant": lambda x: x + tf.constant(np.linspace(-1, 1, 16).reshape(8, 2).astype(np.float32)),
    "add_other_rank": lambda x: x + tf.reduce_mean(x, (1, 2)),
    "bounded": lambda x: tf.clip_by_value(tf.nn.conv2d(x, _CONV, 2, "SAME"), -1.0, 1.0),
    "concat_constant": lambda x: tf.concat([x, tf.zeros((1, 8, 8, 1))], -1),
    "concat_requantized": lambda x: tf.concat([tf.nn.softmax(x), x], 1),
    "dense": lambda x: tf.matmul(tf.reshape(x, (1, 128)), _DENSE),
    "dense_with_bias": lambda x: tf.matmul(tf.reshape(x, (1, 128)), _DENSE) + [0.5, -0.7, 0.9, 1.1, -2.2],
    "dense_on_rows": lambda x: tf.matmul(tf.reshape(x, (4, 32)), _DENSE[:32])[None],
    "depthwise_dilated": lambda x: tf.nn.depthwise_conv2d(x, _DEPTHWISE, (1,) * 4, "SAME", dilations=(2, 2)),
    "max_of_two_axes": lambda x: tf.reduce_max(x, (1, -1)),
    "mean_of_channels": lambda x: tf.reduce_mean(x, -1),
    "mean_kept": lambda x: tf.reduce_mean(x, (1, 3), keepdims=True),
    "multiply": lambda x: x * x[:, ::-1],
    "multiply_constant": lambda x: x * tf.constant([0.7, -1.3]),
    "pad_value": lambda x: tf.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=0.3),
    "relu_alone": lambda x: tf.nn.relu(tf.reshape(x, (1, 64, 2))),
    "relu6_alone": lambda x: tf.nn.relu6(tf.concat([9 * x, x], 1)),
    "shapes": lambda x: tf.expand_dims(tf.squeeze(x[:, :1], 1), 2),
    "slice": lambda x: tf.slice(x, (0, 1, 2, 0), (1, 5, -1, 1)),
    "slice_backwards": lambda x: x[:, ::-2, -3:-1, 1],
    "slice_one": lambda x: x[:, -1, 1:],
    "softmax_sharp": lambda x: tf.nn.softmax(50 * x),
    "softmax_wide": lambda x: tf.nn.softmax(tf.reshape(x, (1, 128))),
}


def images(samples, seed=7):
    """Inputs that also leave the range of the calibration."""
    return 1.2 * zoo.batch(samples, seed)


@functools.cache
def network(name, seed=0):
    """A network of the zoo, or one of this file, in int8."""
    if name in OWN:
        inputs = keras.Input(zoo.INPUT_SHAPE)
        model = zoo.randomize(keras.Model(inputs, OWN[name](inputs), name=name), seed)
    else:
        model = zoo.build(name, seed)
    return convert(model, quantize="int8", representative_data=zoo.batch(100))


@functools.cache
def function(name, per_channel_dense=True):
    """A TensorFlow function in int8."""
    return convert_function(FUNCTIONS[name], per_channel_dense=per_channel_dense)


def convert_function(call, *, per_channel_dense=True):
    """A TensorFlow function of one image in int8."""
    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec((1, *zoo.INPUT_SHAPE), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.call.get_concrete_function()], module)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in zoo.batch(100))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel_dense
    return bytes(converter.convert())


def with_scales(data, change):
    """A copy of a model with other quantization scales; the numbers it computes mean nothing any more."""
    parsed = schema.ModelT.InitFromPackedBuf(data)
    for tensor in parsed.subgraphs[0].tensors:
        if tensor.quantization is not None and tensor.quantization.scale is not None:
            tensor.quantization.scale = change(tensor.quantization.scale).astype(np.float32)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(parsed))


def replacing(new):
    """A change of scales by a table, from old to new numbers; scales not in it stay."""
    return lambda scales: np.array([new.get(float(scale), scale) for scale in scales])


def power_of_two(scales):
    """The nearest powers of two."""
    return 2.0 ** np.round(np.log2(scales))
