"""The operators of two files, joined by what they compute."""

from collections.abc import Callable
from dataclasses import dataclass

from tflite_export.report._values import Operator, Profile


@dataclass(frozen=True)
class Pair:
    """A layer before and after; None where it has no operator of its own."""

    title: str
    before: Operator | None
    after: Operator | None

    def values(self, of: Callable[[Operator], float | None]) -> tuple[float | None, float | None]:
        """One figure of both, None where it is not known."""
        before, after = (None if side is None else of(side) for side in (self.before, self.after))
        return before, after


def joined(before: Profile | None, after: Profile | None) -> tuple[Pair, ...]:
    """The operators of both files: those with the same title beside each other, the rest alone, in their order."""
    first, second = (_titled(side) for side in (before, after))
    order: list[str] = []
    for title in first:
        order.append(title)
    for at, title in enumerate(second):
        if title not in first:
            left = list(second)[:at]
            order.insert(order.index(left[-1]) + 1 if left else 0, title)
    return tuple(Pair(title, first.get(title), second.get(title)) for title in order)


def _titled(profile: Profile | None) -> dict[str, Operator]:
    """Operators by the Keras layer that they compute, else by their kind and the layer before them."""
    found: dict[str, Operator] = {}
    last = ""
    for operator in () if profile is None else profile.operators:
        title = operator.layer or operator.name.lower() + (f" behind {last}" if last else "")
        last = operator.layer or last
        number = 1
        while (numbered := title if number == 1 else f"{title} ({number})") in found:
            number += 1
        found[numbered] = operator
    return found


def title_of(profile: Profile, at: int) -> str:
    """What the operator at a place is called."""
    return list(_titled(profile))[at]
