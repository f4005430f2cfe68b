"""What the numbers of a report may be, so that no value makes a renderer fail, or work without an end."""

from collections.abc import Mapping
from typing import Any

Range = tuple[int, int | None]
"""The smallest whole number that is allowed, and the largest; None for any."""
COUNT: Range = (0, None)


def check_ranges(told: str, value: Any, ranges: Mapping[str, Range]) -> None:
    """Refuses a value with whole numbers that are none of theirs; None is one that was not found.

    Args:
        told: what it is, in words.
        value: with an attribute of each name.
        ranges: by name of the attribute.

    Raises:
        ValueError: a number is too small or too large.
    """
    for name, (least, most) in ranges.items():
        found = getattr(value, name)
        if found is not None and not (least <= found and (most is None or found <= most)):
            allowed = f"at least {least}" if most is None else f"from {least} to {most}"
            raise ValueError(f"{told}: {name} must be {allowed}. Received: {name}={found!r}. Use e.g. {max(least, 1)}.")
