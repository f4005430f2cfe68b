"""Keras model to `.tflite` bytes, by TensorFlow's converter."""

import contextlib
import gc
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, get_args

import keras
import numpy as np
import tensorflow as tf

from tf_structprune.task import Samples, output_names
from tflite_export.calibrate import calibrate
from tflite_export.child import CrashError, NativeError, native, prepare_native, refusal
from tflite_export.file import TFLiteFile, identifiers, operator_that, order_ends
from tflite_export.quantize._float32 import call_model, float32_model
from tflite_export.quantize._quiet import quiet
from tflite_export.quantize._samples import check_samples, model_inputs_of
from tflite_export.quantize._unrolled import unrolled

Quantize = Literal["none", "int8", "int16x8", "dynamic", "float16"]
"""Number format of a file: "none" is float32; "int8" and, with signals of 16 bits, "int16x8" are full integer, input
and output included; "dynamic" has int8 weights and "float16" halved ones, and both take and give float32."""

FORMATS = get_args(Quantize)
CALIBRATED = ("int8", "int16x8")  # formats whose signals have ranges

Calibration = Literal["mse", "minmax"]
"""What the ranges of integer signals are made from: "mse", the ranges and biases with which the file errs least on the
samples, see `tflite_export.calibrate`; "minmax", the least and the largest value, as TensorFlow's converter has it."""

_UNSUPPORTED = re.compile(r"'(tf\.\w+)' op is neither")


def convert(
    model: keras.Model,
    *,
    quantize: Quantize = "none",
    representative_data: Any = None,
    calibration: Calibration = "minmax",
) -> bytes:
    """Converts a Keras model to a `.tflite` file of batch size 1.

    The same model and data give the same bytes. A model in mixed precision is converted as its float32
    copy, one with recurrent layers step by step. The caller's model is not changed.

    Args:
        model: a built Sequential or functional model, with any number of inputs and outputs.
        quantize: number format, see `Quantize`.
        representative_data: real samples that set the ranges of the signals, see `check_samples`; needed for "int8" and
            "int16x8", some hundred are enough.
        calibration: what the ranges of signals are made from, see `Calibration`; of formats without ranges it is not
            looked at.

    Returns:
        The file; its inputs and outputs stand in the order of the model's.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        TypeError: not a Keras model, or data that are not numbers.
        ValueError: wrong argument or data, or a model that TFLite's builtin operators cannot express.
    """
    samples = _checked(model, quantize, representative_data, calibration)
    with _opened(model) as saved:
        return saved.made(quantize, samples, calibration)


def convert_both(
    model: keras.Model,
    *,
    quantize: Quantize,
    representative_data: Any = None,
    calibration: Calibration = "minmax",
) -> tuple[bytes, bytes]:
    """The float32 file of a model and that of another format, the same bytes as from `convert`, in less time.

    TensorFlow reads the model once for both, which takes as long as to convert it, and calibration does not ask for a
    float file of its own.

    Args:
        model: see `convert`.
        quantize: the other format.
        representative_data: see `convert`.
        calibration: see `convert`.

    Returns:
        The float32 file and the other one.

    Raises:
        RuntimeError, TypeError, ValueError: as `convert`.
    """
    samples = _checked(model, quantize, representative_data, calibration)
    with _opened(model) as saved:
        floats = saved.file("none")
        return floats, saved.made(quantize, samples, calibration, floats)


def _checked(model: keras.Model, quantize: str, representative_data: Any, calibration: str) -> Samples | None:
    """The samples that set the ranges of a format, if it has any.

    Raises:
        RuntimeError, TypeError, ValueError: see `convert`.
    """
    check_backend()
    if quantize not in FORMATS:
        raise ValueError(f"quantize must be one of {', '.join(map(repr, FORMATS))}. Received: quantize={quantize!r}.")
    check_calibration(calibration)
    inputs = model_inputs_of(model)
    if quantize == "int16x8" and (whole := [each.name for each in inputs if "int" in str(each.dtype)]):
        raise ValueError(
            "quantize='int16x8' takes no integers such as tokens: TensorFlow's converter asks for a range of them. "
            f"Received: inputs {', '.join(map(repr, whole))} of model '{model.name}'. Use quantize='int8'."
        )
    if quantize not in CALIBRATED:
        return None
    if representative_data is None:
        raise ValueError(
            f"quantize={quantize!r} needs representative_data. Received: None. Pass some hundred training samples."
        )
    return check_samples(representative_data, model, name="representative_data")


def check_calibration(calibration: str) -> None:
    """Refuses another word than those of `Calibration`.

    Raises:
        ValueError: another one.
    """
    if calibration not in get_args(Calibration):
        told = " or ".join(map(repr, get_args(Calibration)))
        raise ValueError(f"calibration must be {told}. Received: calibration={calibration!r}.")


def check_backend() -> None:
    """Refuses backends that cannot convert.

    Raises:
        RuntimeError: Keras runs on another one than TensorFlow.
    """
    backend = keras.config.backend()
    if backend != "tensorflow":
        raise RuntimeError(
            f"TFLite conversion runs on Keras's TensorFlow backend. Received: KERAS_BACKEND={backend}. Save "
            "the model as .keras and export it in a process started with KERAS_BACKEND=tensorflow."
        )


def converted(model: keras.Model, samples: Samples | None = None, *, quantize: Quantize) -> bytes:
    """The file of a model that was checked.

    Args:
        model: a model in float32.
        samples: what sets the ranges of integer signals; None where there are none, or fake quantization in the model
            sets them.
        quantize: number format.

    Returns:
        The file.

    Raises:
        ValueError: a model that TFLite's builtin operators cannot express.
    """
    with _collected(), _saved(model) as saved:
        return saved.file(quantize, samples)


@contextlib.contextmanager
def _collected() -> Iterator[None]:
    """Frees what is made within the block: graphs and their variables hang in reference cycles.

    What is older is left alone, for to look at all that TensorFlow has imported takes half as long as to convert.
    """
    frozen = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if not frozen:
            gc.unfreeze()


@contextlib.contextmanager
def _opened(model: keras.Model) -> Iterator["_Saved"]:
    """`_saved` of the model in the form that TFLite can compute."""
    plain = unrolled(float32_model(model))
    with _collected(), _saved(plain) as saved:
        yield saved


@contextlib.contextmanager
def _saved(model: keras.Model) -> Iterator["_Saved"]:
    """The model as the converter reads it, for as long as the block lasts."""
    prepare_native()
    names = _Names.of(model)
    with tempfile.TemporaryDirectory() as folder:
        saved = os.path.join(folder, "saved_model")
        with quiet():
            _save(model, names, saved)
        yield _Saved(model.name, names, folder, saved)


def _written(samples: Samples, names: "_Names", folder: str) -> dict[str, str]:
    """Files of the samples by the names of the inputs, which the converter reads one by one."""
    paths = {name: os.path.join(folder, f"{name}.npy") for name in names.inputs}
    for path, array in zip(paths.values(), samples.arrays, strict=True):
        np.save(path, array)
    return paths


@dataclass(frozen=True)
class _Names:
    """Names of a model's inputs and outputs in the signature of its file, in the order of the model's.

    Attributes:
        inputs: of the inputs.
        outputs: of the outputs; the converter names a single one.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model) -> Self:
        """The names that the model gives them, as identifiers; a single one is the input."""
        inputs = [each.name for each in model_inputs_of(model)]
        outputs = output_names(model)
        return cls(
            identifiers(inputs) if len(inputs) > 1 else ("input",), identifiers(outputs) if len(outputs) > 1 else ()
        )

    @property
    def several(self) -> bool:
        """Whether there are several of either, whose order the converter does not keep."""
        return len(self.inputs) > 1 or len(self.outputs) > 1


@dataclass(frozen=True)
class _Saved:
    """A model as the converter reads it.

    Attributes:
        name: of the model.
        names: of its inputs and outputs.
        folder: where samples are put down.
        path: of the SavedModel.
    """

    name: str
    names: _Names
    folder: str
    path: str

    def made(
        self, quantize: Quantize, samples: Samples | None, calibration: Calibration, floats: bytes | None = None
    ) -> bytes:
        """The file in a number format, its ranges as they are asked for.

        Args:
            quantize: number format.
            samples: what sets the ranges; None where there are none.
            calibration: how they do.
            floats: the float32 file, where the caller has it.

        Raises:
            ValueError: TFLite's builtin operators cannot express the model.
        """
        data = self.file(quantize, samples)
        if samples is None or calibration == "minmax":
            return data
        floats = self.file("none") if floats is None else floats
        return calibrate(TFLiteFile(data), TFLiteFile(floats), samples).file.data

    def file(self, quantize: Quantize, samples: Samples | None = None) -> bytes:
        """The file in a number format, its ranges the converter's.

        Raises:
            ValueError: TFLite's builtin operators cannot express the model.
        """
        paths = _written(samples, self.names, self.folder) if samples is not None else {}
        try:
            with native() as ask:
                data: bytes = ask("convert", self.path, quantize, paths)
        except NativeError as error:
            raise ValueError(
                f"Model '{self.name}': TFLite's builtin operators cannot express it. Received: "
                f"{_reason(error, self.path, paths)}. Replace the layer that needs it."
            ) from error
        return _in_order(data, self.names)


def _save(model: keras.Model, names: _Names, folder: str) -> None:
    """Writes a SavedModel of the inference at batch size 1, which TFLM needs.

    Raises:
        ValueError: the model reads something that TensorFlow cannot save.
    """
    wanted = zip(model_inputs_of(model), names.inputs, strict=True)
    signature = [tf.TensorSpec((1, *each.shape), each.dtype, name=name) for each, name in wanted]
    module = tf.Module()
    module.serve = tf.function(lambda *samples: _called(model, samples, names), input_signature=signature)
    function = module.serve.get_concrete_function()
    module.variables_read = list(function.variables)  # those of layers, and of others that a Lambda found by itself
    try:
        tf.saved_model.save(module, folder, signatures={"serving_default": function})
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"Model '{model.name}': TensorFlow cannot save what it computes. Received: "
            f"{str(error).strip().partition(chr(10))[0]} Make what a Lambda reads an attribute of a layer."
        ) from error


def _called(model: keras.Model, samples: tuple[Any, ...], names: _Names) -> Any:
    outputs = call_model(model, samples)
    return dict(zip(names.outputs, outputs, strict=True)) if names.outputs else outputs[0]


def _in_order(data: bytes, names: _Names) -> bytes:
    """The file with its inputs and outputs in the order of the model's: the converter has one of its own."""
    if not names.several:
        return data
    return TFLiteFile(data).edited(partial(order_ends, inputs=names.inputs, outputs=names.outputs)).data


def _reason(error: NativeError, saved: str, samples: dict[str, str]) -> str:
    """The operators that the converter named, or its first line; the rest is a dump of the graph."""
    if isinstance(error, CrashError):
        return f"the converter {error}{_where_it_died(saved, samples)}"
    operators = sorted(set(_UNSUPPORTED.findall(str(error))))
    return ", ".join(operators) or str(error).strip().partition("\n")[0] or error.kind


def _where_it_died(saved: str, samples: dict[str, str]) -> str:
    """At which operator a crash happened that ended the process, where it was in a run of the float file."""
    if not samples:
        return ""
    try:
        with native() as ask:
            file = TFLiteFile(ask("convert", saved, "none", {}))
    except NativeError:
        return ""
    paths = list(samples.values())
    operator = operator_that(lambda part: isinstance(refusal(("calibrate", part.data, paths)), CrashError), file)
    return f" while it measured the ranges of signals, at {operator}" if operator else ""
