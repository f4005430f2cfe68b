"""The learning rate of a retraining by a range test (Smith 2017, arXiv 1506.01186, section 3.3)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

STEPS = 100
LEAST, MOST = 1e-5, 1.0
_MEMORY = 0.9  # of the running mean of losses
_DIVERGED = 4.0  # times the least loss so far


def range_test(
    trained: keras.Model,
    batches: keras.utils.PyDataset,
    optimizer: Callable[[Any], keras.optimizers.Optimizer] = keras.optimizers.Adam,
    **compiled: Any,
) -> float:
    """The rate at which the loss is least while the rate grows from step to step; beyond it the loss rises.

    From it the rate can fall: it is the upper one of the paper. The model is trained for at most 100 steps and then
    gets back what it had; it is compiled anew.

    Args:
        trained: what is going to be trained.
        batches: what with.
        optimizer: makes the optimizer from a schedule of the rate.
        **compiled: what `trained` is compiled with, but for the optimizer.

    Returns:
        A rate from 0.00001 to 1.
    """
    held = [(variable, keras.ops.convert_to_numpy(variable)) for variable in trained.variables]
    rates = np.geomspace(LEAST, MOST, STEPS)
    rate = keras.optimizers.schedules.ExponentialDecay(LEAST, STEPS - 1, MOST / LEAST)
    trained.compile(optimizer(rate), **compiled)
    trained.optimizer.build(trained.trainable_variables)
    losses = _Losses()
    trained.fit(_Rounds(batches), epochs=1, shuffle=False, callbacks=[losses], verbose=0)
    for variable, value in held:
        variable.assign(value)
    return chosen_rate(losses.found, rates)


def chosen_rate(losses: Sequence[float], rates: NDArray[np.float64]) -> float:
    """The rate that the losses of a range test speak for.

    Args:
        losses: of the steps that were made, perhaps fewer than rates; the last one need not be finite.
        rates: of all steps, rising.
    """
    means, mean = [], 0.0
    for step, loss in enumerate(losses, 1):
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        means.append(mean / (1 - _MEMORY**step) if math.isfinite(mean) else math.inf)
    return float(rates[int(np.argmin(means))])


class _Losses(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """The loss of each batch, to the end or until it diverges."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras tells means of all batches since the last reset."""
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the loss."""
        loss = float((logs or {})["loss"])
        self.found.append(loss)
        if not loss <= _DIVERGED * min(self.found):  # also refuses NaN
            self.model.stop_training = True


class _Rounds(keras.utils.PyDataset):  # type: ignore[misc]  # Keras is untyped
    """As many batches as the test has steps, from the first one again behind the last."""

    def __init__(self, batches: keras.utils.PyDataset) -> None:
        super().__init__()
        self._batches = batches

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> Any:
        return self._batches[index % len(self._batches)]
