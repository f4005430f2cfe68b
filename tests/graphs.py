"""Hypothesis strategy for prunable graphs as plain data: chains with residual links, no Keras."""

import numpy as np
from hypothesis import strategies as st

from tf_structprune.graph import Channels, Group, PrunableGraph, PrunableLayer

_SIZES = st.integers(1, 9)
_POSITIONS = st.sampled_from([1, 4, 9, 25])


@st.composite
def graphs(draw, least_layers=3):
    """A graph with a kept first layer and classifier; a layer may share units with an earlier one."""
    first = np.arange(draw(_SIZES))
    tensors, count = [first], len(first)  # units of each tensor in turn
    for _ in range(draw(st.integers(least_layers, 6))):
        if len(tensors) > 2 and draw(st.booleans()):
            tensors.append(draw(st.sampled_from(tensors[1:])))  # joined by an Add
        else:
            units = np.arange(count, count + draw(_SIZES))
            tensors.append(units)
            count += len(units)
    return _graph(tensors, [draw(_POSITIONS) for _ in tensors[1:]], count)


def chain_graph(sizes, positions=9):
    """A chain of layers whose tensors have these channels; the first and last layer are kept."""
    edges = np.cumsum([0, *sizes])
    tensors = [np.arange(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    return _graph(tensors, [positions] * (len(sizes) - 1), int(edges[-1]))


def _graph(tensors, positions, count):
    names = [f"layer_{index}" for index in range(len(tensors) - 1)]
    blocked = np.zeros(count, bool)
    blocked[np.concatenate([tensors[0], tensors[1], tensors[-1]])] = True
    layers = tuple(
        PrunableLayer(
            name=name,
            kind="Conv2D",
            kernel_shape=(size, 1, len(before), len(after)),
            positions=size,
            inputs=len(before),
            outputs=len(after),
            output_positions=4,
            prunable=0 < index < len(names) - 1,
            reason="" if 0 < index < len(names) - 1 else "it is kept",
        )
        for index, (name, size, before, after) in enumerate(zip(names, positions, tensors, tensors[1:], strict=False))
    )
    channels = {n: Channels(a, b) for n, a, b in zip(names, tensors, tensors[1:], strict=False)}
    return PrunableGraph(
        model_name="made_up",
        layers=layers,
        groups=tuple(_groups(names, tensors, blocked)),
        channels=channels,
        unit_count=count,
        skipped=(),
        parameters=sum(layer.weights for layer in layers),
    )


def _groups(names, tensors, blocked):
    for units in {int(t[0]): t for t in tensors[1:]}.values():
        producers = tuple(n for n, t in zip(names, tensors[1:], strict=True) if t[0] == units[0])
        consumers = tuple(n for n, t in zip(names, tensors, strict=False) if t[0] == units[0])
        kept = bool(blocked[units].any())
        yield Group(producers[0], units, producers, consumers, not kept, "it is kept" if kept else "")
