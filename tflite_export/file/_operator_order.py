"""Put the operators of a `.tflite` file in the order that needs least memory."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tflite_export.file._activations import size_bytes
from tflite_export.file._describe import ModelDescription, describe

_MOST_STATES = 20_000  # sets of operators that are looked at; a network with more keeps its order


def least_memory_order(model: Any) -> None:
    """Edit of a file: its operators in the order whose tensors take least memory at a time.

    Both branches of a residual block with a projection read one large tensor; the one that frees it first is better
    run first. Runtimes run operators in the order of the file. TFLite Micro also unpacks int4 weights into the arena
    while it runs their operator, which counts.

    Args:
        model: a parsed file with one subgraph; it stays as it was where no order is better, or where there are too many
            orders to look at.
    """
    (graph,) = model.subgraphs
    needs = _Needs.of(describe(model, 0), frozenset(int(at) for at in graph.outputs))
    order = _best_order(needs)
    if order is not None and needs.peak(order) < needs.peak(range(len(graph.operators))):
        graph.operators = [graph.operators[index] for index in order]


@dataclass(frozen=True)
class _Needs:
    """What the operators of a graph read, make and need beside.

    Attributes:
        reads: tensors that each operator reads, constants left out.
        makes: tensors that each operator makes.
        extra: bytes that each operator needs while it runs.
        size: bytes of each tensor.
        lasting: tensors that are kept to the end.
    """

    reads: tuple[frozenset[int], ...]
    makes: tuple[frozenset[int], ...]
    extra: tuple[int, ...]
    size: Mapping[int, int]
    lasting: frozenset[int]

    @classmethod
    def of(cls, description: ModelDescription, lasting: frozenset[int]) -> "_Needs":
        """The needs of a file whose outputs are these tensors."""
        tensors, operators = description.tensors, description.operators
        reads = [frozenset(at for at in operator.inputs if at >= 0) for operator in operators]
        signals = [frozenset(at for at in each if not tensors[at].constant) for each in reads]
        makes = [frozenset(operator.outputs) for operator in operators]
        return cls(
            reads=tuple(signals),
            makes=tuple(makes),
            # Constants in the arena: int4 weights, one byte each.
            extra=tuple(sum(tensors[at].elements for at in each if tensors[at].dtype == "int4") for each in reads),
            size={at: size_bytes(tensors[at]) for at in frozenset().union(*signals, *makes)},
            lasting=lasting,
        )

    def ready(self, done: frozenset[int]) -> list[int]:
        """Operators that may run next."""
        made = {tensor for index in done for tensor in self.makes[index]}
        inner = {tensor for makes in self.makes for tensor in makes}
        return [i for i in range(len(self.reads)) if i not in done and self.reads[i] & inner <= made]

    def while_running(self, index: int, done: frozenset[int]) -> int:
        """Bytes while an operator runs behind others."""
        waiting = [i for i in range(len(self.reads)) if i not in done]
        made = {tensor for i in done for tensor in self.makes[i]}
        needed = {tensor for i in waiting for tensor in self.reads[i]} | self.lasting
        inputs = set(self.size) - {tensor for makes in self.makes for tensor in makes}
        alive = ((made | inputs) & needed) | self.makes[index]
        return sum(self.size[tensor] for tensor in alive) + self.extra[index]

    def peak(self, order: Any) -> int:
        """Largest number of bytes at a time."""
        done: frozenset[int] = frozenset()
        most = 0
        for index in order:
            most = max(most, self.while_running(index, done))
            done = done | {index}
        return most


def _best_order(needs: _Needs) -> tuple[int, ...] | None:
    """The order of the least peak, the one nearest to the file's among equals (Dijkstra's algorithm over the sets of
    operators that have run, with the largest instead of the sum); None if there are too many sets."""
    count = len(needs.reads)
    waiting: list[tuple[int, int, tuple[int, ...]]] = [(0, count, ())]
    seen: set[frozenset[int]] = set()
    while waiting:
        peak, left, order = heapq.heappop(waiting)
        done = frozenset(order)
        if not left:
            return order
        if done in seen:
            continue
        seen.add(done)
        if len(seen) > _MOST_STATES:
            return None
        for index in needs.ready(done):
            higher = max(peak, needs.while_running(index, done))
            heapq.heappush(waiting, (higher, left - 1, (*order, index)))
    return None
