"""Room 2: a Keras model to the bytes of a float32 or full-integer int8 `.tflite` file."""

from tflite_export.quantize._convert import Quantize as Quantize
from tflite_export.quantize._convert import convert as convert
from tflite_export.quantize._float32 import call_model as call_model
from tflite_export.quantize._float32 import float32_model as float32_model
from tflite_export.quantize._samples import check_samples as check_samples
