"""sHAM of an int8 matrix as a microcontroller reads it: counts, places, and values as canonical Huffman codewords."""

import numpy as np
from numpy.typing import NDArray

from tf_structprune.storage import huffman
from tflite_export.micro._check import checked, damaged, unchecked

_VERSION = 1
_HEADER = 12
_MOST_CODE_BITS = 24
_MOST_SIDE = 2**16 - 1
_WHAT = "A sHAM matrix"


def matrix_bytes(weights: NDArray[np.int8]) -> bytes:
    """A dense layer or 1x1 convolution in sHAM: what `sham_open` of sham.h reads.

    Version, bytes of a count or place (1 for fewer than 256 inputs, else 2), inputs and outputs (2 bytes each),
    entries (4), values, longest codeword; then how many codewords each length has, the values in that order, the
    entries of each output, their inputs, their codewords bit by bit, and a checksum (4). All numbers little-endian.

    Args:
        weights: int8, shape (outputs, inputs), TFLite's order.

    Returns:
        The bytes; `matrix_values` gives the weights back.

    Raises:
        ValueError: another type, no matrix, or a side of more than 65,535.
    """
    if weights.dtype != np.int8 or weights.ndim != 2 or max(weights.shape) > _MOST_SIDE:
        raise ValueError(
            f"Weights must be an int8 matrix of at most {_MOST_SIDE:,} rows and columns. "
            f"Received: {weights.dtype} of shape {weights.shape}. Pass the kernel as (outputs, inputs)."
        )
    outputs, inputs = weights.shape
    owners, places = np.nonzero(weights)
    values, symbols, times = np.unique(weights[owners, places], return_inverse=True, return_counts=True)
    wide = 1 if inputs < 256 else 2
    number = np.dtype(f"<u{wide}")
    lengths, order, bits = _codewords(symbols, times)
    counts = np.bincount(owners, minlength=outputs)
    head = [_VERSION, wide, *_two(inputs), *_two(outputs), *len(owners).to_bytes(4, "little"), len(values)]
    parts = (
        bytes([*head, len(lengths), *lengths]),
        values[order].tobytes(),
        counts.astype(number).tobytes(),
        places.astype(number).tobytes(),
        np.packbits(np.array(bits, np.uint8)).tobytes(),
    )
    return checked(b"".join(parts))


def matrix_values(data: bytes) -> NDArray[np.int8]:
    """The weights that `matrix_bytes` was given, shape (outputs, inputs).

    Raises:
        ValueError: other bytes.
    """
    body = unchecked(data, _WHAT)
    try:
        return _values(body)
    except (ValueError, IndexError) as error:
        raise ValueError(damaged(_WHAT, f"{len(data)} bytes: {error}")) from error


def _values(body: bytes) -> NDArray[np.int8]:
    if body[0] != _VERSION or body[1] not in (1, 2):
        raise ValueError(f"version {body[0]}, not {_VERSION}")
    number = np.dtype(f"<u{body[1]}")
    inputs, outputs, entries = (int.from_bytes(body[a:b], "little") for a, b in ((2, 4), (4, 6), (6, 10)))
    lengths = body[_HEADER : _HEADER + body[11]]
    if len(lengths) > _MOST_CODE_BITS or sum(lengths) != body[10] or not _is_prefix_code(lengths):
        raise ValueError("codewords of no prefix code")
    at = _HEADER + len(lengths)
    values = np.frombuffer(body, np.int8, body[10], at)
    at += len(values)
    counts = np.frombuffer(body, number, outputs, at).astype(np.int64)
    at += outputs * number.itemsize
    places = np.frombuffer(body, number, entries, at).astype(np.int64)
    bits = np.unpackbits(np.frombuffer(body, np.uint8, offset=at + entries * number.itemsize))
    owners = np.repeat(np.arange(outputs), counts)
    if len(owners) != entries or np.any(places >= inputs) or np.any(np.diff(owners * inputs + places) <= 0):
        raise ValueError("places out of order")
    weights = np.zeros((outputs, inputs), np.int8)
    weights[owners, places] = values[_ranks(bits, lengths, entries)]
    return weights


def _codewords(symbols: NDArray[np.int64], times: NDArray[np.int64]) -> tuple[list[int], NDArray[np.int64], list[int]]:
    """Codewords of each length from 1 bit on, symbols by codeword, and the bits of all."""
    if not len(times):
        return [], np.zeros(0, np.int64), []
    code = huffman(times, least=1)
    words = [
        [int(bit) for bit in f"{word:0{length}b}"]
        for word, length in zip(code.codes, code.lengths.tolist(), strict=True)
    ]
    return code.counts[1:].tolist(), code.order, [bit for symbol in symbols.tolist() for bit in words[symbol]]


def _ranks(bits: NDArray[np.uint8], lengths: bytes, entries: int) -> NDArray[np.int64]:
    """Place of each entry's value among the values, by its codeword."""
    stream, ranks = iter(bits.tolist()), np.zeros(entries, np.int64)
    for entry in range(entries):
        offset = before = 0
        for count in lengths:
            offset = 2 * offset + next(stream, 2 * len(bits) + 2**32)
            if offset < count:
                break
            offset, before = offset - count, before + count
        else:
            raise ValueError("bits of no codeword")
        ranks[entry] = before + offset
    return ranks


def _is_prefix_code(lengths: bytes) -> bool:
    """Whether there can be so many codewords of each length."""
    room = 1
    for count in lengths:
        room = 2 * room - count
        if room < 0:
            return False
    return True


def _two(number: int) -> bytes:
    return number.to_bytes(2, "little")
