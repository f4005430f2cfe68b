"""The commands that make a run again."""

import shlex
from collections.abc import Iterator
from dataclasses import fields

from tf_structprune.allocation import Budget
from tflite_export.compress._settings import CompressSettings
from tflite_export.devices import DEVICES, HOST, Device

_RECIPE = "OUT/model_recipe.json"  # which a run in fixed point writes
_OPPOSITE = {"keep_first": "--prune-first", "keep_last": "--prune-last"}

_DEVICE = {"serial", "binary", "app", "delegate", "rounds", "core", "library", "include"}
_DEVICE_NAMES = {"library": "tflm-lib", "include": "tflm-include"}


def commands_of(settings: CompressSettings, device: Device = HOST) -> tuple[str, ...]:
    """The command line of the same run, with MODEL and DATA in their places, and how its report is looked at.

    Args:
        settings: what was asked for; what is the default is left out, but epochs and batch as they were used.
        device: what timed; one that the command line has no name for is left out.
    """
    options = (*_options(settings), *_device_options(device))
    run = shlex.join(["tf-structprune", "compress", "MODEL", "--data", "DATA", "--out", "OUT", *options])
    file = "model_int8" if settings.fixed_point is None else "model_fixed"
    seen = f"model-explorer OUT/{file}.tflite --node_data_paths=OUT/model_explorer/bytes.json"
    return run, "tf-structprune report OUT", seen


def _options(settings: CompressSettings) -> Iterator[str]:
    default = CompressSettings()
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value == getattr(default, field.name):
            continue
        if field.name == "fixed_point":
            yield from ("--recipe", _RECIPE)
        elif field.name == "sparsity" and settings.budgets:
            for budget in settings.budgets:
                yield from ("--budget", _budget(budget))
        elif value is False:
            yield _OPPOSITE[field.name]
        else:
            yield f"--{field.name.replace('_', '-')}"
            if value is not True:
                yield ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _device_options(device: Device) -> Iterator[str]:
    name = next((name for name, kind in DEVICES.items() if type(device) is kind), "host")
    if name == "host":
        return
    yield from ("--device", name)
    for field in fields(DEVICES[name]):
        value = getattr(device, field.name)
        if field.name in _DEVICE and value != field.default:
            yield f"--{_DEVICE_NAMES.get(field.name, field.name)}"
            if value is not True:
                yield ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _budget(budget: Budget) -> str:
    """A budget as the command line takes it."""
    if budget.limit is None:
        return f"{budget.kind}={budget.fraction}"
    scale, unit = _UNITS.get(budget.kind, (1e3, "k"))
    return f"{budget.kind}={budget.limit / scale}{unit}"


_UNITS = {"latency": (1.0, "us"), "bytes": (1.0, "B"), "flash": (1.0, "B"), "arena": (1.0, "B")}
"""By kind, in what an amount is written; counts go in thousands, for a small number without a unit is a share."""
