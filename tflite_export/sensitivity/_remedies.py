"""What mends a layer of an int8 file, in words."""

from typing import Literal, get_args

Remedy = Literal["", "equalize", "normalize", "per channel", "calibrate", "clip", "int16x8"]
"""What mends a layer, see `REMEDIES`; "" for a layer that needs nothing."""
REMEDY_NAMES = get_args(Remedy)
REMEDIES: dict[Remedy, str] = {
    "equalize": "channels of very different ranges share one step: equalize them "
    "(tflite_export.quantize.equalize; compress tries it by itself)",
    "normalize": "features of very different ranges share one step: bring them to one range before the model",
    "per channel": "weights of very different ranges share one step: give each channel its own (quantize=FixedPoint(8, "
    "8, power_of_two=False, per_channel=True))",
    "calibrate": "values lie outside the range that was measured: give more representative samples",
    "clip": "few outliers take most of the range: fit it by least squares (quantize=FixedPoint(8, 8, "
    "power_of_two=False, per_channel=True))",
    "int16x8": "its range is well used and 8 bits are too few: keep it in 16x8 (quantize='int16x8'), or train in 8 "
    "bits (FixedPointTraining)",
}
"""Each remedy in words."""
