"""A Keras model to the bytes of a `.tflite` file, in floats or integers."""

from tflite_export.quantize._convert import CALIBRATED as CALIBRATED
from tflite_export.quantize._convert import FORMATS as FORMATS
from tflite_export.quantize._convert import Calibration as Calibration
from tflite_export.quantize._convert import Quantize as Quantize
from tflite_export.quantize._convert import check_calibration as check_calibration
from tflite_export.quantize._convert import convert as convert
from tflite_export.quantize._convert import convert_both as convert_both
from tflite_export.quantize._equalize import equalize as equalize
from tflite_export.quantize._files import FixedPointFiles as FixedPointFiles
from tflite_export.quantize._files import check_file as check_file
from tflite_export.quantize._files import fixed_point_files as fixed_point_files
from tflite_export.quantize._fixed_point import convert_fixed_point as convert_fixed_point
from tflite_export.quantize._fixed_point import float_form as float_form
from tflite_export.quantize._float32 import call_model as call_model
from tflite_export.quantize._float32 import float32_model as float32_model
from tflite_export.quantize._samples import check_samples as check_samples
