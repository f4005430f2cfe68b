"""Where `.tflite` files run and are measured: this machine, and what else is given as a value."""

from tflite_export.devices._device import HOST as HOST
from tflite_export.devices._device import Device as Device
from tflite_export.devices._device import Host as Host
