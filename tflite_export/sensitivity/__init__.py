"""Which layers lose what in the int8 file of a model, and what mends them."""

from tflite_export.sensitivity._measure import int8_sensitivity as int8_sensitivity
from tflite_export.sensitivity._remedies import REMEDIES as REMEDIES
from tflite_export.sensitivity._report import Int8Layer as Int8Layer
from tflite_export.sensitivity._report import Int8Sensitivity as Int8Sensitivity
