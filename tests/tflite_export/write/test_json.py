"""Values are JSON and back; what is refused is told with its place."""

import json
import math
from dataclasses import dataclass, field

import pytest

from tflite_export.write import from_plain, reading, same_value, to_plain


@dataclass(frozen=True)
class Part:
    """A value that checks itself, with a field that follows from another."""

    size: float
    twice: float = field(init=False)

    def __post_init__(self):
        if self.size < 0:
            raise ValueError("size must not be negative. Received: a negative one. Use 0.")
        object.__setattr__(self, "twice", 2 * self.size)


@dataclass(frozen=True)
class Whole:
    """Values in each other."""

    parts: tuple[Part, ...]
    count: int = 0


@pytest.mark.parametrize("size", [math.nan, math.inf, 0.0, 1e308])
def test_value_is_the_same_after_json(size):
    text = json.dumps(to_plain(Whole((Part(1.0), Part(size)))))
    assert json.dumps(to_plain(from_plain(Whole, json.loads(text)))) == text


BAD = {
    "refused by itself": (
        {"parts": [{"size": -1.0, "twice": -2.0}], "count": 0},
        r"Whole.parts\[0\]: size must not be",
    ),
    "does not follow": (
        {"parts": [{"size": 1.0, "twice": 3.0}], "count": 0},
        r"parts\[0\].twice must be 2.0. Received: 3",
    ),
    "no number": ({"parts": [{"size": 1.0, "twice": math.nan}], "count": 0}, "twice must be 2.0. Received: nan"),
    "above": ({"parts": [], "count": 2**63}, "Whole.count must be a number of 64 bits. Received: 9223372036854775808"),
    "below": ({"parts": [], "count": -(2**63) - 1}, "Whole.count must be a number of 64 bits. Received: -92233"),
}


@pytest.mark.parametrize("values, message", BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_with_its_place(values, message):
    with pytest.raises(ValueError, match=message):
        from_plain(Whole, values)


@pytest.mark.parametrize("count", [2**63 - 1, -(2**63)])
def test_numbers_of_64_bits_are_read(count):
    assert from_plain(Whole, {"parts": [], "count": count}).count == count


def test_advice_stands_at_the_end():
    with (
        pytest.raises(
            ValueError, match="^That is no whole. Received: KeyError: 'a'. Write it with Whole.to_json. Buy one.$"
        ),
        reading("whole", Whole, "Buy one."),
    ):
        raise KeyError("a")


@pytest.mark.parametrize(
    "one, other, same", [(1, 1.0, True), (math.nan, math.nan, True), (math.nan, 1.0, False), ("a", "b", False)]
)
def test_values_say_the_same(one, other, same):
    assert same_value(one, other) is same
