"""Every kind of layer, its arguments renamed or dropped where Keras 3 differs."""

import keras
import numpy as np
import pytest

from tests.tf_structprune.legacy.old_models import (
    L,
    assert_same_outputs,
    converted,
    layer_model,
    randomise,
    save,
    tf_keras,
)
from tf_structprune.legacy import from_legacy

LAYERS = {
    "depthwise_conv": lambda: L.DepthwiseConv2D(3, depth_multiplier=2),
    "separable_conv": lambda: L.SeparableConv2D(4, 3, strides=2, padding="same"),
    "grouped_conv": lambda: L.Conv2D(6, 3, groups=3),
    "dilated_conv": lambda: L.Conv2D(2, 3, dilation_rate=2, kernel_regularizer="l2"),
    "transposed_conv": lambda: L.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "transposed_conv_padded": lambda: L.Conv2DTranspose(4, 3, strides=2, output_padding=1),
    "batch_normalization": lambda: L.BatchNormalization(epsilon=0.1, scale=False),
    "sync_batch_normalization": lambda: L.experimental.SyncBatchNormalization(),
    "layer_normalization": lambda: L.LayerNormalization(axis=(1, 2)),
    "normalization": lambda: L.Normalization(),
    "normalization_given": lambda: L.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 2.0, 4.0]),
    "rescaling": lambda: L.experimental.preprocessing.Rescaling(1 / 255, offset=[1.0, 2.0, 3.0]),
    "resizing": lambda: L.Resizing(5, 5),
    "leaky_relu": lambda: L.LeakyReLU(0.2),
    "prelu": lambda: L.PReLU(shared_axes=(1, 2)),
    "relu": lambda: L.ReLU(6.0, 0.1, 0.2),
    "elu": lambda: L.ELU(0.5),
    "softmax": lambda: L.Softmax(axis=[1, 2]),
    "average_pooling": lambda: L.AveragePooling2D(3, 2, "same"),
    "cropping": lambda: L.Cropping2D(((0, 1), (2, 0))),
    "upsampling": lambda: L.UpSampling2D(interpolation="bilinear"),
    "reshape": lambda: L.Reshape((4, -1)),
    "permute": lambda: L.Permute((3, 1, 2)),
    "spatial_dropout": lambda: L.SpatialDropout2D(0.5),
    "random_flip": lambda: L.RandomFlip(),
    "time_distributed": lambda: L.TimeDistributed(L.DepthwiseConv1D(3)),
}
SEQUENCE_LAYERS = {
    "lstm": lambda: L.LSTM(3),
    "gru": lambda: L.GRU(3, reset_after=False),
    "bidirectional": lambda: L.Bidirectional(L.LSTM(3)),
    "causal_conv": lambda: L.Conv1D(3, 3, padding="causal"),
}
ACTIVATIONS = "relu relu6 elu selu gelu swish softplus softsign tanh sigmoid exponential mish softmax leaky_relu"


@pytest.mark.parametrize("how", ["live", "file"])
@pytest.mark.parametrize("name", LAYERS)
def test_layer_computes_the_same(tmp_path, name, how):
    old = randomise(layer_model(LAYERS[name]()))
    assert_same_outputs(converted(old, tmp_path, how), old)


@pytest.mark.parametrize("name", SEQUENCE_LAYERS)
def test_sequence_layer_computes_the_same(tmp_path, name):
    old = randomise(layer_model(SEQUENCE_LAYERS[name](), (6, 5)))
    assert_same_outputs(converted(old, tmp_path, "file"), old)


def test_attention_takes_its_tensors_by_keyword(tmp_path):
    inputs, other = L.Input((6, 5)), L.Input((4, 5))
    old = randomise(tf_keras.Model([inputs, other], L.MultiHeadAttention(2, 3)(inputs, value=other)))
    assert_same_outputs(converted(old, tmp_path, "file"), old)


@pytest.mark.parametrize("name", ACTIVATIONS.split())
def test_activation_means_the_same(name):
    old = randomise(layer_model(L.Dense(4, activation=name), (5,)))
    assert_same_outputs(from_legacy(old), old)


def test_sync_batch_normalization_stays_synchronized():
    new = from_legacy(layer_model(LAYERS["sync_batch_normalization"]()))
    assert new.layers[1].synchronized


class Scale(tf_keras.layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight("factor", shape=(shape[-1],))

    def call(self, inputs):
        return inputs * self.factor


class NewScale(keras.layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(name="factor", shape=(shape[-1],))

    def call(self, inputs):
        return inputs * self.factor


@pytest.mark.parametrize("how", ["live", "file"])
def test_custom_layer_is_built_from_the_class_given(tmp_path, how):
    old = randomise(layer_model(Scale(name="scale")))
    source = old if how == "live" else save(old, tmp_path / "old.h5")
    new = from_legacy(source, custom_objects={"Scale": NewScale})
    assert isinstance(new.get_layer("scale"), NewScale)
    assert_same_outputs(new, old)


def test_custom_layer_is_unknown():
    with pytest.raises(ValueError, match=r"'scale' \(Scale\) has no equivalent.*custom_objects"):
        from_legacy(layer_model(Scale(name="scale")))


def test_custom_class_must_be_of_keras_3():
    with pytest.raises(ValueError, match="must be a Keras 3 layer"):
        from_legacy(layer_model(Scale(name="scale")), custom_objects={"Scale": Scale})


def test_custom_class_that_does_not_take_the_configuration():
    class Other(keras.layers.Layer):
        def __init__(self):
            super().__init__()

    with pytest.raises(ValueError, match=r"'scale' \(Scale\) cannot be built in Keras 3"):
        from_legacy(layer_model(Scale(name="scale")), custom_objects={"Scale": Other})


@pytest.mark.parametrize(
    "layer", [L.ThresholdedReLU(name="old"), L.Lambda(lambda x: x, name="old")], ids=["ThresholdedReLU", "Lambda"]
)
def test_layer_without_equivalent_is_refused(layer):
    with pytest.raises(ValueError, match=r"Layer 'old' \(\w+\) has no equivalent in Keras 3"):
        from_legacy(layer_model(layer))


def test_hard_sigmoid_is_refused_as_it_changed_its_meaning():
    x = keras.ops.convert_to_tensor([-1.0, 1.0])
    old, new = tf_keras.activations.hard_sigmoid(x), keras.activations.hard_sigmoid(x)
    assert not np.allclose(old, new, atol=0.01)
    with pytest.raises(ValueError, match="Layer 'dense_hard': activation='hard_sigmoid' is clip"):
        from_legacy(layer_model(L.Dense(2, activation="hard_sigmoid", name="dense_hard"), (5,)))


def test_time_major_is_refused():
    with pytest.raises(ValueError, match="Layer 'turned': Keras 3 has no time_major"):
        from_legacy(layer_model(L.LSTM(2, time_major=True, name="turned"), (6, 5)))


def test_ragged_input_is_refused():
    inputs = L.Input((None,), ragged=True, name="uneven")
    with pytest.raises(ValueError, match="Layer 'uneven': sparse and ragged"):
        from_legacy(tf_keras.Model(inputs, inputs))
