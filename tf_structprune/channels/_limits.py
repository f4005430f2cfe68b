"""What a user demands of the channel counts that are left."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PerLayer = int | Mapping[str, int]


@dataclass(frozen=True)
class ChannelLimits:
    """Demands on the output channels of one layer.

    Attributes:
        round_to: the number that stays is a multiple of this, or it is the number before.
        min_channels: least number that stays.
        channel_block: this many consecutive channels go together or stay together.
    """

    round_to: int = 1
    min_channels: int = 1
    channel_block: int = 1


def limits_by_layer(
    names: Sequence[str],
    *,
    round_to: PerLayer = 1,
    min_channels: PerLayer = 1,
    channel_block: PerLayer = 1,
) -> dict[str, ChannelLimits]:
    """The limits of each layer from one number for all, or numbers by name or pattern (`fnmatch`).

    The last pattern that matches counts.

    Raises:
        TypeError: a value that is no whole number.
        ValueError: a value below 1, or a pattern that matches no layer.
    """
    rounded = _spread("round_to", round_to, names)
    least = _spread("min_channels", min_channels, names)
    block = _spread("channel_block", channel_block, names)
    return {name: ChannelLimits(rounded[name], least[name], block[name]) for name in names}


def _spread(setting: str, value: PerLayer, names: Sequence[str]) -> dict[str, int]:
    found = dict.fromkeys(names, 1)
    for pattern, number in (value if isinstance(value, Mapping) else {"*": value}).items():
        if isinstance(number, bool) or not isinstance(number, int):
            raise TypeError(f"{setting} must be a whole number of channels. Received: {number!r}. Use e.g. 8.")
        if number < 1:
            raise ValueError(f"{setting} must be at least 1. Received: {setting}={number}. Use e.g. 8, or 1 for none.")
        matches = fnmatch.filter(names, pattern)
        if not matches and pattern != "*":
            raise ValueError(
                f"{setting} names no convolution or dense layer. Received: {pattern!r}. Use one of: {', '.join(names)}."
            )
        found.update(dict.fromkeys(matches, number))
    return found
