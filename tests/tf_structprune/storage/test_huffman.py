"""Canonical Huffman codes and bit strings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.storage._bits import index_bits, pack, pack_fixed, unpack_fixed, width_of, windows
from tf_structprune.storage._huffman import MOST_BITS, huffman

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=60).filter(any)


@given(counts=COUNTS)
def test_codes_are_prefix_free_whole_and_shorter_than_entropy_and_one(counts):
    code = huffman(np.array(counts))
    present = [symbol for symbol, count in enumerate(counts) if count]
    words = [format(int(code.codes[symbol]), f"0{int(code.lengths[symbol])}b") for symbol in present]
    if len(present) > 1:
        assert sum(2.0 ** -int(code.lengths[symbol]) for symbol in present) == 1
        assert code.whole
        for one in words:
            assert sum(other.startswith(one) for other in words) == 1
    total = sum(counts)
    entropy = -sum(count * math.log2(count / total) for count in counts if count)
    assert entropy - 1e-6 <= code.bits(counts) < entropy + total
    assert all(not code.lengths[symbol] for symbol, count in enumerate(counts) if not count)


@given(counts=COUNTS)
def test_codewords_of_one_length_rise_with_their_symbols(counts):
    code = huffman(np.array(counts))
    pairs = sorted((int(code.lengths[symbol]), symbol) for symbol, count in enumerate(counts) if count)
    values = [int(code.codes[symbol]) << (code.most - size) for size, symbol in pairs]
    assert values == sorted(values)


def test_the_only_symbol_takes_no_bits_or_one():
    counts = np.array([0, 5, 0])
    assert huffman(counts).lengths.tolist() == [0, 0, 0]
    assert huffman(counts, least=1).lengths.tolist() == [0, 1, 0]


def test_codewords_are_never_too_long():
    counts = np.array([1, 1] + [2**power for power in range(40)])
    code = huffman(counts)
    assert code.most <= MOST_BITS
    assert code.whole


def test_bits_are_packed_the_highest_first():
    words = pack([(np.array([0b101, 0b1], np.uint64), np.array([3, 1])), (np.array([3], np.uint64), np.array([4]))])
    assert format(int(words[0]), "032b").startswith("10110011")
    assert (words[1:] == 0).all()
    assert len(words) == 3


@pytest.mark.parametrize("width", [0, 1, 5, 8, 13, 32])
def test_numbers_of_one_width_come_back(width):
    values = np.random.default_rng(width).integers(0, 2**width, 77).astype(np.uint64)
    packed = pack_fixed(values, width)
    np.testing.assert_array_equal(unpack_fixed(packed, 0, 77, width), values)
    np.testing.assert_array_equal(unpack_fixed(packed, 30, 20, width), values[30:50])


@pytest.mark.parametrize("width", [0, 1, 24, 32])
def test_windows_are_what_follows_each_place(width):
    values = np.random.default_rng(0).integers(0, 2, 200)
    packed = pack_fixed(values, 1)
    text = "".join(map(str, values)) + "0" * 64
    found = windows(packed, 33, 190, width)
    assert [int(each) for each in found] == [int(text[at : at + width] or "0", 2) for at in range(33, 190)]


def test_widths():
    assert [width_of(count) for count in (0, 1, 2, 3, 4, 5, 256, 257)] == [0, 0, 1, 2, 2, 3, 8, 9]
    assert [index_bits(count) for count in (1, 256, 257, 65536, 65537, 2**32 + 1)] == [8, 8, 16, 16, 32, 64]
