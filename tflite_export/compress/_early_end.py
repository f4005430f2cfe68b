"""The end of a retraining that is good enough."""

from typing import Any

import keras

from tf_structprune.callbacks import student_of
from tf_structprune.stages import Judge

_SHARE = 0.5  # of the tolerance; the other half is left for the integer file


class EarlyEnd(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Ends with the first epoch after which at most half of the tolerance is lost.

    Args:
        judge: of the run.
    """

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Judge it."""
        if self.judge.score(student_of(self.model)) >= self.judge.given - _SHARE * self.judge.tolerance:
            self.model.stop_training = True
