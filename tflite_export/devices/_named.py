"""Devices by name, as the command line gives them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from tflite_export.devices._android import Android
from tflite_export.devices._device import Device, MeasuringDevice
from tflite_export.devices._host import Host

_Device = TypeVar("_Device", bound=Device)
DEVICES: Mapping[str, Any] = {"host": Host, "android": Android}
"""Devices by name."""


def device_of(text: str, **options: Any) -> MeasuringDevice:
    """The device of a text such as "host", "android" or "android:SERIAL"; it is there and can be used.

    Args:
        text: name of the device, and which one behind a colon.
        **options: fields of the device; those that are None or False are left at their defaults.

    Raises:
        DeviceError: it is not there.
        ValueError: an unknown name, an option that the device does not have, or a value out of its range.
    """
    name, _, serial = text.partition(":")
    if name not in DEVICES:
        raise ValueError(f"Unknown device. Received: device={text!r}. Use one of: {', '.join(DEVICES)}.")
    kind = DEVICES[name]
    options = {**options, "serial": options.get("serial") or serial or None}
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
    """The device, if it is there: a phone that is not is refused before any work.

    Returns:
        The device; of a phone without a serial number, that phone by name.

    Raises:
        DeviceError: it is not there, or cannot be used.
    """
    return device.found() if isinstance(device, Android) else device


def description_of(device: Device) -> str:
    """What the figures of a device are of, in a line."""
    return str(getattr(device, "description", type(device).__name__))
