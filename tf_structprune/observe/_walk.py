"""A model and another of the same calls, run side by side, call by call, on all samples."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import CallList, LayerCall, Readers, TensorKey, readers_of, runner_of
from tf_structprune.observe._shelf import Shelf

_Pair = tuple[LayerCall, LayerCall]


class Walk:
    """Runs a model on all samples one call after the other, beside a reference that has the same calls.

    Between two calls the layers of the model may be given other weights: what follows sees them. As long as nothing
    differs, both are computed once.

    Args:
        reference: calls of the model that stays as it is.
        model: calls of the model that changes, one for each of the reference, in the same order.
        batches: samples, batch by batch, one array an input.
        shelf: holds tensors until they are read for the last time.
        passing: says of which calls of the model nobody will ask for the inputs; what alone reads a tensor is then run
            right behind the call that makes it, and the tensor is not held.
    """

    def __init__(
        self,
        reference: CallList,
        model: CallList,
        batches: Sequence[Sequence[NDArray[Any]]],
        shelf: Shelf,
        *,
        passing: Callable[[LayerCall], bool] = lambda call: False,
    ) -> None:
        self._pairs = list(zip(_close_up(reference), _close_up(model), strict=True))
        self._batches, self._shelf, self._passing = batches, shelf, passing
        self._twins = {b.output: a.output for a, b in self._pairs}
        self._uses = Counter(("reference", key) for call in reference.calls for key in call.inputs)
        self._uses.update(("model", key) for call in model.calls for key in call.inputs)
        self._differs: set[TensorKey] = set()

    def __iter__(self) -> Iterator[tuple[LayerCall, LayerCall]]:
        """The calls of reference and model, before each is run; go on and it is."""
        inputs = iter(range(len(self._batches[0])))
        chain: list[_Pair] = []
        for reference, model in self._pairs:
            if chain and not self._joins(chain[-1][1], model):
                self._run(chain)
                chain = []
            yield reference, model
            if isinstance(model.layer, keras.layers.InputLayer) and not model.inputs:
                self._begin(reference, next(inputs))
                continue
            if any(self.differs(key) for key in model.inputs):
                self.mark(model)
            if chain and self.differs(model.output) != self.differs(chain[-1][1].output):
                self._run(chain)
                chain = []
            chain.append((reference, model))
        if chain:
            self._run(chain)

    def mark(self, call: LayerCall) -> None:
        """Say that a call of the model computes something else than that of the reference."""
        self._differs.add(call.output)

    def differs(self, key: TensorKey) -> bool:
        """Whether a tensor of the model may be other than that of the reference."""
        return key.output(0) in self._differs

    def known(self, key: TensorKey) -> bool:
        """Whether a tensor of the model was computed."""
        return self._name("model", key) in self._shelf

    def reference(self, key: TensorKey, batch: int) -> NDArray[Any]:
        """A tensor of the reference, by its key there."""
        return self._shelf.get(("reference", key), batch)

    def model(self, key: TensorKey, batch: int) -> NDArray[Any]:
        """A tensor of the model, by its key there."""
        return self._shelf.get(self._name("model", key), batch)

    def twin(self, key: TensorKey) -> TensorKey:
        """The reference's key of a tensor of the model."""
        return self._twins[key.output(0)].output(key.index)

    @property
    def batches(self) -> range:
        """Numbers of the batches."""
        return range(len(self._batches))

    def _name(self, side: str, key: TensorKey) -> tuple[str, TensorKey]:
        return (side, key) if side == "reference" or self.differs(key) else ("reference", self.twin(key))

    def _begin(self, call: LayerCall, index: int) -> None:
        for batch, arrays in enumerate(self._batches):
            self._put(("reference", call.output), batch, [np.asarray(arrays[index]).astype(call.layer.dtype)])

    def _joins(self, last: LayerCall, call: LayerCall) -> bool:
        """Whether a call can be run right behind another, batch by batch, without its input being held."""
        if not self._passing(call) or isinstance(call.layer, keras.layers.InputLayer) or len(call.inputs) != 1:
            return False
        key = call.inputs[0]
        return key == last.output and self._uses["model", key] == self._uses["reference", self.twin(key)] == 1

    def _run(self, chain: list[_Pair]) -> None:
        """Run calls of which each alone reads the one before; the outputs of the last are held."""
        end = self._name("model", chain[-1][1].output)[0]
        for side, calls in zip(("reference", "model"), zip(*chain, strict=True), strict=True):
            if side in ("reference", end):
                first, *others = (_runner(call) for call in calls)
                for batch in self.batches:
                    made = first(partial(self._value, side, batch))
                    for run in others:
                        made = run(partial(_only, made))
                    outputs = [keras.ops.convert_to_numpy(output) for output in made]
                    self._put((side, calls[-1].output), batch, outputs)
        for reference, model in chain:
            self._let_go(reference, model)

    def _value(self, side: str, batch: int, key: TensorKey) -> NDArray[Any]:
        return self._shelf.get(self._name(side, key), batch)

    def _put(self, name: tuple[str, TensorKey], batch: int, outputs: list[NDArray[Any]]) -> None:
        side, key = name
        for index, output in enumerate(outputs):
            self._shelf.put((side, key.output(index)), batch, output)

    def _let_go(self, reference: LayerCall, model: LayerCall) -> None:
        """Drop the tensors that nobody reads any more."""
        self._uses.subtract(("reference", key) for key in reference.inputs)
        self._uses.subtract(("model", key) for key in model.inputs)
        for key in model.inputs:
            if self._uses["model", key]:
                continue
            if self.differs(key):
                self._shelf.drop(("model", key))
            if not self._uses["reference", self.twin(key)]:
                self._shelf.drop(("reference", self.twin(key)))


def _runner(call: LayerCall) -> Callable[[Callable[[TensorKey], Any]], list[Any]]:
    return _cast(call) if isinstance(call.layer, keras.layers.InputLayer) else runner_of(call)


def _only(made: list[Any], _: TensorKey) -> Any:
    return made[0]


def _cast(call: LayerCall) -> Callable[[Callable[[TensorKey], Any]], list[Any]]:
    """The input of a nested model, which has a type of its own."""
    return lambda value: [value(call.inputs[0]).astype(call.layer.dtype)]


def _close_up(found: CallList) -> list[LayerCall]:
    """The calls in an order in which what alone reads a tensor, and nothing else, comes right behind it.

    So one branch of a sum is complete before the next one begins.
    """
    readers, placed, order = readers_of(found), set[TensorKey](), list[LayerCall]()
    for call in found.calls:
        chain = () if call.output in placed else (call, *_only_readers(readers, call))
        placed.update(each.output for each in chain)
        order += chain
    return order


def _only_readers(readers: Readers, call: LayerCall) -> Iterator[LayerCall]:
    return takewhile(lambda reader: len(reader.inputs) == 1, readers.behind(call))
