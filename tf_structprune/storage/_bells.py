"""Words of one byte under bell-shaped distributions, one a layer, by asymmetric numeral systems.

The weights of an int8 layer take nearly every one of 256 values: a table of their frequencies is longer than what it
saves over two numbers that tell how wide the bell is and how its flanks fall, and Huffman's fractions of bits are the
rest. rANS (Duda 2013, arXiv 1311.2540) by `constriction`. All frequencies are computed in decimal arithmetic with
correct rounding, so that every machine finds the same.
"""

import decimal
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

_WORDS = 256
_HEAD = struct.Struct("<H")  # layers
_LAYER = struct.Struct("<IBBB")  # entries, scale, shape, share of the two ends
_SCALES = 64
_TOTAL = 2**20  # of the frequencies of a layer
_ENDS = 4096  # parts of the total; each channel of an int8 kernel reaches 127 or -127 once
_CONTEXT = decimal.Context(prec=20)
_LEAST = 1000  # entries of a layer with a bell of its own


def _power(x: decimal.Decimal, shape: int) -> decimal.Decimal:
    """x to 3/4, 1, 3/2, 2 or 3, in steps that are rounded correctly."""
    root = _CONTEXT.sqrt(x)
    if shape == 0:
        return _CONTEXT.multiply(root, _CONTEXT.sqrt(root))
    if shape == 1:
        return x
    if shape == 2:
        return _CONTEXT.multiply(x, root)
    square = _CONTEXT.multiply(x, x)
    return square if shape == 3 else _CONTEXT.multiply(square, x)


_SHAPES = 5


@cache
def _scale(number: int) -> decimal.Decimal:
    """From 2 on, each a sixteenth more than the one before."""
    scale = decimal.Decimal(2)
    for _ in range(number):
        scale = _CONTEXT.multiply(scale, decimal.Decimal("1.0625"))
    return scale


@cache
def frequencies(scale: int, shape: int, ends: int) -> NDArray[np.int64]:
    """How often each word comes among 1,048,576, shape (256,), the word 0 first; each at least once.

    Args:
        scale: width of the bell, 0 to 63.
        shape: of its flanks, 0 to 4.
        ends: how often -127 and 127 come besides, together, among 4,096.
    """
    sizes = [_CONTEXT.exp(-_power(_CONTEXT.divide(decimal.Decimal(size), _scale(scale)), shape)) for size in range(129)]
    signed = [sizes[abs(word - _WORDS if word > 127 else word)] for word in range(_WORDS)]
    whole = decimal.Decimal(0)
    for each in signed:
        whole = _CONTEXT.add(whole, each)
    room = _TOTAL - _WORDS - _TOTAL // _ENDS * ends
    counts = np.array([int(_CONTEXT.divide(_CONTEXT.multiply(each, room), whole)) for each in signed], np.int64) + 1
    counts[[127, 129]] += _TOTAL // _ENDS * ends // 2
    counts[0] += _TOTAL - int(counts.sum())
    return counts


def _model(counts: NDArray[np.int64]) -> Any:
    """The counts as the coder takes them: they are sums of powers of two, which no division blurs."""
    return constriction.stream.model.Categorical(counts / _TOTAL, perfect=False)


def encode_bells(layers: Sequence[NDArray[np.uint8]]) -> bytes:
    """Words of some layers, one behind the other; small layers go with the one before."""
    joined: list[NDArray[np.uint8]] = []
    for layer in layers:
        if joined and len(layer) < _LEAST:
            joined[-1] = np.concatenate([joined[-1], layer])
        else:
            joined.append(layer)
    settings = [_fitted(layer) for layer in joined]
    coder = constriction.stream.stack.AnsCoder()
    for layer, setting in zip(reversed(joined), reversed(settings), strict=True):
        coder.encode_reverse(layer.astype(np.int32), _model(frequencies(*setting)))
    heads = [_LAYER.pack(len(layer), *setting) for layer, setting in zip(joined, settings, strict=True)]
    return b"".join([_HEAD.pack(len(joined)), *heads, coder.get_compressed().astype("<u4").tobytes()])


def decode_bells(data: bytes, entries: int) -> NDArray[np.uint8]:
    """The words, shape (entries,).

    Raises:
        ValueError: these bytes are something else.
    """
    if len(data) < _HEAD.size:
        raise ValueError("it ends within a head")
    (count,) = _HEAD.unpack_from(data)
    start = _HEAD.size + count * _LAYER.size
    if start > len(data) or (len(data) - start) % 4:
        raise ValueError("it ends within a layer")
    layers = [_LAYER.unpack_from(data, _HEAD.size + number * _LAYER.size) for number in range(count)]
    if sum(layer[0] for layer in layers) != entries or not all(
        scale < _SCALES and shape < _SHAPES for _, scale, shape, _ in layers
    ):
        raise ValueError("layers of another form")
    words = np.frombuffer(data, "<u4", offset=start).astype(np.uint32)
    try:
        coder = constriction.stream.stack.AnsCoder(words)
    except ValueError as error:
        raise ValueError(f"no words of the coder: {error}") from error
    found = [coder.decode(_model(frequencies(*setting)), size) for size, *setting in layers if size]
    return np.concatenate([np.zeros(0, np.uint8), *found]).astype(np.uint8)


def _fitted(words: NDArray[np.uint8]) -> tuple[int, int, int]:
    """The distribution that takes the fewest bits."""
    counts = np.bincount(words, minlength=_WORDS)
    size = np.abs(np.arange(_WORDS) - _WORDS * (np.arange(_WORDS) > 127)).astype(np.float64)
    ends = min(255, int(counts[[127, 129]].sum()) * _ENDS // max(1, len(words)) // 2 * 2)
    best, least = (0, 0, 0), np.inf
    for shape, power in enumerate((0.75, 1, 1.5, 2, 3)):
        for scale in range(_SCALES):
            bell = np.exp(-((size / float(_scale(scale))) ** power))
            share = bell / bell.sum() * (1 - ends / _ENDS) + 1 / _TOTAL
            share[[127, 129]] += ends / _ENDS / 2
            bits = -float(np.dot(counts, np.log2(share)))
            if bits < least:
                best, least = (scale, shape, ends), bits
    return best
