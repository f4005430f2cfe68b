"""Ranges and biases with which an int8 file errs least."""

from tflite_export.calibrate._calibrate import Calibrated as Calibrated
from tflite_export.calibrate._calibrate import calibrate as calibrate
