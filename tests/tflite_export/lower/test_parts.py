"""Small convolutions over shifted maps compute what a convolution with zeros does, whatever its geometry."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import zoo
from tflite_export.file import open_file
from tflite_export.lower import (
    Block,
    Lattice,
    LoweredConv2D,
    LoweredDense,
    Part,
    Piece,
    Sum,
    Term,
    blocks_of,
    even_edges,
    one_term,
    side_by_side,
    spans_of,
)
from tflite_export.quantize import convert

MANY = settings(max_examples=150, deadline=None, derandomize=True)
SOME = settings(max_examples=60, deadline=None, derandomize=True)
TOLERANCE = 1e-5


def patterned(rng, size, inputs, outputs, kinds=3, blocks=1):
    """A random kernel in which maps have one of some random sets of taps, and blocks of outputs some inputs."""
    taps = rng.random((kinds, *size)) < 0.5
    taps[:, rng.integers(size[0]), rng.integers(size[1])] = True
    alive = np.moveaxis(taps[np.sort(rng.integers(kinds, size=inputs))], 0, 2)[..., None].repeat(outputs, -1)
    edges = np.linspace(0, outputs, blocks + 1).astype(int)
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        gone = rng.permutation(inputs)[: rng.integers(inputs)]
        alive[:, :, gone, start:stop] = False
    kernel = np.where(alive, rng.normal(size=alive.shape), 0).astype(np.float32)
    return kernel / np.sqrt(max(1, alive[..., 0].sum()))


shapes = st.fixed_dictionaries(
    {
        "kernel_size": st.tuples(st.integers(1, 5), st.integers(1, 5)),
        "strides": st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 2)]),
        "padding": st.sampled_from(["same", "valid"]),
        "dilation_rate": st.sampled_from([(1, 1), (2, 2), (1, 3)]),
    }
)


def allowed(settings_):
    return max(settings_["strides"]) == 1 or max(settings_["dilation_rate"]) == 1


@MANY
@given(
    shape=shapes.filter(allowed),
    size=st.tuples(st.integers(2, 9), st.integers(2, 9)),
    blocks=st.integers(1, 3),
    base=st.sampled_from([(1, 1), (3, 1), (1, 3), (2, 1), (2, 2), (2, 1, 2), (2, 2, 2, 2), (3, 3)]),
    seed=st.integers(0, 2**16),
)
def test_any_small_kernel_computes_the_convolution(shape, size, blocks, base, seed):
    rng = np.random.default_rng(seed)
    height, width = shape["kernel_size"]
    rate = shape["dilation_rate"]
    reach = (height - 1) * rate[0] + 1, (width - 1) * rate[1] + 1
    size = tuple(max(each, least) for each, least in zip(size, reach, strict=True))
    kernel, bias = patterned(rng, (height, width), 5, 6, blocks=blocks), rng.normal(size=6).astype(np.float32)
    alive = (kernel != 0).reshape(-1, 5, 6)
    found = blocks_of(alive, even_edges(alive))
    lattice = Lattice(0, 0, *base)
    spread = (lattice.rows > 1 and lattice.row_step * rate[0] > 1) or (
        lattice.columns > 1 and lattice.column_step * rate[1] > 1
    )
    if any(not block.pieces for block in found) or (spread and max(shape["strides"]) > 1):
        return
    sums = one_term(found, lattice, (height, width))
    if sums is None:
        return
    if len(set(shape["strides"])) > 1 and any(term.depth == 1 for each in sums for term in each.terms):
        return  # TensorFlow 2.21 computes such a convolution of one channel wrongly on a CPU, Keras's own too
    x = rng.normal(size=(2, *size, 5)).astype(np.float32)
    layer = LoweredConv2D(**shape, sums=sums)
    layer.build(x.shape)
    layer.take(kernel, bias)
    plain = keras.layers.Conv2D(6, **shape)
    plain.build(x.shape)
    plain.set_weights([kernel, bias])
    expected = keras.ops.convert_to_numpy(plain(x))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, atol=TOLERANCE)
    assert layer.compute_output_shape(x.shape) == expected.shape


@SOME
@given(positions=st.integers(1, 40), inputs=st.integers(1, 5), blocks=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_dense_layer_reads_only_what_is_kept(positions, inputs, blocks, seed):
    rng = np.random.default_rng(seed)
    kernel, bias = patterned(rng, (1, positions), inputs, 6, blocks=blocks), rng.normal(size=6).astype(np.float32)
    alive = (kernel != 0).reshape(positions, inputs, 6)
    found = blocks_of(alive, even_edges(alive))
    if any(not block.pieces for block in found):
        return
    x = rng.normal(size=(2, positions * inputs)).astype(np.float32)
    layer = LoweredDense(positions=positions, blocks=found)
    layer.build(x.shape)
    layer.take(kernel, bias)
    expected = x @ kernel.reshape(-1, 6) + bias
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(x)), expected, atol=TOLERANCE)
    assert sum(variable.shape[0] * variable.shape[1] for variable in layer.kernels) == sum(
        block.maps * block.reads for block in found
    )


@MANY
@given(positions=st.integers(1, 70), data=st.data())
def test_runs_hold_each_position_once_and_whole_rows(positions, data):
    taps = tuple(sorted(data.draw(st.sets(st.integers(0, positions - 1), min_size=1))))
    runs = spans_of(Piece(0, 3, taps), positions)
    assert sorted(position for run in runs for position in run.positions) == list(taps)
    assert all(run.step * run.count <= positions for run in runs)


@pytest.mark.parametrize(
    "taps, count",
    {
        "all": (range(64), 1),
        "every other": (range(1, 64, 2), 1),
        "a third, with whole rows": (range(1, 64, 3), 1),
        "a third, the last row cut": (range(0, 64, 3), 2),
        "all but a third": ([p for p in range(63) if p % 3], 2),
    }.values(),
    ids=str,
)
def test_strided_positions_are_few_runs(taps, count):
    assert len(spans_of(Piece(0, 1, tuple(taps)), 64)) == count


def test_column_of_all_maps_is_one_part():
    (each,) = one_term([Block(0, 4, (Piece(0, 8, (1, 4, 7)),))], Lattice(0, 0, 3, 1), (3, 3))
    assert each == Sum(0, 4, (Term(Lattice(0, 0, 3, 1), (Part(0, 1, 0, 8),)),))
    assert each.multiplications == 4 * 8 * 3


def test_maps_that_need_the_middle_column_too_share_its_part():
    block = Block(0, 4, (Piece(0, 2, tuple(range(9))), Piece(2, 8, (1, 4, 7))))
    (each,) = one_term([block], Lattice(0, 0, 3, 1), (3, 3))
    assert each.terms[0].parts == (Part(0, 0, 0, 2), Part(0, 1, 0, 8), Part(0, 2, 0, 2))


def test_kernel_that_cannot_reach_a_tap_is_none():
    assert one_term([Block(0, 1, (Piece(0, 1, (4,)),))], Lattice(0, 0, 2, 2, 2, 2), (3, 3)) is None


def test_disjoint_blocks_in_order_are_one_part_of_a_grouped_convolution():
    blocks = [Block(0, 2, (Piece(0, 4, tuple(range(9))),)), Block(2, 4, (Piece(4, 8, tuple(range(9))),))]
    assert side_by_side(one_term(blocks, Lattice(0, 0, 3, 3), (3, 3))).parts == (Part(0, 0, 0, 8),)


def test_lowered_dense_survives_its_configuration():
    blocks = (Block(0, 2, (Piece(0, 2, (0, 2)),)), Block(2, 3, (Piece(1, 2, (1,)),)))
    layer = LoweredDense(positions=3, blocks=blocks, activation="relu")
    again = LoweredDense.from_config(layer.get_config())
    assert again.blocks == blocks and again.get_config() == layer.get_config()


def many_blocks():
    """Twelve blocks of one output each; the first reads every map, and no two neighbours alike."""
    alive = np.zeros((9, 12, 12), bool)
    alive[np.arange(12) % 9, np.arange(12)] = True
    alive[:, 1:, 1:] &= np.eye(11, dtype=bool)
    alive[0, 0, 1:] = alive[4, :, 0] = True
    return blocks_of(alive, range(13))


@pytest.mark.parametrize("kind", ["convolution", "dense"])
def test_no_concatenation_has_more_inputs_than_tflite_micro_takes(kind):
    blocks = many_blocks()
    if kind == "dense":
        layer, shape = LoweredDense(positions=9, blocks=blocks), (108,)
    else:
        plain = {"kernel_size": (3, 3), "strides": (1, 1), "padding": "same", "dilation_rate": (1, 1)}
        layer, shape = LoweredConv2D(**plain, sums=one_term(blocks, Lattice(0, 0, 1, 1), (3, 3))), (4, 4, 12)
    inputs = keras.Input(shape)
    operators = open_file(convert(keras.Model(inputs, layer(inputs)))).description.operators
    joined = [len(operator.inputs) for operator in operators if operator.name == "CONCATENATION"]
    assert sum(joined) > 12 + 12  # what the first block reads, and the blocks
    assert max(joined) == 10  # kMaxInputNum in tensorflow/lite/micro/kernels/concatenation.cc


def test_softmax_is_taken_over_all_blocks():
    rng = np.random.default_rng(0)
    kernel = np.zeros((1, 1, 4, 6), np.float32)
    kernel[0, 0, :2, :3], kernel[0, 0, 2:, 3:] = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    blocks = blocks_of((kernel != 0).reshape(1, 4, 6), (0, 3, 6))
    for layer, x in (
        (LoweredDense(positions=1, blocks=blocks, activation="softmax"), zoo.batch(2, shape=(4,))),
        (
            LoweredConv2D(
                kernel_size=(1, 1),
                strides=(1, 1),
                padding="same",
                dilation_rate=(1, 1),
                sums=one_term(blocks, Lattice(0, 0, 1, 1), (1, 1)),
                activation="softmax",
            ),
            zoo.batch(2, shape=(3, 3, 4)),
        ),
    ):
        layer.build(x.shape)
        layer.take(kernel, np.zeros(6, np.float32))
        expected = keras.ops.softmax(x @ kernel[0, 0])
        np.testing.assert_allclose(layer(x), expected, atol=TOLERANCE)
