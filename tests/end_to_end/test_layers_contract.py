"""Every layer that the README names goes all the way: wrap, masks of each granularity, shrink, lower, export.

Each family is one network, so that it is converted once: its layers one behind the other between two convolutions.
Where TFLite cannot do a layer, the row says the one refusal that is right.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
import tflite_export as te
from tests import zoo
from tests.junctions import CONVOLUTIONS, SHAPES

_L = keras.layers
TOLERANCE = 1e-5
SCATTERED = (("feature_map", 0.2), ("kernel", 0.2), ("intra_kernel", 0.2))
IN_ORDER = ((sp.Kernel(groups=2), 0.4), (sp.IntraKernelStrided(strides="columns", patterns=2), 0.4))
FORMS = {"gather": SCATTERED, "shift": IN_ORDER, "grouped": IN_ORDER, "sum": IN_ORDER}


def joined(join):
    """A tensor and another one of its shape as one."""
    return lambda x: join([x, feature_maps(x, x.shape[-1])])


def feature_maps(x, filters=8, **settings):
    """What a convolution of the tensor's rank makes, or a dense layer."""
    rank = len(x.shape) - 2
    if not rank:
        return _L.Dense(filters, **settings)(x)
    return CONVOLUTIONS[rank](filters, 3, padding="same", **settings)(x)


def gated_by_vector(x):
    gate = _L.Dense(3, activation="relu")(_L.GlobalAveragePooling2D()(x))
    return _L.Multiply()([x, _L.Reshape((1, 1, x.shape[-1]))(_L.Dense(x.shape[-1], activation="sigmoid")(gate))])


def gated_by_maps(x):
    gate = feature_maps(_L.GlobalAveragePooling2D(keepdims=True)(x), 3, activation="relu")
    return x * feature_maps(gate, x.shape[-1], activation="hard_sigmoid")


def split(x):
    left, middle, right = ops.split(x, [3, 5], axis=-1)
    return _L.Concatenate()([feature_maps(left), middle, right])


def shuffled(x):
    return _L.Reshape((*x.shape[1:3], 8))(_L.Permute((1, 2, 4, 3))(_L.Reshape((*x.shape[1:3], 2, 4))(x)))


def transposed_and_back(x):
    return _L.Permute((2, 3, 1))(_L.ReLU()(_L.Permute((3, 1, 2))(x)))


def by_name(names, *arguments, **settings):
    return [getattr(_L, name)(*arguments, **settings) for name in names.split()]


def _convolutions(rank):
    kind = f"Conv{rank}D"
    layers = [*by_name(kind, 8, 2), *by_name(f"{kind}Transpose", 8, 2, strides=2)]
    if rank < 3:
        layers += by_name(kind, 8, 3, groups=2)
        layers += by_name(f"Depthwise{kind}", 2, depth_multiplier=2)
        layers += by_name(f"Separable{kind}", 8, 3, padding="same", activation="relu")
        layers += by_name(f"Separable{kind}", 8, 2, depth_multiplier=2, strides=2)
    return [*layers, _L.Dense(8, activation="relu")]


def _sizes(rank, *, pooling=True):
    pools = [*by_name(f"MaxPooling{rank}D", 2, 1), *by_name(f"AveragePooling{rank}D", 2, padding="same")]
    moves = by_name(f"ZeroPadding{rank}D Cropping{rank}D")
    return [*(pools if pooling else ()), *moves, *by_name(f"GlobalAveragePooling{rank}D", keepdims=True)]


FAMILIES = {
    "convolutions 1-D": (1, lambda: _convolutions(1)),
    "convolutions 2-D": (2, lambda: _convolutions(2)),
    "convolutions 3-D": (3, lambda: _convolutions(3)),
    "normalizations": (
        2,
        lambda: [
            *by_name("BatchNormalization LayerNormalization RMSNormalization UnitNormalization"),
            *(_L.GroupNormalization(groups) for groups in (2, -1)),
        ],
    ),
    "activations": (
        2,
        lambda: [
            *map(_L.Activation, ("gelu", "hard_silu", "relu6", "silu", "tanh")),
            *by_name("PReLU LeakyReLU ReLU"),
            *map(_L.Activation, ("softplus", "hard_sigmoid", "sigmoid")),
        ],
    ),
    "joins": (2, lambda: [*map(joined, by_name("Add Multiply Average Maximum Minimum Concatenate")), split]),
    "gates and subtraction": (
        2,
        lambda: [gated_by_vector, gated_by_maps, lambda x: _L.Subtract()([x, feature_maps(x)]), lambda x: 2 - x],
    ),
    "sizes 1-D": (1, lambda: _sizes(1)),
    "sizes 2-D": (2, lambda: [*_sizes(2), _L.Resizing(5, 4), _L.UpSampling2D(2, interpolation="bilinear")]),
    "sizes 3-D": (3, lambda: _sizes(3, pooling=False)),
    "order": (
        2,
        lambda: [
            shuffled,
            transposed_and_back,
            lambda x: x[:, 1:, ::2, :6],
            lambda x: x[..., ::2],
            _L.Flatten(),
            _L.Reshape((15, 3)),
        ],
    ),
    "grouped convolution 3-D": (3, lambda: [_L.Conv3D(8, 2, groups=4)]),
    "pooling 3-D": (3, lambda: by_name("MaxPooling3D AveragePooling3D", 2)),
    "ELU": (2, lambda: [_L.ELU()]),
    "nearest pixels": (2, lambda: [_L.UpSampling2D(2)]),
}
_INEXPRESSIBLE = r"TFLite's builtin operators cannot express it\. Received: "
_NOT_IN_INT8 = "LiteRT cannot run the model with reference kernels: Didn't find op for builtin opcode "
REFUSED = {
    "grouped convolution 3-D": _INEXPRESSIBLE + r"tf\.Conv3D\. Replace the layer",
    "pooling 3-D": _INEXPRESSIBLE + r"tf\.AvgPool3D, tf\.MaxPool3D\. Replace the layer",
    "ELU": _NOT_IN_INT8 + "'ELU'",
    "nearest pixels": _NOT_IN_INT8 + "'TILE'",
}
CONVERTED_OFTEN = ("convolutions 2-D", "normalizations", "joins")  # ten seconds of TensorFlow's converter each
PLANAR = [family for family, (rank, _) in FAMILIES.items() if rank == 2]


def network(family):
    """The family's network, all weights random."""
    rank, layers = FAMILIES[family]
    inputs = keras.Input(SHAPES[rank])
    x = feature_maps(feature_maps(inputs, activation="relu"))
    for layer in layers():
        x = layer(x)
    x = _L.Flatten()(feature_maps(x))
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)))


@functools.cache
def shrunk(family, masks):
    """What is left of a masked network, the masked one's outputs, and the samples that it gives them for."""
    masked = sp.wrap(network(family))
    sp.set_masks(masked, sp.random_masks(masked, dict(masks), seed=1))
    x = zoo.batch(8, shape=masked.input_shape[1:])
    return te.shrink(masked), zoo.outputs_of(masked, x)[0], x


def off(model, expected, x):
    """Largest difference from the outputs that are expected, as a fraction of the largest of them."""
    return np.abs(zoo.outputs_of(model, x)[0] - expected).max() / np.abs(expected).max()


@pytest.mark.every(2)
@pytest.mark.parametrize(
    "family, form",
    [
        pytest.param(family, form, marks=() if form == "gather" or family in CONVERTED_OFTEN else pytest.mark.sweep)
        for family in FAMILIES
        for form in (FORMS if family in PLANAR else ["gather"])
    ],
)
def test_layers_are_masked_shrunk_and_lowered(family, form):
    small, expected, x = shrunk(family, FORMS[form])
    assert off(small.model, expected, x) < TOLERANCE
    low = te.lower(small, form=form)
    assert off(low.model, expected, x) < TOLERANCE
    if family == "convolutions 2-D":
        assert form in {choice.form.split()[0] for choice in low.plan.choices}


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in CONVERTED_OFTEN else pytest.mark.sweep)
        for family in FAMILIES
        if family not in REFUSED
    ],
)
def test_layers_are_exported_in_float_and_int8(family, tmp_path):
    small, _, x = shrunk(family, SCATTERED)
    # Lowering is tried above; timing its forms converts the network once for each.
    lower = "auto" if family == "convolutions 2-D" else "none"
    settings = {"micro": False, "npu": None, "top1_agreement": 0.0, "lower": lower}
    summary = te.export(small, tmp_path / "out", representative_data=x, **settings)
    assert summary.verification.int8_error < summary.verification.int8_error_bound


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name == "ELU" else pytest.mark.sweep) for name in REFUSED]
)
def test_layers_that_tflite_lacks_are_refused_by_name(family, tmp_path):
    small, _, x = shrunk(family, SCATTERED)
    with pytest.raises(ValueError, match=REFUSED[family]):
        te.export(small, tmp_path / "out", representative_data=x, micro=False, npu=None, lower="none")
