"""What things are called in a picture: short, and still told from each other."""

import os
from collections import Counter
from collections.abc import Sequence

_LONGEST = 24
_GAP = "..."


def short_names(names: Sequence[str]) -> list[str]:
    """Names that leave room for what they name, each another one.

    A long one is its end; where ends are the same, what follows the first difference; where that is too, a number.

    Args:
        names: of the things in a picture.
    """
    ends = [_end(name) for name in names]
    alike = {end: [name for name, other in zip(names, ends, strict=True) if other == end] for end in ends}
    told = [_part(name, alike[end]) if len(alike[end]) > 1 else end for name, end in zip(names, ends, strict=True)]
    return _numbered(told)


def legend_text(name: str) -> str:
    """A name as it stands in a legend: matplotlib hides one that begins with an underscore, and SVG the space."""
    return f" {name}" if name.startswith("_") else name


def _end(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{_GAP}{name[len(_GAP) - _LONGEST :]}"


def _part(name: str, others: Sequence[str]) -> str:
    """The part of a long name in which it differs from others with the same end."""
    start = min(len(os.path.commonprefix(list(others))), len(name) - _LONGEST)
    shown = name[max(start, 0) :][: _LONGEST - 2 * len(_GAP)]
    return f"{_GAP}{shown}{_GAP}" if len(name) > _LONGEST else name


def _numbered(names: Sequence[str]) -> list[str]:
    """Names, the second and further ones of the same with a number."""
    seen: Counter[str] = Counter()
    given = set(names)
    found = []
    for name in names:
        seen[name] += 1
        told = name
        while seen[name] > 1 and (told := f"{name} ({seen[name]})") in given:
            seen[name] += 1
        found.append(told)
    return found
