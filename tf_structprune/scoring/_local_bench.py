"""A masked model and samples, on which candidates are run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import LayerCut
from tf_structprune.graph import inner_layer, named_layers
from tf_structprune.layers import MaskedModel, for_inference, keep_everything, named_weights, rebuild
from tf_structprune.masks import MaskSet
from tf_structprune.scoring._changes import Change
from tf_structprune.scoring._network import Assignments, Network
from tf_structprune.scoring._rounds import Round, Rounds
from tf_structprune.task import Validation, batch_shares

_MOST_BYTES = 2**29  # of weights that are kept for candidates that are run again
_MOST_SHARED_BYTES = 2**27  # of tensors that candidates have in common


@dataclass(frozen=True)
class _Batch:
    """Samples that are run together.

    Attributes:
        inputs: tensors of the backend, filled up to the batch size by repetition.
        indices: samples that count.
    """

    inputs: list[Any]
    indices: NDArray[np.int64]


@dataclass
class _Place:
    """A network and what its candidates leave of the layers: None where each has cuts of its own."""

    network: Network
    cuts: Mapping[str, LayerCut] | None


class LocalBench:
    """Runs candidates of a masked model on samples; data and compiled networks stay where they are.

    Args:
        masked: the model, whose weights must stay as they are; it is not changed.
        validation: samples, targets and score.
        order: indices of all samples in the order of the batches, shape (samples,).
        batch_size: samples a batch; a smaller one is filled up to it.
    """

    def __init__(
        self, masked: MaskedModel, validation: Validation, order: NDArray[np.int64], *, batch_size: int
    ) -> None:
        self._rounds = Rounds(masked)
        graph = self._rounds.graph
        self._validation = validation
        self._plain = _unmasked(masked, self._rounds.base)
        layers = named_layers(self._plain)
        known = [name for name in graph.channels if _has_weights(layers.get(name))]
        self._weights = {name: named_weights(layers[name]) for name in known}
        self._batches = _batches(masked.model, validation, order, batch_size)
        self._round = Round(frozenset(), frozenset(), np.ones(graph.unit_count, np.bool_))
        self._places: dict[Any, _Place] = {}
        self._put: dict[bytes, Assignments] = {}
        self._put_bytes = 0

    def change(self, candidate: MaskSet) -> Change:
        """A candidate on top of the masks that the model has."""
        return self._rounds.change(candidate)

    def begin(self, changes: Sequence[Change]) -> None:
        """Get ready for a round of candidates: networks for their sizes, cut where they begin to differ."""
        self.enter(self._rounds.next(changes))

    def enter(self, decided: Round) -> None:
        """Get ready for a round whose networks are decided."""
        self._put, self._put_bytes = {}, 0
        if decided.varied != self._round.varied:
            self._places = {}
        self._round = decided

    def values(self, changes: Sequence[Change], batches: Sequence[int]) -> NDArray[np.float64]:
        """Scores of some candidates of the round, shape (candidates, samples of the batches).

        Raises:
            ValueError: samples have no score by themselves.
        """
        rows: list[list[NDArray[np.float64]]] = [[] for _ in changes]
        for index, at, outputs in self._run(changes, batches):
            rows[index].append(self._validation.score.samples(self._targets(self._batches[at].indices), outputs))
        return np.stack([np.concatenate(row) for row in rows])

    def outputs(self, changes: Sequence[Change]) -> list[Any]:
        """Outputs of some candidates on all samples, in the order of the samples as they were given."""
        found: list[list[Any]] = [[] for _ in changes]
        for index, _, outputs in self._run(changes, range(len(self._batches))):
            found[index].append(outputs)
        back = np.argsort(np.concatenate([batch.indices for batch in self._batches]))
        return [keras.tree.map_structure(lambda *parts: np.concatenate(parts)[back], *rows) for rows in found]

    @property
    def sizes(self) -> list[int]:
        """Samples of each batch."""
        return [len(batch.indices) for batch in self._batches]

    def score_of(self, outputs: Any) -> float:
        """Score of outputs on all samples."""
        return self._validation.score(self._validation.y, outputs)

    @property
    def by_sample(self) -> bool:
        """Whether `values` can be had."""
        return self._validation.score.by_sample

    def close(self) -> None:
        """Nothing is held that needs letting go."""

    def _run(self, changes: Sequence[Change], batches: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
        """Index of the candidate, batch and outputs; the batches of each candidate in order."""
        places = [self._place(change) for change in changes]
        waiting = list(batches)
        while waiting:
            distinct = {id(place): place for place in places}  # many candidates share one
            together = {key: self._shared(place, waiting) for key, place in distinct.items()}
            count = min(len(shared) for shared in together.values())
            for index, (change, place) in enumerate(zip(changes, places, strict=True)):
                self._put_in(change, place)  # once for several batches: it takes as long as a small one
                for at, shared in zip(waiting[:count], together[id(place)], strict=False):
                    size = len(self._batches[at].indices)
                    outputs = [value[:size] for value in place.network.outputs(shared)]
                    yield index, at, outputs[0] if len(outputs) == 1 else outputs
            waiting = waiting[count:]

    def _shared(self, place: _Place, batches: Sequence[int]) -> list[list[Any]]:
        """What all candidates have in common on as many batches as fit the memory, at least one."""
        found: list[list[Any]] = []
        size = 0
        for at in batches:
            found.append(place.network.shared(self._batches[at].inputs))
            size += sum(int(np.prod(tensor.shape)) * 4 for tensor in found[-1])
            if size > _MOST_SHARED_BYTES:
                break
        return found

    def _targets(self, indices: NDArray[np.int64]) -> Any:
        return keras.tree.map_structure(lambda array: array[indices], self._validation.y)

    def _place(self, change: Change) -> _Place:
        sizes, union = self._rounds.sizes(change), self._round.union
        thin = sizes in self._round.thin
        key = sizes if thin else union.tobytes()
        if key not in self._places:
            cuts = change.cuts() if thin else change.cuts(union)
            network = Network(self._plain, self._weights, change, cuts=cuts, varied=self._round.varied)
            self._places[key] = _Place(network, None if thin else cuts)
        return self._places[key]

    def _put_in(self, change: Change, place: _Place) -> None:
        known = self._put.get(change.key)
        if known is not None:
            for variable, value in known:
                variable.assign(keras.ops.copy(value))  # JAX gives a variable's buffer away when it predicts
            return
        assigned = place.network.put(change, change.cuts() if place.cuts is None else place.cuts)
        size = sum(int(np.prod(variable.shape)) * 4 for variable, _ in assigned)
        if self._put_bytes + size <= _MOST_BYTES:
            self._put[change.key] = assigned
            self._put_bytes += size


def even_size(batch_size: int) -> int:
    """A batch size, or the next one that gives every device as much of a batch."""
    shares = batch_shares()
    return -(-batch_size // shares) * shares


def in_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Indices of samples batch by batch; the last one may be smaller."""
    return [order[begin : begin + batch_size] for begin in range(0, len(order), batch_size)]


def _batches(masked: keras.Model, validation: Validation, order: NDArray[np.int64], batch_size: int) -> list[_Batch]:
    arrays, batch_size = validation.inputs(masked), even_size(batch_size)
    found = []
    for indices in in_batches(order, batch_size):
        filled = np.resize(indices, batch_size)  # one shape for all batches, so that nothing is compiled twice
        pairs = zip(arrays, masked.inputs, strict=True)
        inputs = [keras.ops.convert_to_tensor(array[filled].astype(tensor.dtype)) for array, tensor in pairs]
        found.append(_Batch(inputs, indices))
    return found


def _unmasked(masked: MaskedModel, base: MaskSet) -> keras.Model:
    """The plain model under the masks, for inference."""
    try:
        masked.set_masks(keep_everything(base))
        return for_inference(rebuild(masked.model, {}))
    finally:
        masked.set_masks(base)


def _has_weights(layer: Any) -> bool:
    return bool(getattr(inner_layer(layer), "weights", ())) if layer is not None else False
