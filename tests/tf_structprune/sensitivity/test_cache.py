"""A cache gives back what was put in, wherever the process that wrote it was stopped."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tf_structprune.sensitivity._cache import open_cache

HEADER = {"model": "m", "score": "mcr", "power_of_two": True}
KEYS = [("float", "", 32), ("weights", "a", 2), ("weights", 'b "ü"', 8), ("signal", "a", 3)]


def fill(path, keys=KEYS, header=HEADER):
    """What a sweep over the keys gets, and what it had to measure."""
    measured = []

    def measure(key):
        measured.append(key)
        return -0.1 / (1 + KEYS.index(key))

    with open_cache(path, header) as cache:
        return [cache.get(key, lambda key=key: measure(key)) for key in keys], measured


def test_scores_are_measured_once(tmp_path):
    first, measured = fill(tmp_path / "c")
    assert measured == KEYS
    again, measured = fill(tmp_path / "c")
    assert (again, measured) == (first, [])


def test_without_a_path_scores_are_kept_in_memory(tmp_path):
    with open_cache(None, HEADER) as cache:
        assert [cache.get(KEYS[0], lambda: 1.5), cache.get(KEYS[0], lambda: 2.5)] == [1.5, 1.5]
    assert list(tmp_path.iterdir()) == []


def test_each_score_is_in_the_file_before_the_next_is_measured(tmp_path):
    with open_cache(tmp_path / "c", HEADER) as cache:
        for count, key in enumerate(KEYS, start=1):
            assert (tmp_path / "c").read_bytes().count(b"\n") == count
            cache.get(key, lambda: 0.5)
            assert (tmp_path / "c").read_bytes().count(b"\n") == count + 1


def test_torn_at_any_byte_it_ends_as_if_it_had_not_been_torn(tmp_path):
    path = tmp_path / "c"
    scores, _ = fill(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        again, measured = fill(path)
        rows = max(0, whole[:length].count(b"\n") - 1)
        assert (again, measured) == (scores, KEYS[rows:])
        assert path.read_bytes() == whole


def test_an_exception_leaves_what_was_measured(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_cache(tmp_path / "c", HEADER) as cache:
        cache.get(KEYS[0], lambda: 0.25)
        cache.get(KEYS[1], interrupted)
    with open_cache(tmp_path / "c", HEADER) as cache:
        assert cache.known == {KEYS[0]: 0.25}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_scores_come_back_bit_for_bit(tmp_path_factory, score):
    path = tmp_path_factory.mktemp("cache") / "c"
    for _ in range(2):
        with open_cache(path, HEADER) as cache:
            assert cache.get(KEYS[0], lambda: score) == score


@pytest.mark.parametrize(
    "change, named",
    [
        ({"model": "n"}, "another model"),
        ({"score": "mse"}, "another score"),
        ({"power_of_two": False, "model": "n"}, "another model, another power_of_two"),
    ],
    ids=["model", "score", "two"],
)
def test_cache_of_another_sweep_is_refused_and_kept(tmp_path, change, named):
    path = tmp_path / "c"
    fill(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"c is the cache of another sweep. Received: {named}\. Go on with"):
        fill(path, header=HEADER | change)
    assert path.read_bytes() == before


FOREIGN = {
    "text": b"my thesis\n",
    "text without a line": b"my thesis",
    "json": b'{"rows": []}\n',
    "list": b"[1]\n",
    "header of another sweep, torn": json.dumps({"sensitivity": HEADER | {"model": "n"}}).encode(),
    "bytes": b"\xff\xfe\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_file_of_the_user_is_refused_and_kept(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ValueError, match=r"c is no cache of a sensitivity sweep\. Received: .* Give another path\."):
        fill(tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == content


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"part": "weights"}', b'{"part": "a", "layer": "b", "bits": "x"}'])
def test_damaged_line_is_named(tmp_path, line):
    fill(tmp_path / "c", KEYS[:1])
    with (tmp_path / "c").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(ValueError, match=r"c is damaged in line 3\. Received: .* Delete the line, or the file\."):
        fill(tmp_path / "c")
