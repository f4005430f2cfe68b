"""The kernel of any layer as positions x group inputs x outputs, and back."""

import math
from dataclasses import dataclass
from typing import Any

from tf_structprune.graph._lookup import rule_for
from tf_structprune.graph._rules import core_layer
from tf_structprune.graph._wrapper import TransparentWrapper


@dataclass(frozen=True)
class KernelView:
    """How a kernel is read as (positions, input maps of a group, output maps).

    Attributes:
        shape: shape of the kernel as Keras holds it.
        order: its axes in the order of the view: positions, input, output.
        positions: weights of one (input, output) pair.
        group_inputs: input maps that one output map reads.
        outputs: output maps.
        groups: convolution groups.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    positions: int
    group_inputs: int
    outputs: int
    groups: int

    @property
    def inputs(self) -> int:
        """Input maps."""
        return self.group_inputs * self.groups

    @property
    def view_shape(self) -> tuple[int, int, int]:
        """(positions, group_inputs, outputs)."""
        return self.positions, self.group_inputs, self.outputs

    def view(self, kernel: Any, library: Any) -> Any:
        """The kernel in `view_shape`; `library` is `numpy` or `keras.ops`."""
        return library.reshape(library.transpose(kernel, self.order), self.view_shape)

    def restore(self, view: Any, library: Any) -> Any:
        """A view in the kernel's shape again."""
        ordered = library.reshape(view, [self.shape[axis] for axis in self.order])
        return library.transpose(ordered, [self.order.index(axis) for axis in range(len(self.order))])


def kernel_view(layer: Any, positions: int = 1) -> KernelView:
    """The view of a built layer's kernel.

    Args:
        layer: a layer with a rule that names its kernel, masked or not.
        positions: input features that one input map stands for, see `Channels`.
    """
    inner, rule = core_layer(layer), rule_for(layer)
    if rule is None or not rule.kernel:
        raise ValueError(
            f"Layer '{layer.name}': its kernel is not known. Received: {type(inner).__name__}, a class without a rule "
            "that names one. Call register_rule for it before the model is built or loaded."
        )
    shape = tuple(int(size) for size in getattr(inner, rule.kernel).shape)
    roles = rule.weight_axes[rule.kernel]
    if "out" not in roles:  # depthwise: every output map reads one input map
        channels = shape[roles.index("in") :]
        order = tuple(range(len(shape)))
        return KernelView(shape, order, math.prod(shape[: -len(channels)]), 1, math.prod(channels), channels[0])
    source, target = roles.index("in"), roles.index("out")
    order = (*(axis for axis, role in enumerate(roles) if not role), source, target)
    places = math.prod(shape[axis] for axis in order[:-2]) * positions
    groups = int(getattr(inner, "groups", 1) or 1)
    return KernelView(shape, order, places, shape[source] // positions, shape[target], groups)


def kernel_of(layer: Any) -> Any:
    """The kernel that a layer computes with, as Keras holds it: a transparent wrapper's masks are in it."""
    if isinstance(layer, TransparentWrapper):
        return layer.effective_kernel()
    return kernel_variable(layer)


def kernel_variable(layer: Any) -> Any:
    """The variable that holds a layer's kernel, inside wrappers too."""
    rule = rule_for(layer)
    return getattr(core_layer(layer), rule.kernel if rule is not None and rule.kernel else "kernel")
