"""Where `.tflite` files run and are measured: this machine, and what else is given as a value."""

from tflite_export.devices._device import Device as Device
from tflite_export.devices._device import MeasuringDevice as MeasuringDevice
from tflite_export.devices._host import HOST as HOST
from tflite_export.devices._host import Host as Host
from tflite_export.devices._measurement import Measurement as Measurement
from tflite_export.devices._measurement import OperatorTime as OperatorTime
from tflite_export.devices._measurement import operator_times as operator_times
