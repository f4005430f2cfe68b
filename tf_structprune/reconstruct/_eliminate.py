"""In which order feature maps go, when the others make up for each one that went."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from tf_structprune.allocation import FLOOR, Choices, Cost
from tf_structprune.channels import Channels, PrunableGraph
from tf_structprune.masks import Importance
from tf_structprune.reconstruct._moments import InputMoments, by_group
from tf_structprune.reconstruct._second import Floats
from tf_structprune.reconstruct._solve import RIDGE


@dataclass(frozen=True)
class LayerInputs:
    """A layer with a kernel and what it reads.

    Attributes:
        kernel: its weights, shape (positions, group inputs, outputs).
        moments: of what it reads; None where that is not known, and all inputs then count as independent and alike.
    """

    kernel: NDArray[np.floating]
    moments: InputMoments | None

    def weights(self, groups: int) -> Floats:
        """The kernel by group of the convolution, shape (groups, n, outputs of a group)."""
        return by_group(self.kernel, groups)

    def variance(self, groups: int) -> float:
        """Of what the layer gives, all outputs together; 1 for none."""
        if self.moments is not None:
            return float(self.moments.of_weights(self.kernel).variance.sum()) or 1.0
        return float((self.weights(groups) ** 2).sum()) or 1.0

    def inverse(self, groups: int, ridge: float) -> Floats:
        """Of the covariance of what it reads and the ridge, shape (groups, n, n)."""
        second = self._second(groups)
        penalty = np.maximum(ridge * np.trace(second, axis1=1, axis2=2) / second.shape[1], np.finfo(np.float32).tiny)
        return np.stack([_inverse(part, add) for part, add in zip(second, penalty, strict=True)])

    def _second(self, groups: int) -> Floats:
        if self.moments is not None:
            return self.moments.covariance()
        size = self.kernel.shape[0] * self.kernel.shape[1]
        return np.broadcast_to(np.eye(size), (groups, size, size))


@dataclass(frozen=True)
class Elimination:
    """In which order the units of all groups go.

    Attributes:
        importance: by group, how late each unit goes, shape (units,).
        path: the group that goes down a step, one after the other, to the last step of all; indices of the prunable
            groups.
        losses: what each of these steps adds to the squared errors of the layers, each as a share of the variance of
            what the layer gives, all layers together, shape (steps,).
    """

    importance: Importance
    path: NDArray[np.int64]
    losses: Floats


def eliminate(
    graph: PrunableGraph,
    layers: Mapping[str, LayerInputs],
    choices: Choices,
    cost: Cost,
    alive: NDArray[np.bool_],
    *,
    floor: float = FLOOR,
    ridge: float = RIDGE,
) -> Elimination:
    """Take from the group whose next units cost least, for what is gained, after the others have made up for them.

    What a unit costs is the least squared error of the layers that read it when its weights are taken out and the
    remaining ones are fitted again (optimal brain surgeon, Hassibi and Stork 1993, equation 5, for the weights of a
    whole map: one block of the inverse second moment). After each step that inverse and the weights are brought up to
    date, which is exact and needs no new solution.

    Args:
        graph: the traced model.
        layers: by name, the layers that read units of prunable groups.
        choices: what the groups may keep.
        cost: what they cost.
        alive: units that are there, shape (unit count,).
        floor: share of its units that every group keeps as long as others have more.
        ridge: penalty on changes of the weights, as in `solve`.
    """
    readers = {name: _Reader.of(graph.channels[name], layer, alive, ridge) for name, layer in layers.items()}
    groups = graph.prunable_groups
    of_group = [[readers[name] for name in dict.fromkeys(group.consumers) if name in readers] for group in groups]
    makers = [[readers[name] for name in dict.fromkeys(group.producers) if name in readers] for group in groups]
    left = [group.units[alive[group.units]].tolist() for group in groups]
    rank = np.full(graph.unit_count, -1, np.int64)
    steps = np.zeros(len(groups), np.int64)
    path, losses, gone = [], [], 0
    while (steps < choices.most).any():
        prices = [
            _prices(of_group[at], left[at]) if steps[at] < choices.most[at] else None for at in range(len(groups))
        ]
        at = _next(choices, cost, steps, prices, floor)
        loss = 0.0
        for _ in range(int(choices.counts[at][steps[at]] - choices.counts[at][steps[at] + 1])):
            found = _prices(of_group[at], left[at])
            place = int(found.argmin())
            loss += float(found[place])
            unit = left[at].pop(place)
            for reader in of_group[at]:
                reader.remove(unit)
            for maker in makers[at]:
                maker.forget(unit)
            rank[unit], gone = gone, gone + 1
        steps[at] += 1
        path.append(at)
        losses.append(loss)
    for at, units in enumerate(left):
        for place in np.argsort(_prices(of_group[at], units), kind="stable"):
            rank[units[place]], gone = gone, gone + 1
    importance = {group.name: rank[group.units].astype(np.float64) for group in groups}
    return Elimination(importance, np.array(path, np.int64), np.array(losses))


def _prices(readers: "list[_Reader]", units: list[int]) -> Floats:
    """What the layers that read some units lose when one of them goes, shape (units,)."""
    total = np.zeros(len(units))
    for reader in readers:
        total += reader.prices(units)
    return total


def _next(choices: Choices, cost: Cost, steps: NDArray[np.int64], prices: list[Floats | None], floor: float) -> int:
    """The group that loses least for its gain in cost, of those above the floor if there are any."""
    down = np.minimum(steps + 1, choices.most)
    alone = np.where(np.eye(len(steps), dtype=bool), down, steps)
    gain = np.maximum(cost(choices.kept(steps)) - cost(choices.kept(alone)), 1e-12)
    rates = np.full(len(steps), np.inf)
    for at, found in enumerate(prices):
        if found is not None:
            count = int(choices.counts[at][steps[at]] - choices.counts[at][down[at]])
            rates[at] = np.sort(found)[:count].sum() / gain[at]
    kept = choices.kept(down)
    above = (kept >= floor * np.array([counts[0] for counts in choices.counts])) & np.isfinite(rates)
    return int(np.where(above, rates, np.inf).argmin() if above.any() else rates.argmin())


@dataclass
class _Reader:
    """A layer that reads units, group by group of a grouped convolution.

    Attributes:
        inputs: unit of each weight of an output, shape (groups, n).
        outputs: unit of each output, shape (groups, outputs of a group).
        inverse: of the second moments of what is left, shape (groups, n, n).
        weights: fitted to what is left, shape (groups, n, outputs of a group).
        variance: of what the layer gives.
        known: prices of units since the last change.
    """

    inputs: NDArray[np.int64]
    outputs: NDArray[np.int64]
    inverse: Floats
    weights: Floats
    variance: float
    known: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, channels: Channels, layer: LayerInputs, alive: NDArray[np.bool_], ridge: float) -> "_Reader":
        positions, group_inputs, outputs = layer.kernel.shape
        groups = len(channels.inputs) // group_inputs
        size = positions * group_inputs
        units = channels.inputs.reshape(groups, 1, group_inputs)
        reader = cls(
            inputs=np.broadcast_to(units, (groups, positions, group_inputs)).reshape(groups, size).copy(),
            outputs=channels.outputs.reshape(groups, outputs // groups),
            inverse=layer.inverse(groups, ridge),
            weights=layer.weights(groups),
            variance=layer.variance(groups),
        )
        for unit in np.unique(channels.inputs[~alive[channels.inputs]]).tolist():
            reader.remove(unit)
        reader.weights[np.broadcast_to(~alive[reader.outputs][:, None], reader.weights.shape)] = 0
        return reader

    def prices(self, units: list[int]) -> Floats:
        """What is lost when one of the units goes, shape (units,)."""
        for unit in units:
            if unit not in self.known:
                self.known[unit] = self._price(unit)
        return np.array([self.known[unit] for unit in units])

    def remove(self, unit: int) -> None:
        """Take a unit out of what is read; the others make up for it."""
        self.known.clear()
        for group, rows in self._rows(unit):
            across = self.inverse[group][:, rows]
            share = across @ linalg.inv(across[rows])
            self.weights[group] -= share @ self.weights[group][rows]
            self.inverse[group] -= share @ across.T
            self.weights[group][rows] = 0
            self.inverse[group][rows] = self.inverse[group][:, rows] = 0
            self.inverse[group][rows, rows] = 1
            self.inputs[group][rows] = -1

    def forget(self, unit: int) -> None:
        """Outputs of a unit count no longer."""
        self.known.clear()
        self.weights[np.broadcast_to((self.outputs == unit)[:, None], self.weights.shape)] = 0

    def _price(self, unit: int) -> float:
        total = 0.0
        for group, rows in self._rows(unit):
            own = self.weights[group][rows][:, self.outputs[group] != unit]
            block = self.inverse[group][np.ix_(rows, rows)]
            total += float(np.einsum("ro,ro->", own, linalg.solve(block, own, assume_a="pos")))
        return total / self.variance

    def _rows(self, unit: int) -> list[tuple[int, NDArray[np.int64]]]:
        found = [(group, np.flatnonzero(inputs == unit)) for group, inputs in enumerate(self.inputs)]
        return [(group, rows) for group, rows in found if len(rows)]


def _inverse(second: Floats, penalty: float) -> Floats:
    part = np.array(second)
    part[np.diag_indices_from(part)] += penalty
    factor = linalg.cho_factor(part, lower=True, overwrite_a=True)
    return np.asarray(linalg.cho_solve(factor, np.eye(len(part)), overwrite_b=True))
