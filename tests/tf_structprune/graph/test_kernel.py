"""Kernels as positions x group inputs x outputs, against what the layers compute."""

import keras
import numpy as np
import pytest
from keras import ops

import tf_structprune as sp
from tests import zoo
from tf_structprune.channels import input_of_kernel
from tf_structprune.graph import KernelView, kernel_of, kernel_view

_L = keras.layers
SIZES = {0: (), 1: (7,), 2: (5, 6), 3: (3, 4, 3)}
# class, arguments, input channels: (positions, group inputs, outputs, groups)
LAYERS = {
    "Conv1D": (_L.Conv1D, (6, 3), {}, 4, (3, 4, 6, 1)),
    "Conv2D": (_L.Conv2D, (6, (3, 2)), {}, 4, (6, 4, 6, 1)),
    "Conv3D": (_L.Conv3D, (5, (1, 2, 3)), {}, 3, (6, 3, 5, 1)),
    "Conv1D_grouped": (_L.Conv1D, (6, 3), {"groups": 2}, 4, (3, 2, 6, 2)),
    "Conv2D_grouped": (_L.Conv2D, (6, 2), {"groups": 3}, 9, (4, 3, 6, 3)),
    "Conv3D_grouped": (_L.Conv3D, (4, 2), {"groups": 2}, 6, (8, 3, 4, 2)),
    "Conv2D_group_a_channel": (_L.Conv2D, (8, 3), {"groups": 4}, 4, (9, 1, 8, 4)),
    "Conv1DTranspose": (_L.Conv1DTranspose, (6, 3), {}, 4, (3, 4, 6, 1)),
    "Conv2DTranspose": (_L.Conv2DTranspose, (6, (3, 2)), {"strides": 2}, 4, (6, 4, 6, 1)),
    "Conv3DTranspose": (_L.Conv3DTranspose, (5, 2), {}, 3, (8, 3, 5, 1)),
    "DepthwiseConv1D": (_L.DepthwiseConv1D, (3,), {}, 4, (3, 1, 4, 4)),
    "DepthwiseConv2D": (_L.DepthwiseConv2D, ((3, 2),), {"depth_multiplier": 3}, 4, (6, 1, 12, 4)),
    "SeparableConv1D": (_L.SeparableConv1D, (6, 3), {}, 4, (1, 4, 6, 1)),
    "SeparableConv2D": (_L.SeparableConv2D, (6, 3), {"depth_multiplier": 2}, 4, (1, 8, 6, 1)),
    "Dense": (_L.Dense, (6,), {}, 4, (1, 4, 6, 1)),
}


def built(name):
    """The layer on a tensor, and that tensor's shape without the batch axis."""
    kind, arguments, settings, channels, _ = LAYERS[name]
    rank = next((rank for rank in (1, 2, 3) if f"{rank}D" in name), 0)
    layer = kind(*arguments, name="layer", **settings)
    layer.build((None, *SIZES[rank], channels))
    return layer, (*SIZES[rank], channels)


def numbered(shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


@pytest.mark.parametrize("name", LAYERS)
def test_view_has_the_sizes_of_the_layer(name):
    view = kernel_view(built(name)[0])
    positions, group_inputs, outputs, groups = LAYERS[name][-1]
    assert (*view.view_shape, view.groups) == (positions, group_inputs, outputs, groups)
    assert view.inputs == group_inputs * groups


@pytest.mark.parametrize("library", [np, ops], ids=["numpy", "keras"])
@pytest.mark.parametrize("name", LAYERS)
def test_view_and_restore_are_inverse(name, library):
    view = kernel_view(built(name)[0])
    kernel, flat = numbered(view.shape), numbered(view.view_shape)
    assert np.array_equal(view.restore(view.view(kernel, library), library), kernel)
    assert np.array_equal(view.view(view.restore(flat, library), library), flat)
    assert tuple(view.view(kernel, library).shape) == view.view_shape


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 2, 3, 0), (3, 1, 0, 2)])
def test_restore_undoes_any_order_of_axes(order):
    shape = (5, 2, 3, 4)
    *rest, inputs, outputs = (shape[axis] for axis in order)
    view = KernelView(shape, order, int(np.prod(rest)), inputs, outputs, 1)
    kernel = numbered(shape)
    assert np.array_equal(view.view(kernel, np)[0, 1], np.moveaxis(kernel, order, range(4))[0, 0, 1])
    assert np.array_equal(view.restore(view.view(kernel, np), np), kernel)


@pytest.mark.parametrize("positions", [1, 2, 6])
def test_dense_view_with_positions_goes_by_map_within_a_position(positions):
    layer = _L.Dense(5)
    layer.build((None, 12))
    view = kernel_view(layer, positions)
    assert view.view_shape == (positions, 12 // positions, 5)
    kernel = numbered((12, 5))
    for at in range(positions):
        for source in range(view.inputs):
            assert np.array_equal(view.view(kernel, np)[at, source], kernel[at * view.inputs + source])
    assert np.array_equal(view.restore(view.view(kernel, np), np), kernel)


def reach(layer, shape):
    """Which output maps change with which input map, shape (inputs, outputs), by trying."""
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype("float32")
    before = ops.convert_to_numpy(layer(x))
    changed = []
    for channel in range(shape[-1]):
        other = x.copy()
        other[..., channel] += 1
        after = ops.convert_to_numpy(layer(other))
        changed.append((np.abs(after - before) > 1e-4).any(axis=tuple(range(before.ndim - 1))))
    return np.array(changed)


def reach_of_kernels(layer, alive):
    """The same, from the kernels (group inputs, outputs) that have a weight."""
    view = kernel_view(layer)
    joined = np.zeros((view.inputs, view.outputs), bool)
    rows = input_of_kernel(view.inputs, view.outputs, view.groups)
    joined[rows, np.arange(view.outputs)] = alive
    return joined


@pytest.mark.parametrize("name", [name for name in LAYERS if "Separable" not in name])
def test_maps_are_joined_where_there_is_a_kernel(name):
    layer, shape = built(name)
    view = kernel_view(layer)
    rng = np.random.default_rng(1)
    alive = rng.random(view.view_shape[1:]) < 0.6
    values = rng.uniform(0.5, 1.5, view.view_shape) * alive
    layer.kernel.assign(view.restore(values, np))
    assert 0 < alive.sum() < alive.size
    assert np.array_equal(reach(layer, shape), reach_of_kernels(layer, alive))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_inputs_of_a_separable_layer_are_the_maps_of_its_depthwise_part(multiplier):
    layer = _L.SeparableConv2D(6, 3, depth_multiplier=multiplier)
    layer.build((None, 5, 6, 4))
    view = kernel_view(layer)
    alive = np.random.default_rng(1).random((view.inputs, view.outputs)) < 0.4
    layer.depthwise_kernel.assign(np.ones(layer.depthwise_kernel.shape))
    layer.pointwise_kernel.assign(view.restore(alive[None].astype("float32"), np))
    by_channel = alive.reshape(4, multiplier, 6).any(axis=1)
    assert not by_channel.all()
    assert np.array_equal(reach(layer, (5, 6, 4)), by_channel)


@pytest.mark.parametrize("inputs, outputs, groups", [(6, 4, 1), (6, 4, 2), (6, 9, 3), (4, 8, 4), (4, 4, 4)])
def test_input_of_kernel_by_hand(inputs, outputs, groups):
    rows = input_of_kernel(inputs, outputs, groups)
    assert rows.shape == (inputs // groups, outputs)
    for (row, output), source in np.ndenumerate(rows):
        group = output * groups // outputs
        assert source == group * (inputs // groups) + row


@pytest.mark.parametrize("name", ["Conv2D", "Conv2D_grouped", "DepthwiseConv2D", "Dense"])
def test_kernel_of_a_masked_layer_has_its_masks(name):
    kind, arguments, settings, channels, _ = LAYERS[name]
    inputs = keras.Input((5, 6, 2))
    x = zoo.conv(zoo.conv(inputs, 4, name="stem"), channels, name="before")
    x = zoo.conv(kind(*arguments, name="layer", **settings)(x), 5, name="after")
    masked = sp.wrap(keras.Model(inputs, _L.Dense(3)(_L.GlobalAveragePooling2D()(x))))
    layer = masked.get_layer("layer")
    whole, inside = (ops.convert_to_numpy(kernel_of(each)) for each in (layer, layer.layer))
    assert np.array_equal(whole, inside)
    assert kernel_of(layer.layer) is layer.layer.kernel

    masks = sp.random_masks(masked, {"feature_map": 0.5})
    sp.set_masks(masked, masks)
    view = kernel_view(layer)
    assert view == kernel_view(layer.layer)
    alive = (view.view(ops.convert_to_numpy(kernel_of(layer)), np) != 0).any(axis=0)
    keep_in, keep_out = (ops.convert_to_numpy(mask) for mask in (layer.input_keep, layer.output_keep))
    for (row, output), found in np.ndenumerate(alive):
        source = input_of_kernel(view.inputs, view.outputs, view.groups)[row, output]
        assert found == (keep_in[source] and keep_out[output])
    assert not alive.all()


@pytest.mark.parametrize("layer", [_L.ReLU(name="x"), zoo.Unknown(name="x")], ids=["no_kernel", "no_rule"])
def test_kernel_view_refuses_a_layer_without_a_known_kernel(layer):
    with pytest.raises(
        ValueError, match=rf"Layer 'x': its kernel is not known\. Received: {type(layer).__name__}, .*register_rule"
    ):
        kernel_view(layer)
