"""Where everything goes: lists of numbers in few bytes (LEB128), in front of what is no weights."""

from collections.abc import Sequence

_MOST = 2**48
_MOST_LISTS = 2**20


def with_layout(lists: Sequence[Sequence[int]], rest: bytes) -> bytes:
    """Lists of numbers of at least 0, and bytes behind them."""
    numbers = [len(lists), *(number for each in lists for number in (len(each), *each))]
    return b"".join(map(_leb128, numbers)) + rest


def parted(data: bytes) -> tuple[list[list[int]], bytes]:
    """What `with_layout` was given.

    Raises:
        ValueError: these bytes are something else.
    """
    count, place = _number(data, 0)
    if count > _MOST_LISTS:
        raise ValueError(f"{count:,} lists of numbers")
    lists: list[list[int]] = []
    for _ in range(count):
        size, place = _number(data, place)
        if size > len(data) - place:
            raise ValueError(f"a list of {size:,} numbers in {len(data) - place:,} bytes")
        numbers = []
        for _ in range(size):
            number, place = _number(data, place)
            numbers.append(number)
        lists.append(numbers)
    return lists, data[place:]


def _leb128(number: int) -> bytes:
    """A number, seven bits a byte from the lowest on; the highest bit says that more follow."""
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])


def _number(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    number = shift = 0
    while True:
        if place >= len(data) or number >= _MOST or shift > 56:
            raise ValueError("numbers that do not end")
        byte = data[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
