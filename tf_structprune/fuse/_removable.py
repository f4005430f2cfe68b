"""Which layers of a model may go whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import keras

from tf_structprune.fuse._sites import find_sites
from tf_structprune.graph import CallList, LayerCall, TensorKey, has_kernel, list_calls, readers_of
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
    wiring, units = _Wiring(list_calls(model)), {}
    for call in wiring.found.calls:
        if call.name in sites:
            layers = [call.name, *(norm.name for norm in sites[call.name].norms)]
            units[call.name] = Removable(call.name, dict.fromkeys(layers, 0), frozenset(layers))
        elif block := wiring.block(call):
            units[call.name] = block
    inside = frozenset[str]().union(*(unit.gone for unit in units.values()))
    return units, {name: why for name, why in skipped.items() if name not in inside}


class _Wiring:
    """Who makes what the calls of a model read.

    Args:
        found: the calls.
    """

    def __init__(self, found: CallList) -> None:
        self.found = found
        self._once = readers_of(found).once
        self._maker = {call.output: call for call in found.calls}

    def block(self, end: LayerCall) -> Removable | None:
        """The residual block that ends in a call, None where it is no sum of a tensor and what layers make of it."""
        if not is_sum(end) or len(end.inputs) != 2 or end.input_shapes[0] != end.input_shapes[1]:
            return None
        for index, begin in enumerate(end.inputs):
            branch = self._between(begin, end.inputs[1 - index])
            names = frozenset(call.name for call in (*branch, end))
            if any(has_kernel(call.layer) for call in branch) and names <= self._once and self._alone(branch, names):
                return Removable(end.name, {end.name: index}, names)
        return None

    def _between(self, begin: TensorKey, last: TensorKey) -> list[LayerCall]:
        """The calls between two tensors; none where something else is read, such as an input of the model."""
        branch, ahead = dict[TensorKey, LayerCall](), [last]
        while ahead:
            key = ahead.pop()
            if key == begin or key.output(0) in branch:
                continue
            call = self._maker[key.output(0)]
            if not call.inputs:
                return []
            branch[call.output] = call
            ahead += call.inputs
        return list(branch.values())

    def _alone(self, branch: list[LayerCall], names: frozenset[str]) -> bool:
        """Whether nobody but some layers reads what a branch makes, and the model does not return it."""
        outside = {key.output(0) for call in self.found.calls if call.name not in names for key in call.inputs}
        outside |= {key.output(0) for key in self.found.outputs}
        return outside.isdisjoint(call.output for call in branch)


def chosen_of(units: dict[str, Removable], names: tuple[str, ...]) -> Iterator[Removable]:
    """Those of some names that lie in no other of them."""
    for name in names:
        others = (units[other].gone for other in names if other != name)
        if not any(units[name].gone < gone for gone in others):
            yield units[name]
