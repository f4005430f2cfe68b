"""What an export is made from: a float model, and the model in fixed point where there is one."""

from dataclasses import dataclass
from typing import Any, cast

import keras

from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import is_fixed_point, is_masked, is_shared, to_fixed_point, unshare
from tf_structprune.shrink import ShrunkModel, shrink
from tf_structprune.stages import calibrate
from tflite_export.quantize import Quantize, float_form


@dataclass(frozen=True)
class Source:
    """The models of one export.

    Attributes:
        plain: the float model, to which the float file is held.
        fixed: the model with grids for weights and signals, from which the integer file is made; None for
            TensorFlow's own int8 quantization, or none.
        quantize: what was asked for, "fixed" or a format of `quantize.Quantize`, after which files are named. With a
            `fixed` beside it, "int8" has grids that suit better than TensorFlow's.
        given: the model that was given, to which the integer file is held.
    """

    plain: keras.Model
    fixed: keras.Model | None
    quantize: str
    given: keras.Model

    @property
    def number_format(self) -> Quantize:
        """What TensorFlow's converter is asked for where there are no grids."""
        return cast(Quantize, "int8" if self.quantize == "fixed" else self.quantize)

    @property
    def keras_model(self) -> keras.Model:
        """The model that is saved beside the files."""
        return self.plain if self.fixed is None else self.fixed


def source_of(model: keras.Model, quantize: Quantize | FixedPoint, calibration_data: Any) -> Source:
    """The models to export.

    Args:
        model: a Keras model, plain or in fixed point.
        quantize: see `ExportSettings`.
        calibration_data: samples that set the grids of signals, where a recipe is given.

    Raises:
        ValueError: a recipe for a model that is in fixed point already, or a model that has no fixed-point form.
    """
    if is_fixed_point(model):
        if isinstance(quantize, FixedPoint):
            raise ValueError(
                f"Model '{model.name}' is in fixed point already, with grids of its own. Received: a recipe beside "
                "it. Leave quantize out, or give the float model."
            )
        plain = float_form(model)
        return Source(plain, None, "none", plain) if quantize == "none" else Source(plain, model, "fixed", model)
    if not isinstance(quantize, FixedPoint):
        return Source(model, None, quantize, model)
    fixed = to_fixed_point(model, quantize)
    calibrate(fixed, calibration_data)
    return Source(model, fixed, "fixed", model)


def keras_model_of(model: keras.Model | ShrunkModel) -> keras.Model:
    """The model without masks, and with its shared values in the kernels.

    Raises:
        TypeError: not a Keras model.
    """
    plain = model.model if isinstance(model, ShrunkModel) else model
    if not isinstance(plain, keras.Model):
        raise TypeError(
            f"model must be a keras.Model or what shrink made. Received: {type(model).__name__}. Load "
            "a file with keras.models.load_model first."
        )
    if is_shared(plain):
        return unshare(plain)
    return shrink(plain).model if is_masked(plain) else plain
