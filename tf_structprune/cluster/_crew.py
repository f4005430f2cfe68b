"""Ray actors that are called together; one that dies is made anew and called again."""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from tf_structprune.cluster._worker import Worker


class Crew:
    """One actor for each stock.

    Args:
        stocks: what each worker is made with.
        cpus: cores of each worker.
        restarts: how often each worker may be made anew.
        environment: variables of the workers' processes.

    Raises:
        ValueError: the cluster has fewer cores.
    """

    def __init__(
        self, stocks: Sequence[Sequence[Any]], *, cpus: int, restarts: int, environment: Mapping[str, str]
    ) -> None:
        self._stocks, self._cpus, self._restarts = stocks, cpus, restarts
        self._environment = dict(environment)
        self._deaths = [0] * len(stocks)
        if not self._fits():
            raise ValueError(
                f"Ray would wait forever for cores. Received: workers={len(stocks)}, cpus_per_worker={cpus} on a "
                f"cluster of {_cluster_cpus():g} CPUs. Use fewer workers, or add machines first."
            )
        self.actors = [self._make(number) for number in range(len(stocks))]

    def __len__(self) -> int:
        return len(self._stocks)

    def call(self, method: str, arguments: Mapping[int, Sequence[Any]]) -> dict[int, Any]:
        """Call a method of some workers at the same time.

        Args:
            method: its name.
            arguments: by number of the worker.

        Returns:
            What each returned, by number.

        Raises:
            RuntimeError: a worker died more often than it may be made anew.
        """
        import ray

        waiting = {self._send(number, method, given): number for number, given in arguments.items()}
        found: dict[int, Any] = {}
        while waiting:
            (done,), _ = ray.wait(list(waiting))
            number = waiting.pop(done)
            try:
                found[number] = ray.get(done)
            except _death_errors() as error:
                self._replace(number, error)
                waiting[self._send(number, method, arguments[number])] = number
        return found

    def close(self) -> None:
        """End the workers."""
        import ray

        for actor in self.actors if ray.is_initialized() else ():  # else they went with their cluster
            ray.kill(actor, no_restart=True)

    def _send(self, number: int, method: str, arguments: Sequence[Any]) -> Any:
        return getattr(self.actors[number], method).remote(*arguments)

    def _replace(self, number: int, error: Exception) -> None:
        import ray

        self._deaths[number] += 1
        ray.kill(self.actors[number], no_restart=True)  # it may only be out of reach
        if self._deaths[number] > self._restarts:
            raise RuntimeError(
                f"Ray worker {number + 1} of {len(self)} died again. Received: {self._deaths[number]} deaths with "
                f"restarts={self._restarts}, the last one: {error}. Look into Ray's logs; if it ran out of memory, "
                "use fewer workers on a machine or fewer samples."
            ) from error
        logging.warning("Ray worker %d of %d died and is made anew: %s", number + 1, len(self), error)
        self.actors[number] = self._make(number)

    def _make(self, number: int) -> Any:
        import ray

        # Where a machine was lost, its workers share the cores that are left: better than to wait for another machine.
        cpus = self._cpus if self._fits() else 0
        kind = ray.remote(Worker).options(num_cpus=cpus, runtime_env={"env_vars": self._environment})
        return kind.remote(self._stocks[number])

    def _fits(self) -> bool:
        return _cluster_cpus() >= len(self) * self._cpus


def _cluster_cpus() -> float:
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get("CPU", 0.0)


def _death_errors() -> tuple[type[Exception], ...]:
    """What `ray.get` raises when a worker, or the machine that it ran on, is gone."""
    from ray import exceptions

    return (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.OutOfMemoryError,
        exceptions.ObjectLostError,
    )
