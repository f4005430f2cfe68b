"""Keras model to `.tflite` bytes, by TensorFlow's converter."""

import contextlib
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, get_args

import keras
import tensorflow as tf
from numpy.typing import NDArray

from tf_structprune.task import Samples, output_names
from tflite_export.file import TFLiteFile, identifiers, order_ends
from tflite_export.quantize._float32 import call_model, float32_model
from tflite_export.quantize._quiet import quiet
from tflite_export.quantize._samples import check_samples, model_inputs_of
from tflite_export.quantize._unrolled import unrolled

Quantize = Literal["none", "int8", "int16x8", "dynamic", "float16"]
"""Number format of a file: "none" is float32; "int8" and, with signals of 16 bits, "int16x8" are full integer, input
and output included; "dynamic" has int8 weights and "float16" halved ones, and both take and give float32."""

FORMATS = get_args(Quantize)
CALIBRATED = ("int8", "int16x8")  # formats whose signals have ranges

_SIGNALS = {"int8": tf.int8, "int16x8": tf.int16}
_OPERATORS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
_UNSUPPORTED = re.compile(r"error: '(tf\.\w+)' op is neither")


def convert(model: keras.Model, *, quantize: Quantize = "none", representative_data: Any = None) -> bytes:
    """Converts a Keras model to a `.tflite` file of batch size 1.

    The same model and data give the same bytes. A model in mixed precision is converted as its float32
    copy, one with recurrent layers step by step. The caller's model is not changed.

    Args:
        model: a built Sequential or functional model, with any number of inputs and outputs.
        quantize: number format, see `Quantize`.
        representative_data: real samples that set the ranges of the signals, see `check_samples`; needed for "int8" and
            "int16x8", some hundred are enough.

    Returns:
        The file; its inputs and outputs stand in the order of the model's.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        TypeError: not a Keras model, or data that are not numbers.
        ValueError: wrong argument or data, or a model that TFLite's builtin operators cannot express.
    """
    check_backend()
    if quantize not in FORMATS:
        raise ValueError(f"quantize must be one of {', '.join(map(repr, FORMATS))}. Received: quantize={quantize!r}.")
    model_inputs_of(model)
    samples = None
    if quantize in CALIBRATED:
        if representative_data is None:
            raise ValueError(
                f"quantize={quantize!r} needs representative_data. Received: None. Pass some hundred training samples."
            )
        samples = check_samples(representative_data, model, name="representative_data")
    return converted(unrolled(float32_model(model)), samples, quantize=quantize)


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
    with _collected():
        return _converted(model, samples, quantize)


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


def _converted(model: keras.Model, samples: Samples | None, quantize: Quantize) -> bytes:
    names = _Names.of(model)
    with quiet():
        module = _serving_module(model, names)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module)
        if samples is not None:
            converter.representative_dataset = lambda: _batches_of_one(samples, names)
            converter.target_spec.supported_ops = [_OPERATORS[quantize]]
        if quantize != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantize in CALIBRATED:
            converter.inference_input_type = converter.inference_output_type = _SIGNALS[quantize]
        try:
            return _in_order(bytes(converter.convert()), names)
        except Exception as error:  # the converter's own class, RuntimeError and ValueError, by phase
            raise ValueError(
                f"Model '{model.name}': TFLite's builtin operators cannot express it. Received: "
                f"{_reason(error)}. Replace the layer that needs it."
            ) from error


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


def _serving_module(model: keras.Model, names: _Names) -> tf.Module:
    """The model's inference at batch size 1, which TFLM needs, with the variables that it reads."""
    wanted = zip(model_inputs_of(model), names.inputs, strict=True)
    signature = [tf.TensorSpec((1, *each.shape), each.dtype, name=name) for each, name in wanted]
    module = tf.Module()
    module.serve = tf.function(lambda *samples: _called(model, samples, names), input_signature=signature)
    # Without these references the converter takes the weights for variables that change.
    module.variables_read = [variable.value for variable in model.variables]
    return module


def _called(model: keras.Model, samples: tuple[Any, ...], names: _Names) -> Any:
    outputs = call_model(model, samples)
    return dict(zip(names.outputs, outputs, strict=True)) if names.outputs else outputs[0]


def _batches_of_one(samples: Samples, names: _Names) -> Iterator[dict[str, NDArray[Any]] | list[NDArray[Any]]]:
    for index in range(len(samples)):
        arrays = samples[index : index + 1].arrays
        yield dict(zip(names.inputs, arrays, strict=True)) if len(arrays) > 1 else list(arrays)


def _in_order(data: bytes, names: _Names) -> bytes:
    """The file with its inputs and outputs in the order of the model's: the converter has one of its own."""
    if not names.several:
        return data
    return TFLiteFile(data).edited(partial(order_ends, inputs=names.inputs, outputs=names.outputs)).data


def _reason(error: Exception) -> str:
    """The operators that the converter named, or its first line; the rest is a dump of the graph."""
    operators = sorted(set(_UNSUPPORTED.findall(str(error))))
    return ", ".join(operators) or str(error).strip().partition("\n")[0] or type(error).__name__
