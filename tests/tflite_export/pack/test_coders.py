"""What a coder writes it reads back, weight for weight, and takes as many bytes as it says."""

import numpy as np
import pytest

from tests.tflite_export.pack.weights import EDGES, drawn, weights
from tflite_export.pack import CODERS

coders = pytest.mark.parametrize("name", CODERS)


def check(name, group):
    coder = CODERS[name]
    coded, size = coder.encode(group), coder.size_bytes(group)
    assert (coded is None) == (size is None)
    if coded is None:
        return None
    assert 0 <= coded.size_bytes - size <= 4 * len(group)  # a word to read ahead into
    assert coder.reads(coded.ancillary)
    assert sum(other.operator == coder.operator and other.reads(coded.ancillary) for other in CODERS.values()) == 1
    for encoded, each in zip(coded.encoded, group, strict=True):
        assert np.array_equal(coder.decode(encoded, coded.ancillary, each.form), each.values.ravel())
    return coded


@coders
@pytest.mark.parametrize("seed", range(8))
def test_decode_gives_what_was_encoded(name, seed):
    for number in range(25):
        check(name, [drawn(np.random.default_rng([seed, number]))])


@coders
@pytest.mark.parametrize("edge", EDGES)
def test_decode_gives_edges(name, edge):
    check(name, [EDGES[edge]])


@coders
@pytest.mark.parametrize("seed", range(10))
def test_groups_share_their_tables(name, seed):
    rng = np.random.default_rng(seed)
    group = [drawn(rng) for _ in range(rng.integers(2, 5))]
    coded = check(name, group)
    assert coded is None or len(coded.encoded) == len(group)


def test_huffman_takes_less_than_a_bit_more_a_weight_than_the_entropy():
    values = np.random.default_rng(0).laplace(0, 9, 20_000).round().clip(-127, 127)
    coded = check("huffman", [weights(values)])
    counts = np.unique(values, return_counts=True)[1] / len(values)
    entropy = -(counts * np.log2(counts)).sum()
    assert entropy < 8 * len(coded.encoded[0]) / len(values) < entropy + 0.1


def test_bitmap_takes_a_bit_a_weight_and_what_is_kept():
    values = np.zeros((8, 100), np.int8)
    values[:, ::10] = 5
    assert check("bitmap", [weights(values)]).size_bytes == 100 + 16 + 80


@pytest.mark.parametrize("values, bits", [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (16, 4), (17, 5), (64, 6), (128, 7)])
def test_tables_have_indices_of_as_few_bits_as_their_values_need(values, bits):
    coded = check("lut", [weights(np.arange(800) % values)])
    assert coded.size_bytes == 100 * bits + 16 + values


def test_table_of_more_than_128_values_is_none_unless_channels_have_their_own():
    many = np.arange(-128, 128).reshape(4, 64).repeat(40, axis=1)
    assert check("lut", [weights(many)]) is None
    coded = check("lut", [weights(many, (0,) * 4)])
    assert coded.size_bytes == 4 * 64 * 40 * 6 // 8 + 16 + 4 * 64


@pytest.mark.parametrize("name", ["lut", "bitmap"])
def test_channels_on_a_middle_axis_are_left_to_huffman(name):
    middle = weights(np.zeros((2, 3, 4)), (0, 0, 0), 1)
    assert check(name, [middle]) is None
    assert check("huffman", [middle]) is not None
