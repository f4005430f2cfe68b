"""Scoring on many machines: every worker of a Ray cluster has the model and some of the samples."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.cluster._crew import Crew
from tf_structprune.cluster._worker import Candidates, Shard, pack
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import MaskSet
from tf_structprune.scoring import Change, Rounds, even_size, in_batches
from tf_structprune.task import Validation, as_score

_MOST_PARTS = 4  # of a batch: smaller ones cost more than idle workers


@dataclass(frozen=True)
class RayExecutor:
    """Spreads the scoring of candidates over the workers of a Ray cluster.

    The samples are divided once, batch by batch, and every worker scores all candidates on its own. Races look at the
    same samples as on one machine, so the scores are the same too. What a dead worker was scoring is scored again by
    the one that takes its place.

    All machines need the extra `ray`, the same versions and the same Keras backend. GPUs are not used.

    Attributes:
        workers: processes that score; fewer where there are fewer batches.
        address: of a running cluster, e.g. "auto"; None for the one that this process is connected to or that
            `RAY_ADDRESS` names, else Ray is started on this machine. What the executor started or connected to it
            leaves again when the scorer is closed.
        cpus_per_worker: cores, and threads, of each worker.
        restarts: how often each worker may die and be made anew.

    Raises:
        ValueError: a number out of range.
    """

    workers: int = 2
    address: str | None = None
    cpus_per_worker: int = 1
    restarts: int = 3

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("cpus_per_worker", 1), ("restarts", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be at least {least}. Received: {name}={value!r}. Use a count.")

    def bench(
        self, masked: MaskedModel, validation: Validation, order: NDArray[np.int64], *, batch_size: int
    ) -> "RayBench":
        """Start workers and give them the model and the samples.

        Args:
            masked: the model, whose weights must stay as they are; it is not changed.
            validation: samples, targets and score.
            order: indices of all samples in the order of the batches, shape (samples,).
            batch_size: samples a batch.

        Raises:
            ImportError: Ray is not installed.
            ValueError: a model without masks, or more workers than the cluster has cores for.
        """
        return RayBench(self, masked, validation, order, batch_size=batch_size)

    def connect(self) -> bool:
        """Connect to a cluster or start one; False if this process is connected already.

        Raises:
            ImportError: Ray is not installed.
            ValueError: a worker that would have more cores than this machine.
        """
        if find_spec("ray") is None:
            raise ImportError(
                "executor='ray' needs Ray. Received: an environment without it. Use pip install 'tf-structprune[ray]'."
            )
        import ray

        if ray.is_initialized():
            return False
        address = self.address or os.environ.get("RAY_ADDRESS")
        present = os.cpu_count() or 1
        if not address and self.cpus_per_worker > present:
            raise ValueError(
                f"A worker here would have more cores than this machine. Received: cpus_per_worker="
                f"{self.cpus_per_worker} on {present} cores. Use fewer, or the address of a cluster."
            )
        cores = None if address else self.workers * self.cpus_per_worker
        dashboard = None if address else False
        with warnings.catch_warnings():
            # JAX warns of every fork; Ray's processes run another program right behind theirs.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address or "local", num_cpus=cores, include_dashboard=dashboard, log_to_driver=False)
        return True

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the workers' processes: the driver's backend, and as many threads as cores."""
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC")
        return {"KERAS_BACKEND": keras.backend.backend()} | dict.fromkeys(names, str(self.cpus_per_worker))


class RayBench:
    """A `Bench` whose batches are on the workers; decisions and targets of whole outputs stay here.

    A batch has parts of equal size, so that several workers have something to do in the first look of a race. Part
    number i of all is on worker i modulo the number of workers.

    Args:
        executor: how many workers, and where.
        masked: the model.
        validation: samples, targets and score.
        order: indices of all samples in the order of the batches, shape (samples,).
        batch_size: samples a batch.
    """

    def __init__(
        self,
        executor: RayExecutor,
        masked: MaskedModel,
        validation: Validation,
        order: NDArray[np.int64],
        *,
        batch_size: int,
    ) -> None:
        self._rounds = Rounds(masked)
        self._validation = validation
        batch_size = even_size(batch_size)
        self._batches = in_batches(order, batch_size)
        self._parts_each = parts_of_batch(batch_size, executor.workers)
        self._parts = in_batches(order, batch_size // self._parts_each)
        self._rows: dict[bytes, int] = {}
        self._number, self._sent = -1, list[Any]()
        self._crew: Crew | None = None
        self._owner = executor.connect()
        try:
            self._crew = self._hired(executor, masked, batch_size // self._parts_each)
            self._crew.call("load", dict.fromkeys(range(len(self._crew)), ()))
        except BaseException:
            self.close()
            raise

    def change(self, candidate: MaskSet) -> Change:
        """A candidate on top of the masks that the model has."""
        return self._rounds.change(candidate)

    def begin(self, changes: Sequence[Change]) -> None:
        """Send a round of candidates to all workers, with what is decided for it."""
        import ray

        self._rows = {change.key: row for row, change in enumerate(changes)}
        self._number += 1
        self._sent = [ray.put(Candidates(self._rounds.next(changes), tuple(change.masks for change in changes)))]

    def values(self, changes: Sequence[Change], batches: Sequence[int]) -> NDArray[np.float64]:
        """Scores of some candidates of the round, shape (candidates, samples of the batches)."""
        crew, each = self._workers(), self._parts_each
        parts = [part for at in batches for part in range(len(self._parts))[at * each : (at + 1) * each]]
        own = {number: [part for part in parts if part % len(crew) == number] for number in range(len(crew))}
        in_shard = {number: [part // len(crew) for part in mine] for number, mine in own.items() if mine}
        asked = self._asked(changes)
        found = crew.call("values", {number: (*asked, mine) for number, mine in in_shard.items()})
        columns = dict[int, NDArray[np.float64]]()
        for number, values in found.items():
            edges = np.cumsum([len(self._parts[part]) for part in own[number]])[:-1]
            columns.update(zip(own[number], np.split(values, edges, axis=1), strict=True))
        return np.concatenate([columns[part] for part in parts], axis=1)

    def outputs(self, changes: Sequence[Change]) -> list[Any]:
        """Outputs of some candidates on all samples, in the order of the samples as they were given."""
        crew = self._workers()
        found = crew.call("outputs", {number: self._asked(changes) for number in range(len(crew))})
        back = np.argsort(np.concatenate([self._indices(number, len(crew)) for number in range(len(crew))]))
        rows = zip(*(found[number] for number in range(len(crew))), strict=True)
        return [keras.tree.map_structure(lambda *parts: np.concatenate(parts)[back], *row) for row in rows]

    @property
    def sizes(self) -> list[int]:
        """Samples of each batch."""
        return [len(indices) for indices in self._batches]

    def score_of(self, outputs: Any) -> float:
        """Score of outputs on all samples."""
        return self._validation.score(self._validation.y, outputs)

    @property
    def by_sample(self) -> bool:
        """Whether `values` can be had."""
        return self._validation.score.by_sample

    @property
    def workers(self) -> list[Any]:
        """The Ray actors."""
        return self._workers().actors

    def close(self) -> None:
        """End the workers, and Ray itself if it was started for them."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None
        if self._owner:
            import ray

            ray.shutdown()
            self._owner = False

    def _hired(self, executor: RayExecutor, masked: MaskedModel, part_size: int) -> Crew:
        """Workers with their shards, which wait in Ray's object store."""
        import ray

        # Where samples have no score by themselves, workers give outputs, and whatever score they have is not asked.
        score = self._validation.score if self.by_sample else as_score("mcr")
        cargo = ray.put(pack(masked.model, score, part_size))
        inputs = self._validation.inputs(masked.model)
        count = min(executor.workers, len(self._parts))
        stocks = [[cargo, ray.put(self._shard(inputs, self._indices(number, count)))] for number in range(count)]
        return Crew(stocks, cpus=executor.cpus_per_worker, restarts=executor.restarts, environment=executor.environment)

    def _shard(self, inputs: list[NDArray[Any]], indices: NDArray[np.int64]) -> Shard:
        targets = keras.tree.map_structure(lambda array: array[indices], self._validation.y) if self.by_sample else None
        return Shard([array[indices] for array in inputs], targets)

    def _indices(self, number: int, workers: int) -> NDArray[np.int64]:
        """Samples of one worker."""
        return np.concatenate(self._parts[number::workers])

    def _asked(self, changes: Sequence[Change]) -> tuple[int, list[Any], list[int]]:
        """The round and which of its candidates are meant, as workers take them."""
        return self._number, self._sent, [self._rows[change.key] for change in changes]

    def _workers(self) -> Crew:
        if self._crew is None:
            raise RuntimeError("The workers are gone. Received: a call after close(). Make a new scorer.")
        return self._crew


def parts_of_batch(batch_size: int, workers: int) -> int:
    """In how many parts of equal size a batch goes to the workers."""
    return max(parts for parts in range(1, min(workers, _MOST_PARTS) + 1) if batch_size % parts == 0)
