import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tflite_export.file import open_file
from tflite_export.quantize import convert


def conv_macs(output, taps):
    return int(np.prod(output)) * taps


LAYERS = {
    "conv_same": (keras.layers.Conv2D(5, 3, padding="same"), conv_macs((8, 8, 5), 9 * 4)),
    "conv_stride": (keras.layers.Conv2D(5, 3, strides=2), conv_macs((3, 3, 5), 9 * 4)),
    "conv_1x1": (keras.layers.Conv2D(7, 1), conv_macs((8, 8, 7), 4)),
    "conv_3x1": (keras.layers.Conv2D(7, (3, 1)), conv_macs((6, 8, 7), 3 * 4)),
    "conv_groups": (keras.layers.Conv2D(6, 3, groups=2), conv_macs((6, 6, 6), 9 * 2)),
    "depthwise": (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), conv_macs((6, 6, 8), 9)),
    "transposed": (keras.layers.Conv2DTranspose(3, 2, strides=2), conv_macs((8, 8, 4), 4 * 3)),
    "dense": (keras.layers.Dense(3), conv_macs((8, 8, 3), 4)),
}


def random_weights(model):
    """Weights without zeros or equal values, so that the converter merges and drops nothing."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 1, weight.shape) for weight in model.get_weights()])
    return model


@pytest.mark.parametrize("name", LAYERS)
def test_describe_counts_macs_and_parameters_of_a_layer(name):
    layer, macs = LAYERS[name]
    model = random_weights(keras.Sequential([keras.Input((8, 8, 4)), type(layer).from_config(layer.get_config())]))
    description = open_file(convert(model)).description
    assert description.macs == macs
    assert description.parameters == model.count_params()


def test_describe_counts_an_unfused_batch_norm():
    model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.ReLU(), keras.layers.BatchNormalization()])
    random_weights(model)
    description = open_file(convert(model)).description
    assert description.operator_names == ("ADD", "MUL", "RELU")
    assert description.parameters == 2 * 3  # scale and offset: mean and variance are folded into them


def test_describe_counts_no_shape_or_axis_as_parameter():
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.ZeroPadding2D(), keras.layers.GlobalAveragePooling2D()]
    )
    description = open_file(convert(model)).description
    assert any(tensor.constant for tensor in description.tensors)
    assert description.parameters == 0


def test_describe_gives_operators_in_running_order_and_typed_ends(float_file, int8_file):
    description = open_file(int8_file).description
    names = [operator.name for operator in description.operators]
    assert names == ["CONV_2D", "MAX_POOL_2D", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert description.operator_counts["CONV_2D"] == 2
    (source,), (target,) = description.inputs, description.outputs
    assert (source.shape, source.dtype, target.shape, target.dtype) == ((1, 8, 8, 2), "int8", (1, 5), "int8")
    # Softmax has a fixed range in TFLite: 256 steps from 0 to 1.
    assert (target.scales, target.zero_points) == ((1 / 256,), (-128,))
    assert open_file(float_file).description.inputs[0].scales == ()


def test_describe_reads_a_path_as_its_bytes(int8_file, tmp_path):
    (tmp_path / "model.tflite").write_bytes(int8_file)
    assert open_file(tmp_path / "model.tflite").description == open_file(int8_file).description
    assert open_file(str(tmp_path / "model.tflite")).description.size_bytes == len(int8_file)


def test_describe_gives_per_channel_scales_of_weights(int8_file):
    description = open_file(int8_file).description
    first = description.operators[0]
    weights = description.tensors[first.inputs[1]]
    assert (weights.shape, weights.dtype, weights.constant) == ((6, 3, 3, 2), "int8", True)
    assert len(weights.scales) == 6


def test_describe_gives_options_by_their_schema_names():
    model = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(5, 3, strides=(2, 1), activation="relu")])
    (conv,) = open_file(convert(random_weights(model))).description.operators
    assert (conv.options["strideH"], conv.options["strideW"]) == (2, 1)
    assert conv.options["padding"] == schema.Padding.VALID
    assert conv.options["fusedActivationFunction"] == schema.ActivationFunctionType.RELU


def test_weights_and_biases_are_apart_and_together_the_parameters():
    keras.utils.set_random_seed(0)
    description = open_file(
        convert(
            random_weights(
                keras.Sequential(
                    [
                        keras.Input((8, 8, 4)),
                        keras.layers.Conv2D(5, 3),
                        keras.layers.Conv2DTranspose(3, 2),
                        keras.layers.PReLU(),
                        keras.layers.Flatten(),
                        keras.layers.Dense(7),
                    ]
                )
            )
        )
    ).description
    assert not description.weights & description.biases
    elements = [
        sum(description.tensors[index].elements for index in some) for some in (description.weights, description.biases)
    ]
    assert elements[1] == 5 + 3 + 7
    assert sum(elements) == description.parameters
