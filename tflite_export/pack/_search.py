"""Which tensors are packed, with which coder, and which of them share its tables."""

from collections.abc import Iterable, Mapping
from itertools import combinations

from tflite_export.pack._coder import Group, Weights
from tflite_export.pack._coders import CODERS

_READER_BYTES = 64
"""Flatbuffer of a tensor that is decoded for one reader: operator, decoded tensor, encoded tensor, buffer."""
_SHARED_BYTES = 44
"""Flatbuffer of the bytes that a group shares: tensor and buffer."""
_ROUNDS = 20


class Costs:
    """Bytes of groups, counted once each.

    Attributes:
        weights: by tensor.
    """

    def __init__(self, weights: Mapping[int, Weights]) -> None:
        self.weights = weights
        self._known: dict[Group, int | None] = {}

    def unpacked(self, tensor: int) -> int:
        """Bytes of a tensor as it is."""
        return self.weights[tensor].values.size

    def packed(self, group: Group) -> int | None:
        """Bytes of a group with what the flatbuffer needs for it, about; None where its coder cannot."""
        if group not in self._known:
            found = CODERS[group.coder].size_bytes([self.weights[tensor] for tensor in group.tensors])
            about = _SHARED_BYTES + _READER_BYTES * len(group.tensors)
            self._known[group] = None if found is None else found + about
        return self._known[group]

    def gain(self, group: Group) -> int:
        """Bytes that a group saves; less than any other number where it cannot be."""
        packed = self.packed(group)
        raw = sum(self.unpacked(tensor) for tensor in group.tensors)
        return raw - packed if packed is not None else -(2**62)

    def total_gain(self, groups: Iterable[Group]) -> int:
        """Bytes that groups save together."""
        return sum(map(self.gain, groups))


def least_groups(costs: Costs, coders: Iterable[str]) -> tuple[Group, ...]:
    """Groups that take few bytes together, by local search.

    Each tensor begins with the coder that suits it alone; then groups of one coder are joined, the pair that gains
    most first, and tensors moved one by one to other groups, coders or out, as long as that gains.

    Args:
        costs: of the tensors.
        coders: names of the coders that may be used.

    Returns:
        Groups of tensors that get smaller, by their first tensors.
    """
    names = list(coders)
    alone = ([Group(name, (tensor,)) for name in names] for tensor in costs.weights)
    starts = [[max(options, key=costs.gain) for options in alone]]
    starts += [[Group(name, (tensor,)) for tensor in costs.weights] for name in names if len(names) > 1]
    found = [_improved(costs, names, _joined(costs, start)) for start in starts]
    best = max(found, key=costs.total_gain)
    return tuple(sorted(best, key=lambda group: group.tensors))


def _joined(costs: Costs, groups: list[Group]) -> list[Group]:
    """Groups joined pair by pair; those that cannot be left out."""
    groups = [group for group in groups if costs.packed(group) is not None]
    pairs = {pair: _join_gain(costs, *pair) for pair in combinations(groups, 2) if pair[0].coder == pair[1].coder}
    while pairs:
        (one, other), gain = max(pairs.items(), key=lambda item: item[1])
        if gain <= 0:
            break
        both = _join(one, other)
        groups = [group for group in groups if group not in (one, other)]
        pairs = {pair: found for pair, found in pairs.items() if one not in pair and other not in pair}
        pairs |= {(group, both): _join_gain(costs, group, both) for group in groups if group.coder == both.coder}
        groups.append(both)
    return groups


def _join(one: Group, other: Group) -> Group:
    return Group(one.coder, tuple(sorted((*one.tensors, *other.tensors))))


def _join_gain(costs: Costs, one: Group, other: Group) -> int:
    return costs.gain(_join(one, other)) - costs.gain(one) - costs.gain(other)


def _improved(costs: Costs, names: list[str], groups: list[Group]) -> list[Group]:
    """Groups after moves of single tensors, each of which gains."""
    for _ in range(_ROUNDS):
        before = groups
        for tensor in costs.weights:
            groups = _moved(costs, names, groups, tensor)
        if groups == before:
            break
    return groups


def _moved(costs: Costs, names: list[str], groups: list[Group], tensor: int) -> list[Group]:
    """Groups with one tensor where it costs least."""
    home = next((group for group in groups if tensor in group.tensors), None)
    rest = [group for group in groups if group is not home]
    if home is not None and len(home.tensors) > 1:
        rest.append(Group(home.coder, tuple(each for each in home.tensors if each != tensor)))
    options: list[list[Group]] = [rest, *([*rest, Group(name, (tensor,))] for name in names)]
    for place, group in enumerate(rest):
        joined = _join(group, Group(group.coder, (tensor,)))
        options.append([*rest[:place], joined, *rest[place + 1 :]])
    best = max(options, key=costs.total_gain)
    return best if costs.total_gain(best) > costs.total_gain(groups) else groups
