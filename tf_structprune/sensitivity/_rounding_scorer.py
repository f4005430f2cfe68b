"""The float model with one thing rounded at a time."""

from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.fixed_point import FixedPoint
from tf_structprune.graph import kernel_variable
from tf_structprune.layers import QuantizedLayer, SignalQuantizer, quantized_layers, signal_quantizers, to_fixed_point
from tf_structprune.sensitivity._roundings import Rounding
from tf_structprune.stages import fit_signals, sample_signals
from tf_structprune.task import Samples, Validation


class RoundingScorer:
    """Scores a model in float but for one rounding.

    Two copies of the model are run: one without quantizers, in which a kernel is replaced by its rounded one, and
    one whose signals have quantizers, all of them off but those of the rounding. So the backend compiles two models
    and not one for each word length; the copies with each word length only fit steps.

    Args:
        model: the plain model; it is not changed.
        validation: what is scored.
        samples: what signals are calibrated with.
        power_of_two: whether steps are powers of two.
        per_channel: whether each output channel has a weight step of its own.
    """

    def __init__(
        self,
        model: keras.Model,
        validation: Validation,
        samples: Samples,
        *,
        power_of_two: bool,
        per_channel: bool,
    ) -> None:
        self.model, self.validation, self.samples = model, validation, samples
        self.power_of_two, self.per_channel = power_of_two, per_channel
        self._fitted: dict[tuple[str, int], dict[str, Any]] = {}

    def score(self, rounding: Rounding, bits: int) -> float:
        """Score with one rounding in words of so many bits."""
        return self._score_weights(rounding, bits) if rounding.part == "weights" else self._score_signal(rounding, bits)

    @cached_property
    def float_score(self) -> float:
        """Score with nothing rounded."""
        return self.validation.of(self._plain)

    @cached_property
    def _plain(self) -> keras.Model:
        return self._copy(None, None)

    @cached_property
    def _with_signals(self) -> keras.Model:
        return self._copy(None, 8)

    @cached_property
    def _seen(self) -> dict[str, NDArray[np.float32]]:
        """Samples of all signals in float."""
        return sample_signals(self._with_signals, list(signal_quantizers(self._with_signals)), self.samples)

    def _copy(self, weight_bits: int | None, signal_bits: int | None) -> keras.Model:
        return to_fixed_point(self.model, FixedPoint(weight_bits, signal_bits, self.power_of_two, self.per_channel))

    def _score_weights(self, rounding: Rounding, bits: int) -> float:
        (name,) = rounding.quantizers
        layer: QuantizedLayer = self._quantizers("weights", bits)[name]
        layer.set_calibration(layer.fit())
        rounded = np.asarray(keras.ops.convert_to_numpy(layer.effective_kernel()))
        kernel = kernel_variable(self._plain.get_layer(name))
        held = np.array(keras.ops.convert_to_numpy(kernel))
        if np.array_equal(rounded, held):
            return self.float_score
        kernel.assign(rounded)
        try:
            return self.validation.of(self._plain)
        finally:
            kernel.assign(held)

    def _score_signal(self, rounding: Rounding, bits: int) -> float:
        fitted: dict[str, SignalQuantizer] = self._quantizers("signal", bits)
        fit_signals([fitted[name] for name in rounding.quantizers], self._seen)
        shown = signal_quantizers(self._with_signals)
        for name in rounding.quantizers:
            shown[name].set_calibration(fitted[name].calibration())
        try:
            return self.validation.of(self._with_signals)
        finally:
            for name in rounding.quantizers:
                shown[name].set_calibration(0)

    def _quantizers(self, part: str, bits: int) -> dict[str, Any]:
        """The quantizers of a word length; those of the last one that was asked for are kept."""
        if (part, bits) not in self._fitted:
            copy = self._copy(bits, None) if part == "weights" else self._copy(None, bits)
            found: dict[str, Any] = quantized_layers(copy) if part == "weights" else signal_quantizers(copy)
            self._fitted = {(part, bits): found}
        return self._fitted[part, bits]
