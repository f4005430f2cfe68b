"""Hypothesis strategy for prunable graphs as plain data, no Keras.

Chains with residual links, concatenations, flattened maps, and grouped and depthwise convolutions.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tf_structprune.channels import Channels, Group, PrunableGraph, PrunableLayer

_SIZES = st.integers(1, 9)
_POSITIONS = st.sampled_from([1, 4, 9, 25])


@dataclass(frozen=True)
class _Layer:
    """What a made-up layer reads and makes: the unit of each channel, and in how many groups it convolves."""

    reads: np.ndarray
    makes: np.ndarray
    groups: int = 1


@st.composite
def graphs(draw, least_layers=3):
    """A graph with a kept first layer and classifier.

    A layer may share units with an earlier one (a residual), read two tensors (a concatenation), and,
    as a grouped or depthwise convolution, hand on the units that it reads.
    """
    first = np.arange(draw(_SIZES))
    tensors, count = [first], len(first)  # units of each tensor in turn
    layers = []
    for _ in range(draw(st.integers(least_layers, 6))):
        reads = _read(draw, tensors)
        kind = draw(st.sampled_from(["new", "new", "joined", "grouped"]))
        if kind == "grouped" and len(np.unique(tensors[-1])) > 1:
            layers.append(_grouped(tensors[-1], draw(st.integers(1, 2))))
        elif kind == "joined" and len(tensors) > 2:
            layers.append(_Layer(reads, draw(st.sampled_from(tensors[1:]))))  # by an Add
        else:
            units = np.arange(count, count + draw(_SIZES))
            count += len(units)
            layers.append(_Layer(reads, np.repeat(units, draw(st.sampled_from([1, 1, 2])))))
        tensors.append(layers[-1].makes)
    return _graph(layers, [draw(_POSITIONS) for _ in layers], count)


def _read(draw, tensors):
    if len(tensors) < 3 or draw(st.booleans()):
        return tensors[-1]
    return np.concatenate([tensors[-1], draw(st.sampled_from(tensors[1:]))])


def _grouped(reads, channels):
    """Each unit that is read is a group; depthwise if it is one channel."""
    units = np.array(list(dict.fromkeys(reads.tolist())))
    return _Layer(reads, np.repeat(units, channels), len(units))


def chain_graph(sizes, positions=9):
    """A chain of layers whose tensors have these channels; the first and last layer are kept."""
    edges = np.cumsum([0, *sizes])
    tensors = [np.arange(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    layers = [_Layer(before, after) for before, after in zip(tensors, tensors[1:], strict=False)]
    return _graph(layers, [positions] * len(layers), int(edges[-1]))


def _graph(made_up, positions, count):
    blocked = np.zeros(count, bool)
    blocked[np.concatenate([made_up[0].reads, made_up[0].makes, made_up[-1].makes])] = True
    named = {f"layer_{index}": layer for index, layer in enumerate(made_up)}
    kept = {"layer_0", f"layer_{len(made_up) - 1}"}
    layers = tuple(
        PrunableLayer(
            name=name,
            kind="Conv2D",
            kernel_shape=(size, 1, len(layer.reads) // layer.groups, len(layer.makes)),
            positions=size,
            inputs=len(layer.reads),
            outputs=len(layer.makes),
            pixels=4,
            prunable=name not in kept,
            reason="it is kept" if name in kept else "",
            groups=layer.groups,
        )
        for size, (name, layer) in zip(positions, named.items(), strict=True)
    )
    return PrunableGraph(
        model_name="made_up",
        layers=layers,
        groups=tuple(_groups(named, blocked)),
        channels={name: Channels(layer.reads, layer.makes) for name, layer in named.items()},
        unit_count=count,
        skipped=(),
        parameters=sum(layer.weights for layer in layers),
    )


def _groups(named, blocked):
    """The units of each tensor; those of a concatenation belong to the tensors that it joins."""
    seen = set()
    for first in named.values():
        units = np.array(list(dict.fromkeys(first.makes.tolist())))
        if int(units[0]) in seen:
            continue
        seen.add(int(units[0]))
        producers = tuple(name for name, layer in named.items() if units[0] in layer.makes)
        consumers = tuple(name for name, layer in named.items() if units[0] in layer.reads)
        kept = bool(blocked[units].any())
        channels = len(named[producers[0]].makes) // len(units)
        reason = "it is kept" if kept else ""
        yield Group(producers[0], units, producers, consumers, not kept, reason, unit_channels=channels)
