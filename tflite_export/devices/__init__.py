"""Where `.tflite` files run and are measured: this machine, a phone, and what else is given as a value."""

from tflite_export.devices._adb import DeviceError as DeviceError
from tflite_export.devices._android import Android as Android
from tflite_export.devices._android import Delegate as Delegate
from tflite_export.devices._cortex import BOARDS as BOARDS
from tflite_export.devices._device import Device as Device
from tflite_export.devices._device import MeasuringDevice as MeasuringDevice
from tflite_export.devices._host import HOST as HOST
from tflite_export.devices._host import Host as Host
from tflite_export.devices._measurement import Measurement as Measurement
from tflite_export.devices._measurement import OperatorTime as OperatorTime
from tflite_export.devices._measurement import ProgramSize as ProgramSize
from tflite_export.devices._measurement import operator_times as operator_times
from tflite_export.devices._named import DEVICES as DEVICES
from tflite_export.devices._named import description_of as description_of
from tflite_export.devices._named import device_of as device_of
from tflite_export.devices._named import ready as ready
from tflite_export.devices._program import Toolchain as Toolchain
from tflite_export.devices._program import flash_parts as flash_parts
from tflite_export.devices._qemu import Emulated as Emulated
from tflite_export.devices._qemu import Qemu as Qemu
