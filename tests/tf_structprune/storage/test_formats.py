"""One contract for all formats: bit for bit, everything charged, never above the bound, and products without a copy."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.tf_structprune.storage.matrices import SPECIAL, any_matrix, shared
from tf_structprune.storage import FORMATS, HAM, SHAM, Gaps, as_matrix, floor_bits, smallest
from tf_structprune.storage import _gaps as gaps
from tf_structprune.storage import _loops as loops
from tf_structprune.storage import _walk as walk
from tf_structprune.storage._words import from_words, to_words

MODES = {f"gaps_{mode}": Gaps((mode,)) for mode in ("joint", "coded", "bytes")}
MODES["gaps_numbers"] = Gaps(("coded", "numbers"))
ALL = {**FORMATS, **MODES}


@pytest.fixture(params=[True, False], ids=["compiled", "plain"])
def compiled(request, monkeypatch):
    """Both with Numba's loops and with NumPy's."""
    for module in (loops, walk, gaps):
        monkeypatch.setattr(module, "COMPILED", request.param)


def check(kind, matrix):
    """The laws that hold for each format and matrix."""
    stored = kind.encode(matrix)
    again = stored.decode()
    assert again.dtype == matrix.dtype.newbyteorder("=")
    assert again.shape == stored.shape == matrix.shape
    np.testing.assert_array_equal(to_words(again), to_words(matrix))
    if kind not in (MODES["gaps_bytes"], MODES["gaps_joint"]):  # the bound is about the smallest of all
        assert stored.size_bits <= stored.bound_bits + 1e-6


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("matrix", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("name", ALL)
def test_every_matrix_comes_back_bit_for_bit(name, matrix):
    check(ALL[name], matrix)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(matrix=any_matrix())
def test_any_matrix_comes_back_within_the_bound(name, matrix):
    check(ALL[name], matrix)


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("matrix", [name for name in SPECIAL if "odd" not in name])
@pytest.mark.parametrize("name", ALL)
def test_products_are_those_of_the_matrix(name, matrix):
    values = SPECIAL[matrix]
    stored, rng = ALL[name].encode(values), np.random.default_rng(1)
    wide = np.int64 if values.dtype.kind in "iub" else np.float64
    for shape in ((len(values),), (3, len(values))):
        x = rng.integers(-9, 9, shape).astype(wide)
        for threads in (1, 3):
            found = stored.dot(x, threads=threads)
            np.testing.assert_allclose(found, x @ values.astype(wide), rtol=1e-9, atol=1e-9 * abs(values).max())
            assert found.dtype == wide


def test_products_of_single_floats_are_single():
    matrix = SPECIAL["several blocks"]
    x = np.random.default_rng(0).normal(size=512).astype(np.float32)
    for name, kind in ALL.items():
        found = kind.encode(matrix).dot(x)
        assert found.dtype == np.float32, name
        np.testing.assert_allclose(found, x @ matrix, rtol=2e-4, atol=2e-3)


def test_integers_do_not_overflow():
    matrix = np.full((200, 3), 127, np.int8)
    for kind in ALL.values():
        assert kind.encode(matrix).dot(np.full(200, 127, np.int8)).tolist() == [200 * 127 * 127] * 3


@pytest.mark.parametrize("x", [np.zeros(4), np.zeros((2, 4)), np.zeros((1, 2, 3)), np.zeros(())], ids=str)
def test_x_of_another_shape_is_refused(x):
    stored = Gaps().encode(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match="x must have 3 values, one for each row. Received: shape="):
        stored.dot(x)


def test_no_thread_is_refused():
    with pytest.raises(ValueError, match="threads must be at least 1. Received: threads=0"):
        Gaps().encode(np.ones((3, 2), np.float32)).dot(np.ones(3), threads=0)


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_matrix_is_refused(name):
    with pytest.raises(TypeError, match="A matrix of floats, integers or booleans is stored. Received: dtype=complex"):
        ALL[name].encode(np.ones((2, 2), complex))
    for shape in ((3,), (0, 2), (2, 2, 2)):
        with pytest.raises(ValueError, match="A matrix with rows and columns is stored. Received: shape="):
            ALL[name].encode(np.ones(shape))


def test_unknown_settings_are_refused():
    for kind in (HAM, SHAM):
        with pytest.raises(ValueError, match="Unknown dictionary. Received: tables='tree'. Use one of: 2020, none"):
            kind("tree")
    with pytest.raises(ValueError, match=r"Unknown mode. Received: modes=\('bits',\). Use some of: joint"):
        Gaps(("bits",))


def test_kernels_are_matrices_of_their_outputs():
    kernel = np.arange(3 * 3 * 4 * 5).reshape(3, 3, 4, 5)
    np.testing.assert_array_equal(as_matrix(kernel)[:, 2], kernel[..., 2].reshape(-1))
    for wrong in (np.zeros(()), np.zeros((3, 0))):
        with pytest.raises(ValueError, match="A matrix has rows and columns. Received: shape="):
            as_matrix(wrong)


def test_the_example_of_the_paper():
    """Marino and others, arXiv 2007.07967, figure 1."""
    matrix = np.array([[1, 0, 4, 0, 0], [0, 10, 0, 0, 0], [2, 3, 0, 0, 5], [0] * 5, [0, 0, 0, 0, 6]], np.float32)
    stored = FORMATS["csc_pointers"].encode(matrix)
    found = stored.columns(0)
    assert from_words(found.words, stored.dtype).tolist() == [1, 2, 10, 3, 4, 5, 6]
    assert (found.rows + 1).tolist() == [1, 3, 2, 3, 1, 3, 5]
    assert (found.pointers + 1).tolist() == [1, 3, 5, 6, 6, 8]


def pruned(share, values):
    """512 x 4096, as the first dense layer of the paper's VGG19."""
    return shared(512, 4096, share, values, seed=3)


@pytest.mark.parametrize("share, values", [(0.4, 31), (0.1, 10), (0.01, 3)], ids=["60 %", "90 %", "99 %"])
def test_gaps_are_near_the_floor(share, values):
    matrix = pruned(share, values)
    stored, floor = FORMATS["gaps"].encode(matrix), floor_bits(matrix)
    assert floor < stored.size_bits < 1.03 * floor
    assert all(stored.size_bits < FORMATS[name].encode(matrix).size_bits for name in ("csc", "ham", "sham", "cser"))


def test_the_smallest_is_found():
    name, stored = smallest(SPECIAL["pruned and shared"])
    assert name == "gaps"
    assert stored.size_bits == min(kind.encode(SPECIAL["pruned and shared"]).size_bits for kind in FORMATS.values())
    assert smallest(SPECIAL["one zero"])[1].size_bits <= FORMATS["dense"].encode(SPECIAL["one zero"]).size_bits


def test_the_floor_counts_places_and_values():
    matrix = np.zeros((4, 4), np.float32)
    assert floor_bits(matrix) == 0
    matrix[:2] = [[1, 2, 1, 2], [1, 2, 1, 2]]
    assert floor_bits(matrix) == pytest.approx(16 * 1 + 8 * 1)


def test_exponents_of_floats_are_coded():
    """All values differ, and what they have in common, sign and exponent aside, is nothing."""
    matrix = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    stored = FORMATS["gaps"].encode(matrix)
    assert stored.mode == "bytes"
    assert 0.8 < stored.size_bits / FORMATS["dense"].encode(matrix).size_bits < 0.88


def test_biases_are_coded_by_their_size():
    """They hardly come twice, and their upper bytes hardly differ."""
    stored = FORMATS["gaps"].encode(SPECIAL["biases"])
    assert stored.mode == "numbers"
    assert stored.size_bits < 0.8 * FORMATS["dense"].encode(SPECIAL["biases"]).size_bits


def test_a_damaged_bit_string_is_refused():
    stored = FORMATS["gaps"].encode(SPECIAL["pruned and shared"])
    wrong = stored.bits.copy()
    wrong[: len(wrong) // 2] = 0xFFFFFFFF
    damaged = type(stored)(**{**vars(stored), "bits": wrong, "starts": stored.starts})
    with pytest.raises(ValueError, match="The file is damaged."):
        damaged.decode()
