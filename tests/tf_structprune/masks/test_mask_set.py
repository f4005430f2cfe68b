"""Mask sets as plain data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, INTRA_KERNEL, KERNEL, MaskSet, check_sparsity

LAWS = settings(max_examples=150, deadline=None, derandomize=True)
names = st.text("ab/|_. 0é", min_size=1, max_size=6)  # layer names may hold a slash


@st.composite
def mask_sets(draw):
    shapes = array_shapes(min_dims=1, max_dims=2, max_side=4)
    bools = st.dictionaries(names, arrays(np.bool_, shapes), max_size=3)
    patterns = st.dictionaries(names, arrays(np.int32, (3, 2)), max_size=3)
    return MaskSet(draw(bools), draw(bools), draw(patterns), draw(bools))


@LAWS
@given(mask_sets())
def test_arrays_round_trip(masks):
    again = MaskSet.from_arrays(masks.to_arrays())
    assert again.equals(masks)
    for kind in GRANULARITIES:
        assert list(again.of(kind)) == list(masks.of(kind))
        assert {n: (m.dtype, m.shape) for n, m in again.of(kind).items()} == {
            n: (m.dtype, m.shape) for n, m in masks.of(kind).items()
        }


def test_arrays_round_trip_through_a_file(tmp_path):
    masks = MaskSet({"a/b": np.array([True, False])}, {"c": np.eye(2, dtype=bool)}, {"c": np.array([[2, 1]], np.int32)})
    np.savez(tmp_path / "masks.npz", **masks.to_arrays())
    with np.load(tmp_path / "masks.npz") as file:
        assert MaskSet.from_arrays(dict(file)).equals(masks)


@LAWS
@given(mask_sets(), mask_sets(), st.sampled_from(GRANULARITIES))
def test_updated_changes_one_granularity_of_a_copy(masks, other, granularity):
    before = masks.to_arrays()
    result = masks.updated(granularity, other.of(granularity))
    assert set(result.of(granularity)) == set(masks.of(granularity)) | set(other.of(granularity))
    assert all(np.array_equal(result.of(granularity)[n], m) for n, m in other.of(granularity).items())
    for kind in set(GRANULARITIES) - {granularity}:
        assert result.of(kind) is masks.of(kind)
    assert masks.to_arrays().keys() == before.keys()


def test_equals_sees_every_difference():
    masks = MaskSet(kernel={"a": np.array([[True, False]])})
    assert masks.equals(MaskSet(kernel={"a": np.array([[True, False]])}))
    assert not masks.equals(MaskSet(kernel={"a": np.array([[True, True]])}))
    assert not masks.equals(MaskSet(kernel={"b": np.array([[True, False]])}))
    assert not masks.equals(MaskSet(feature_map={"a": np.array([[True, False]])}))
    assert not masks.equals(MaskSet())


def test_of_gives_each_granularity():
    masks = MaskSet({"f": np.ones(1, bool)}, {"k": np.ones((1, 1), bool)}, {"i": np.array([[1, 0]], np.int32)})
    assert [list(masks.of(kind)) for kind in (FEATURE_MAP, KERNEL, INTRA_KERNEL)] == [["f"], ["k"], ["i"]]


def test_mask_set_refuses_an_unknown_granularity():
    message = r"Unknown granularity\. Received: granularity='weights'\. Use one of: feature_map, kernel, intra_kernel"
    with pytest.raises(ValueError, match=message):
        MaskSet().of("weights")
    with pytest.raises(ValueError, match=message):
        MaskSet.from_arrays({"weights/a": np.ones(1, bool)})


@pytest.mark.parametrize("sparsity", [0, 0.0, 0.5, 0.999, np.float32(0.5)])
def test_sparsity_in_range_is_taken(sparsity):
    assert check_sparsity(sparsity) == float(sparsity)


@pytest.mark.parametrize("sparsity", [-1e-9, 1, 2.0, float("nan"), float("inf")])
def test_sparsity_out_of_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"Here: sparsity must be in \[0, 1\)\. Received: sparsity=.*something has to"):
        check_sparsity(sparsity, "Here: ")
