"""Put the operators of a `.tflite` file in the order that needs least memory."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_MOST_STATES = 20_000  # sets of operators that are looked at; a network with more keeps its order
_BYTES = {
    schema.TensorType.INT8: 1,
    schema.TensorType.UINT8: 1,
    schema.TensorType.BOOL: 1,
    schema.TensorType.INT16: 2,
    schema.TensorType.FLOAT16: 2,
    schema.TensorType.INT64: 8,
}


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
    needs = _Needs.of(model, graph)
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
    def of(cls, model: Any, graph: Any) -> "_Needs":
        """The needs of one subgraph."""
        made = {int(at) for operator in graph.operators for at in operator.outputs} | {int(at) for at in graph.inputs}
        reads = [frozenset(int(at) for at in operator.inputs if int(at) in made) for operator in graph.operators]
        constants = [[int(at) for at in op.inputs if at >= 0 and int(at) not in made] for op in graph.operators]
        return cls(
            reads=tuple(reads),
            makes=tuple(frozenset(int(at) for at in operator.outputs) for operator in graph.operators),
            extra=tuple(sum(_unpacked(graph.tensors[at]) for at in each) for each in constants),
            size={at: _size(graph.tensors[at]) for at in made},
            lasting=frozenset(int(at) for at in graph.outputs),
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


def _size(tensor: Any) -> int:
    shape = [] if tensor.shape is None else [abs(int(size)) for size in tensor.shape]
    return int(np.prod(shape)) * _BYTES.get(tensor.type, 4)


def _unpacked(tensor: Any) -> int:
    """Bytes that a constant takes in the arena: int4 weights, one byte each."""
    return int(np.prod([int(size) for size in tensor.shape])) if tensor.type == schema.TensorType.INT4 else 0
