"""Which tensors of a network are signals, which layers share a grid, and which are done by others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from tf_structprune.fixed_point import MEASURED, RECTIFIED, SIGNED
from tf_structprune.graph import CallList, LayerCall, Readers, TensorKey, readers_of
from tf_structprune.layers._fold import foldable_norms
from tf_structprune.layers._roles import Role, activation_role, is_bounded, role_of, stays_positive

_L = keras.layers
_DROPOUT = (_L.Dropout, _L.SpatialDropout1D, _L.SpatialDropout2D, _L.Identity, _L.ActivityRegularization)


@dataclass(frozen=True)
class Signal:
    """A tensor that gets a grid.

    Attributes:
        owner: path of the layer that it belongs to: the one that computes it, not the activation behind.
        kind: see `SignalGrid`.
    """

    owner: str
    kind: str


@dataclass
class FixedPointPlan:
    """What becomes of each call, by the key of its output.

    Attributes:
        roles: what each call is.
        absorbed: normalizations that the layer in front of them does.
        folded: outputs of those normalizations.
        split: activation that becomes a layer of its own, because the signal in front of it is rounded.
        signals: the tensors that are rounded; where `split` is, before the activation.
        sources: by tensor that carries rounded values on, the tensor that was rounded.
        ties: pairs of tensors that share a grid.
        fused: outputs that are between a layer and its signal, activations and the like.
    """

    roles: dict[TensorKey, Role] = field(default_factory=dict)
    absorbed: dict[TensorKey, tuple[LayerCall, ...]] = field(default_factory=dict)
    folded: set[TensorKey] = field(default_factory=set)
    split: dict[TensorKey, Any] = field(default_factory=dict)
    signals: dict[TensorKey, Signal] = field(default_factory=dict)
    sources: dict[TensorKey, TensorKey] = field(default_factory=dict)
    ties: list[tuple[TensorKey, TensorKey]] = field(default_factory=list)
    fused: set[TensorKey] = field(default_factory=set)

    def groups(self) -> list[list[TensorKey]]:
        """The signals, those that share a grid together."""
        parent = {key: key for key in self.signals}

        def root(key: TensorKey) -> TensorKey:
            while parent[key] != key:
                key = parent[key]
            return key

        for one, other in self.ties:
            parent[root(other)] = root(one)
        groups: dict[TensorKey, list[TensorKey]] = {}
        for key in self.signals:
            groups.setdefault(root(key), []).append(key)
        return list(groups.values())

    def add(self, key: TensorKey, owner: str, kind: str) -> None:
        """Round a tensor."""
        self.signals[key] = Signal(owner, kind)
        self.sources[key] = key

    def tie(self, keys: Sequence[TensorKey]) -> None:
        """Let the signals that some tensors carry share a grid."""
        carried = [self.sources[key] for key in keys if key in self.sources]
        self.ties += [(carried[0], other) for other in carried[1:] if other != carried[0]]

    def all_rectified(self, keys: Sequence[TensorKey]) -> bool:
        """Whether none of some tensors is ever negative."""
        return all(key in self.sources and self.signals[self.sources[key]].kind == RECTIFIED for key in keys)


def plan_fixed_point(found: CallList) -> FixedPointPlan:
    """Decide on every call of a model, in the order in which they run.

    Raises:
        ValueError: a layer or an activation that has no fixed-point form.
    """
    plan = FixedPointPlan(roles={call.output: role_of(call) for call in found.calls})
    readers = readers_of(found)
    for call in found.calls:
        role = plan.roles[call.output]
        if call.repeated and role in (Role.WEIGHTED, Role.SEPARABLE, Role.SCALE):
            raise ValueError(
                f"Layer '{call.name}' is called more than once, which has no fixed-point form: its bias would need a "
                "grid for each input. Received: a shared layer with weights. Use a layer of its own for each call."
            )
        if call.output in plan.fused or role is Role.FIXED:
            continue
        if role in (Role.PASS, Role.JOIN) or (role is Role.INPUT and call.inputs):
            _plan_passing(plan, call)
        elif (role is Role.AVERAGE or is_bounded(call)) and call.inputs[0] in plan.sources:
            plan.add(call.output, call.name, plan.signals[plan.sources[call.inputs[0]]].kind)
            plan.tie([call.inputs[0], call.output])
        else:
            _plan_signal(plan, call, readers)
    return plan


def _plan_passing(plan: FixedPointPlan, call: LayerCall) -> None:
    plan.tie(call.inputs)
    if call.inputs and call.inputs[0] in plan.sources:
        for index in {0, *call.output_shapes}:
            plan.sources[call.output.output(index)] = plan.sources[call.inputs[0]]


def _plan_signal(plan: FixedPointPlan, call: LayerCall, readers: Readers) -> None:
    """A call that computes a signal, and what follows it up to the tensor that is rounded."""
    role = plan.roles[call.output]
    weighted = role in (Role.WEIGHTED, Role.SEPARABLE)
    inside = _inside(call) if weighted else Role.PASS
    if inside not in (Role.PASS, Role.RECTIFIER):
        plan.split[call.output] = call.layer.activation
        plan.signals[call.output] = Signal(call.name, SIGNED)
        return
    rectified = Role.RECTIFIER in (inside, role)
    norms = foldable_norms(call, readers) if weighted else ()
    plan.absorbed[call.output] = norms
    plan.folded |= {norm.output for norm in norms}
    last = call
    # The input of a file for integers has a grid of its own, whatever reads it.
    for reader in readers.behind(call) if not rectified and role is not Role.INPUT else ():
        rectifier = plan.roles[reader.output] is Role.RECTIFIER
        if not (rectifier or reader.output in plan.folded or isinstance(reader.layer, _DROPOUT)):
            break
        plan.fused.add(reader.output)
        last = reader
        if rectifier:
            rectified = True
            break
    positive = role is Role.OWN and stays_positive(call) and plan.all_rectified(call.inputs)
    kind = RECTIFIED if rectified or positive else MEASURED if role is Role.INPUT else SIGNED
    plan.add(last.output, call.name, kind)


def _inside(call: LayerCall) -> Role:
    role = activation_role(call.layer)
    if role is None:
        raise ValueError(
            f"Layer '{call.name}': its activation has no fixed-point form. Received: activation="
            f"{call.layer.activation!r}. Use relu, or export with quantize='int8'."
        )
    return role
