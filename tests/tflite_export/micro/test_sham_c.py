"""sham.c under AddressSanitizer and UndefinedBehaviorSanitizer, against NumPy: weights, layers, and damage."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from tests.tflite_export.micro.c_programs import (
    ARGUMENT,
    DAMAGED,
    GCC,
    OK,
    WARNINGS,
    driver,
    intact_case,
    layer_case,
    needs_gcc,
    weights_case,
)
from tests.tflite_export.micro.layers import EDGES, changed, layer, matrix, weights
from tflite_export.micro import decode, matrix_bytes, matrix_values, sources
from tflite_export.micro import encode as encode_layers
from tflite_export.micro._check import checked

__all__ = ["driver"]
PIECES = (1, 2, 5, 64, 10**6)
pytestmark = needs_gcc


def encode(values):
    """A layer's bytes and its table's."""
    coded = encode_layers([values])
    return coded.data[0], coded.table


@pytest.mark.parametrize("options", [("-O2",), ("-Os",), ("-O3", "-std=c11"), ("-O2", "-xc++", "-std=c++17")], ids=str)
def test_it_compiles_without_a_warning(tmp_path, options):
    for name, text in sources(operator=False).items():
        (tmp_path / name).write_text(text)
    standard = () if "-xc++" in options else ("-std=c99",)
    command = [GCC, *standard, *WARNINGS, "-ffreestanding", *options, "-c", "sham.c", "-o", "sham.o"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")


def test_coded_weights_are_read_all_at_once_and_in_pieces(driver):
    cases, expected = [], []
    for number, values in enumerate([*EDGES.values(), *(weights(seed) for seed in range(300))]):
        cases.append(weights_case("c", *encode(values), values.size, PIECES[number % len(PIECES)]))
        expected.append((OK, values.tobytes()))
    assert driver(cases) == expected


def test_coded_weights_with_shared_tables(driver):
    layers = [weights(seed) for seed in range(40)]
    coded = encode_layers(layers)
    cases = [weights_case("c", data, coded.table, v.size, 9) for data, v in zip(coded.data, layers, strict=True)]
    assert driver(cases) == [(OK, values.tobytes()) for values in layers]


def test_matrices_are_read_all_at_once_and_in_pieces(driver):
    matrices = [matrix(seed) for seed in range(300)]
    matrices += [np.eye(3, 700, dtype=np.int8), np.zeros((4, 300), np.int8)]
    cases = [
        weights_case("m", matrix_bytes(values), b"", values.size, PIECES[number % len(PIECES)])
        for number, values in enumerate(matrices)
    ]
    assert driver(cases) == [(OK, values.tobytes()) for values in matrices]


@pytest.mark.parametrize("kind", ["d", "s"], ids=["coded", "matrix"])
def test_layers_are_bit_equal_to_the_reference_kernel(driver, kind):
    cases, expected = [], []
    for seed in range(300):
        if not matrix(seed).size:
            continue
        each = layer(seed)
        coded, table = encode(each.weights)
        data = coded if kind == "d" else matrix_bytes(each.weights)
        cases.append(layer_case(kind, data, table, each))
        expected.append((OK, each.expected.tobytes()))
    assert len(expected) > 200
    assert driver(cases) == expected


def damaged_layers(count):
    """Weights and their damaged coded layer, with checksums that are right nevertheless."""
    for seed in range(count):
        values, rng = weights(seed), np.random.default_rng(seed)
        data, table = encode(values)
        if seed % 3 != 1:
            data = checked(changed(data[:-4], rng))
        if seed % 3 != 0:
            table = checked(changed(table[:-4], rng))
        yield values, (data, table)


def test_damaged_layers_are_refused_or_read_as_numpy_reads_them(driver):
    cases, expected = [], []
    for values, coded in damaged_layers(600):
        cases.append(weights_case("c", *coded, values.size, 100))
        try:
            expected.append((OK, decode(*coded, values.size).tobytes()))
        except ValueError:
            expected.append((DAMAGED, b""))
    empty = [not values.size for values, _ in damaged_layers(600)]  # then nothing is read, and no end reached
    answers = driver(cases)
    assert [answer for answer, none in zip(answers, empty, strict=True) if not none] == [
        told for told, none in zip(expected, empty, strict=True) if not none
    ]
    assert sum(status == DAMAGED for status, _ in answers) > 400


def test_damaged_matrices_never_read_beyond_their_bytes(driver):
    cases, weights_of = [], []
    for seed in range(900):
        values, rng = matrix(seed), np.random.default_rng(seed)
        data = changed(matrix_bytes(values)[:-4], rng)
        data = checked(data) if seed % 3 else data  # with a checksum that is right, what is inside must be looked at
        cases.append(weights_case("m", data, b"", values.size, 100))
        weights_of.append((values, data))
    for (status, told), (values, data) in zip(driver(cases), weights_of, strict=True):
        try:
            read = matrix_values(data)
        except ValueError:
            continue
        if read.shape == values.shape and values.size:
            assert (status, told) == (OK, read.tobytes())


@pytest.mark.parametrize("kind", ["d", "s"], ids=["coded", "matrix"])
def test_layers_of_damaged_weights_stay_within_their_buffers(driver, kind):
    cases = []
    for seed in range(300):
        if not matrix(seed).size:
            continue
        each, rng = layer(seed), np.random.default_rng(seed)
        coded, table = encode(each.weights)
        data = coded if kind == "d" else matrix_bytes(each.weights)
        cases.append(layer_case(kind, changed(data, rng), table, each))
    assert {status for status, _ in driver(cases)} <= {OK, DAMAGED, ARGUMENT}


def test_checksums_are_those_of_numpy_and_find_every_changed_byte(driver):
    whole = [part for seed in range(20) for part in encode(weights(seed))]
    whole += [matrix_bytes(matrix(seed)) for seed in range(20)]
    assert {status for status, _ in driver([intact_case(data) for data in whole])} == {OK}
    data = whole[-1]
    broken = [bytes([*data[:at], data[at] ^ 1 << bit, *data[at + 1 :]]) for at in range(len(data)) for bit in (0, 7)]
    broken += [data[:size] for size in range(min(len(data), 20))]
    assert {status for status, _ in driver([intact_case(each) for each in broken])} == {DAMAGED}


def test_what_cannot_be_asked_is_an_argument_error(driver):
    values = weights(5).reshape(1, -1)
    coded = encode(values)
    assert driver([weights_case("m", matrix_bytes(values), b"", values.size + 1, 10**6)]) == [(ARGUMENT, b"")]
    each = layer(5)
    wrong = [
        {"sums": 0},
        {"offsets": (129, 0)},
        {"offsets": (-128, 0)},
        {"limits": (5, 4)},
        {"limits": (-129, 0)},
        {"limits": (0, 128)},
        {"shifts": each.shifts * 0 + 31},
        {"shifts": each.shifts * 0 - 32},
        {"multipliers": each.multipliers * 0 - 1},
    ]
    changes = [replace(each, **change) for change in wrong]
    assert driver([layer_case("d", *coded, change) for change in changes]) == [(ARGUMENT, b"")] * 9
    changes.append(replace(each, x=each.x[:, :-1]))
    data = matrix_bytes(each.weights)
    assert driver([layer_case("s", data, b"", change) for change in changes]) == [(ARGUMENT, b"")] * 10
