"""Where candidates are run, by name."""

from typing import Any

from tf_structprune.cluster._ray import RayExecutor
from tf_structprune.scoring import Executor, LocalExecutor

LOCAL = "local"
EXECUTORS: dict[str, type[LocalExecutor] | type[RayExecutor]] = {LOCAL: LocalExecutor, "ray": RayExecutor}


def as_executor(executor: Any) -> Executor:
    """An executor by its name, or as it is.

    Raises:
        ValueError: it is unknown.
    """
    if isinstance(executor, str) and executor in EXECUTORS:
        return EXECUTORS[executor]()
    if not hasattr(executor, "bench"):
        raise ValueError(f"Unknown executor. Received: executor={executor!r}. Use 'local' or 'ray'.")
    found: Executor = executor
    return found
