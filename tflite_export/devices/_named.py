"""Devices by name, as the command line gives them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from tflite_export.devices._android import Android
from tflite_export.devices._device import Device, MeasuringDevice
from tflite_export.devices._host import Host
from tflite_export.devices._qemu import Qemu

_Device = TypeVar("_Device", bound=Device)
DEVICES: Mapping[str, Any] = {"host": Host, "android": Android, "qemu": Qemu}
"""Devices by name."""
_BEHIND_COLON = {"qemu": "core"}  # what else than a serial number may stand there


def device_of(text: str, **options: Any) -> MeasuringDevice:
    """The device of a text such as "host", "android:SERIAL" or "qemu:m4"; it is there and can be used.

    Args:
        text: name of the device, and which one behind a colon: the serial number of a phone, the core of "qemu".
        **options: fields of the device; those that are None or False are left at their defaults.

    Raises:
        DeviceError: it is not there.
        FileNotFoundError: what an emulated one needs is not there.
        ValueError: an unknown name, an option that the device does not have, or a value out of its range.
    """
    name, _, which = text.partition(":")
    if name not in DEVICES:
        raise ValueError(f"Unknown device. Received: device={text!r}. Use one of: {', '.join(DEVICES)}.")
    kind = DEVICES[name]
    place = _BEHIND_COLON.get(name, "serial")
    options = {**options, place: options.get(place) or which or None}
    given = {key: value for key, value in options.items() if value is not None and value is not False}
    known = kind.__dataclass_fields__
    for key in given:
        if key not in known:
            raise ValueError(
                f"Device '{name}' has no {key}. Received: {key}={given[key]!r}. Leave it out, or name another device."
            )
    made: MeasuringDevice = ready(kind(**given))
    return made


def ready(device: _Device) -> _Device:
    """The device, if it is there: a phone or an emulator that is not is refused before any work.

    Returns:
        The device; of a phone without a serial number, that phone by name.

    Raises:
        DeviceError, FileNotFoundError: it is not there, or cannot be used.
    """
    if isinstance(device, Android | Qemu):
        found: Any = device.found()  # of the same class
        device = found
    return device


def description_of(device: Device) -> str:
    """What the figures of a device are of, in a line."""
    return str(getattr(device, "description", type(device).__name__))
