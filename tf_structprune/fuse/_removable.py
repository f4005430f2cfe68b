"""Which layers of a model may go whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras

from tf_structprune.fuse._sites import find_sites
from tf_structprune.graph import CallList, LayerCall, TensorKey, list_calls, readers_of
from tf_structprune.observe import is_sum


@dataclass(frozen=True)
class Removable:
    """Layers that may go together, so that what they read is left in their place.

    Attributes:
        name: path of the convolution, or of the sum in which a residual block ends.
        passing: by path, which of its inputs each layer passes on that lies where something went: the convolution and
            its normalizations, or the sum.
        gone: paths of all layers that go.
    """

    name: str
    passing: dict[str, int]
    gone: frozenset[str]


def find_removable(model: keras.Model) -> tuple[dict[str, Removable], dict[str, str]]:
    """The convolutions and the residual blocks of a model that may go whole.

    A convolution as `find_sites` has it, with its normalizations; and a block, the layers between a tensor and the sum
    in which it is added to what they make of it, if nobody else reads what they make (Xu et al., arXiv 2011.14356,
    remove the first; of the second kind are the blocks of ResNet and MobileNetV2).

    Returns:
        What may go, by name in the order of the model, and the reason by path of every other convolution that lies in
        none of it.
    """
    sites, skipped = find_sites(model)
    found = list_calls(model)
    kernels = {call.name for call in found.calls if _is_convolution(call)}
    units = {}
    for call in found.calls:
        if call.name in sites:
            layers = [call.name, *(norm.name for norm in sites[call.name].norms)]
            units[call.name] = Removable(call.name, dict.fromkeys(layers, 0), frozenset(layers))
        elif (block := _block(found, call)) and block.gone & kernels:
            units[call.name] = block
    inside = frozenset[str]().union(*(unit.gone for unit in units.values()))
    return units, {name: why for name, why in skipped.items() if name not in inside}


def _is_convolution(call: LayerCall) -> bool:
    return "Conv" in type(call.layer).__name__


def _block(found: CallList, end: LayerCall) -> Removable | None:
    """The residual block that ends in a call, None where it is no sum of a tensor and what layers make of it."""
    if not is_sum(end) or len(end.inputs) != 2 or end.input_shapes[0] != end.input_shapes[1]:
        return None
    readers = readers_of(found)
    if end.name not in readers.once:
        return None
    for index, begin in enumerate(end.inputs):
        branch = _between(found, begin, end.inputs[1 - index])
        if branch is None:
            continue
        made, names = {call.output for call in branch}, frozenset(call.name for call in branch)
        outside = {key.output(0) for call in found.calls if call.name not in names | {end.name} for key in call.inputs}
        outside |= {key.output(0) for key in found.outputs}
        if names <= readers.once and not made & outside:
            return Removable(end.name, {end.name: index}, names | {end.name})
    return None


def _between(found: CallList, begin: TensorKey, last: TensorKey) -> list[LayerCall] | None:
    """The calls between two tensors; None where something else is read, such as an input of the model."""
    if begin == last:
        return None
    by_output = {call.output: call for call in found.calls}
    branch, ahead = dict[TensorKey, LayerCall](), [last]
    while ahead:
        key = ahead.pop()
        if key == begin or key.output(0) in branch:
            continue
        call = by_output[key.output(0)]
        if not call.inputs:
            return None
        branch[call.output] = call
        ahead += call.inputs
    return list(branch.values())


def chosen_of(units: dict[str, Removable], names: tuple[str, ...]) -> Iterator[Removable]:
    """Those of some names that lie in no other of them."""
    for name in names:
        others = (units[other].gone for other in names if other != name)
        if not any(units[name].gone < gone for gone in others):
            yield units[name]
