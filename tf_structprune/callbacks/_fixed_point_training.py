"""The callback that retrains a model in fixed point."""

from typing import Any

import keras
from absl import logging

from tf_structprune.callbacks._student import check_regularized, student_of
from tf_structprune.layers import build_optimizer, quantized_layers, signal_quantizers
from tf_structprune.stages import calibrate_signals, calibrate_weights, check_finite, check_fixed_point


class FixedPointTraining(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Round weights, then signals, of a model from `to_fixed_point` while it trains.

    When training begins the weights are put on the grids with the least squared error; `fit` then updates the
    float weights through the rounded ones (Anwar, Hwang, Sung, ICASSP 2015; Sung et al., arXiv 1511.06488). At
    the beginning of epoch `signal_epoch` the signals follow, on the grids that suit them with the weights as
    they are by then. Grids that the model has already, from `calibrate` or an earlier `fit`, are kept, so an
    interrupted training goes on where it stopped.

    It works together with `StructuredPruning` on `wrap(to_fixed_point(model, recipe))`: what is removed is
    zero, and zero is on every grid. Put it behind `StructuredPruning` in the list of callbacks.

    Figures in `logs`: `fixed_point_weights` and `fixed_point_signals`, the shares of the layers and of the
    signals that are rounded.

    Args:
        calibration_data: samples as the model takes them, an array or a list or dictionary of arrays; some hundred of
            the training data.
        signal_epoch: epoch, from 0, at whose beginning the signals are rounded too.
        refit_epochs: fit the weights' steps anew at the beginning of each of the first so many epochs. It follows
            the weights while they still change a lot, under a high learning rate or while `StructuredPruning`
            prunes; late in the training the best step can jump, and the accuracy with it.

    Raises:
        ValueError: no samples, values that are not finite, or an epoch below 0.
    """

    def __init__(self, *, calibration_data: Any, signal_epoch: int = 1, refit_epochs: int = 0) -> None:
        super().__init__()
        check_finite(calibration_data)
        self.calibration_data = calibration_data
        if signal_epoch < 0:
            raise ValueError(f"signal_epoch must be 0 or more. Received: signal_epoch={signal_epoch}.")
        if refit_epochs < 0:
            raise ValueError(f"refit_epochs must be 0 or more. Received: refit_epochs={refit_epochs}.")
        self.signal_epoch = signal_epoch
        self.refit_epochs = refit_epochs

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Round the weights."""
        build_optimizer(self.model)
        check_fixed_point(self._student)
        if any(layer.entropy for layer in quantized_layers(self._student).values()):
            check_regularized(self.model, "The entropy of the words")
        self._round_weights()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Fit the weights' steps, and round the signals when it is time."""
        self._round_weights(again=epoch < self.refit_epochs)
        if epoch >= self.signal_epoch and self._rounded_signals() != 1:
            calibrate_signals(self._student, self.calibration_data)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the figures in `logs`."""
        if logs is not None:
            logs["fixed_point_weights"] = self._rounded_weights()
            logs["fixed_point_signals"] = self._rounded_signals()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave no weight and no signal in float."""
        self._round_weights()
        if self._rounded_signals() != 1:
            calibrate_signals(self._student, self.calibration_data)
            logging.warning(
                "Training ended before epoch %d: the signals were rounded only now, without retraining. Train "
                "longer, or use a smaller signal_epoch.",
                self.signal_epoch,
            )

    @property
    def _student(self) -> keras.Model:
        """The model with the quantizers."""
        return student_of(self.model)

    def _round_weights(self, *, again: bool = False) -> None:
        """Fit the weights' steps where there are none, as after `StructuredPruning` rolled back to the beginning."""
        if again or self._rounded_weights() != 1:
            calibrate_weights(self._student)

    def _rounded_weights(self) -> float:
        return _share([layer.calibrated for layer in quantized_layers(self._student).values()])

    def _rounded_signals(self) -> float:
        return _share([layer.calibrated for layer in signal_quantizers(self._student).values()])


def _share(values: list[bool]) -> float:
    """Fraction that is true; 1 of none."""
    return sum(values) / len(values) if values else 1.0
