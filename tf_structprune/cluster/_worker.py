"""What a Ray worker holds and does: a bench over its shard of the samples."""

import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import LayerRule, core_layer, inner_layer, named_layers, register_rule, registered_rules
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import MaskSet
from tf_structprune.scoring import LocalBench, Round
from tf_structprune.task import Score, Validation


@dataclass(frozen=True)
class Cargo:
    """What all workers need, sent once.

    Classes, rules and the score travel by Ray's own serialization, by value where a worker cannot import them. That is
    transport: nothing is kept in that form.

    Attributes:
        model: the masked model as a .keras file, masks included.
        classes: the user's own classes and functions in it, by the names that the file gives them.
        rules: the user's own rules, by class.
        score: how outputs are scored.
        batch_size: samples a batch.
    """

    model: bytes
    classes: Mapping[str, Any]
    rules: Mapping[type, LayerRule]
    score: Score
    batch_size: int


@dataclass(frozen=True)
class Shard:
    """The samples of one worker, batch after batch.

    Attributes:
        x: an array for each input of the model, shape (samples, ...).
        y: targets, None where samples have no score by themselves.
    """

    x: list[NDArray[Any]]
    y: Any


@dataclass(frozen=True)
class Candidates:
    """A round as it is sent.

    Attributes:
        decided: on which networks they are run.
        masks: all candidates of the round, complete.
    """

    decided: Round
    masks: tuple[MaskSet, ...]


def pack(masked: keras.Model, score: Score, batch_size: int) -> Cargo:
    """Everything that a worker needs to know of a model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        keras.saving.save_model(masked, file)
        config = zipfile.ZipFile(file).read("config.json").decode()
        model = file.read_bytes()
    own = {type(each(layer)) for layer in named_layers(masked).values() for each in (inner_layer, core_layer)}
    classes = {keras.saving.get_registered_name(kind): kind for kind in own if not _is_library(kind)}
    registered = keras.saving.get_custom_objects().items()
    classes |= {name: kind for name, kind in registered if f'"{name}"' in config and not _is_library(kind)}
    rules = {kind: rule for kind, rule in registered_rules().items() if f'"{kind.__name__}"' in config}
    return Cargo(model, classes, rules, score, batch_size)


def _is_library(kind: Any) -> bool:
    """Whether a worker has it anyway."""
    return str(getattr(kind, "__module__", "")).partition(".")[0] in ("keras", "tf_structprune")


def unpack(cargo: Cargo) -> keras.Model:
    """The masked model, as the driver has it."""
    for kind, rule in cargo.rules.items():
        register_rule(kind, rule)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        file.write_bytes(cargo.model)
        return keras.saving.load_model(file, custom_objects=dict(cargo.classes), compile=False, safe_mode=True)


class Worker:
    """Scores candidates on its shard; becomes a Ray actor.

    It needs no more than a call's arguments and what it was made with, so one that is made anew goes on where the
    other died.

    Args:
        stock: references to the `Cargo` and the `Shard`.
    """

    def __init__(self, stock: Sequence[Any]) -> None:
        self._stock = stock
        self._bench: LocalBench | None = None
        self._number = -1

    def load(self) -> None:
        """Fetch model and samples; the first call does it otherwise."""
        self._ready()

    def values(
        self, number: int, sent: Sequence[Any], rows: Sequence[int], batches: Sequence[int]
    ) -> NDArray[np.float64]:
        """Scores, shape (candidates, samples of the batches).

        Args:
            number: of the round; a new one is fetched.
            sent: reference to its `Candidates`, in a list, so that Ray does not fetch it with every call.
            rows: candidates, as indices into the round.
            batches: as indices into the shard.
        """
        bench = self._enter(number, sent)
        return bench.values([self._changes[row] for row in rows], batches)

    def outputs(self, number: int, sent: Sequence[Any], rows: Sequence[int]) -> list[Any]:
        """Outputs of some candidates on the whole shard; arguments as those of `values`."""
        bench = self._enter(number, sent)
        return bench.outputs([self._changes[row] for row in rows])

    def _ready(self) -> LocalBench:
        if self._bench is None:
            import ray

            cargo, shard = ray.get(list(self._stock))
            validation = Validation(shard.x, shard.y, cargo.score)
            order = np.arange(validation.size)
            self._bench = LocalBench(MaskedModel(unpack(cargo)), validation, order, batch_size=cargo.batch_size)
        return self._bench

    def _enter(self, number: int, sent: Sequence[Any]) -> LocalBench:
        bench = self._ready()
        if number != self._number:
            import ray

            candidates = ray.get(sent[0])
            self._changes = [bench.change(masks) for masks in candidates.masks]
            bench.enter(candidates.decided)
            self._number = number
        return bench
