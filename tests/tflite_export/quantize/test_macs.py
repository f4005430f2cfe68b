"""The multiplications that budgets count are those of the operators in the file."""

import keras
import pytest

from tf_structprune.graph import trace
from tflite_export.file import open_file
from tflite_export.quantize import convert

_L = keras.layers
LAYERS = {
    "convolution": (_L.Conv2D(6, (3, 2), strides=2, padding="same"), (9, 8, 4)),
    "dilated": (_L.Conv2D(6, 3, dilation_rate=2), (9, 8, 4)),
    "depthwise": (_L.DepthwiseConv2D(3, depth_multiplier=2), (9, 8, 4)),
    "separable": (_L.SeparableConv2D(6, 3, padding="same"), (9, 8, 4)),
    "sequence": (_L.Conv1D(6, 3), (9, 4)),
    "dense": (_L.Dense(6), (9,)),
    "transposed": (_L.Conv2DTranspose(6, (3, 2), strides=2, padding="same"), (9, 8, 4)),
    "transposed, valid": (_L.Conv2DTranspose(6, 3, strides=(2, 1)), (9, 8, 4)),
}


@pytest.mark.parametrize("layer, shape", LAYERS.values(), ids=LAYERS)
def test_macs_of_the_graph_are_those_of_the_file(layer, shape):
    model = keras.Sequential([keras.Input(shape), layer.__class__.from_config(layer.get_config())])
    assert trace(model).macs == open_file(convert(model)).description.macs > 0
