"""How warm a phone is and how fast it is clocked: what slows it down while it is measured."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

CLOCKS = "grep -H . /sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq 2>/dev/null"
"""Tells the clocks of the cores, a line each; nothing where the phone hides them."""
HEAT = f"{CLOCKS}; grep -H . /sys/class/thermal/thermal_zone*/temp 2>/dev/null; dumpsys battery | grep temperature"
_FALL = 0.15  # of the clock: more than what a governor's steps beside each other differ by
_SENSIBLE_C = (1.0, 150.0)  # zones without a sensor tell zero or less


@dataclass(frozen=True)
class Heat:
    """A phone at one moment.

    Attributes:
        temperature_c: of the battery, which follows the case; else of the hottest sensor; None where neither is told.
        clock_mhz: of the fastest core; None where the phone hides it.
    """

    temperature_c: float | None = None
    clock_mhz: float | None = None


def heat_of(told: str) -> Heat:
    """What a phone answers to `HEAT` or `CLOCKS`."""
    clocks = [float(khz) / 1000 for khz in re.findall(r"scaling_cur_freq:(\d+)", told)]
    battery = [float(tenths) / 10 for tenths in re.findall(r"^\s*temperature: (\d+)", told, re.M)]
    zones = [float(value) / 1000 for value in re.findall(r"thermal_zone\d+/temp:(\d+)", told)]
    low, high = _SENSIBLE_C
    sensible = battery or [zone for zone in zones if low <= zone <= high]
    return Heat(max(sensible, default=None), max(clocks, default=None))


def throttled(clocks_mhz: Sequence[float | None], best_mhz: float | None) -> bool:
    """Whether a clock fell by 15 % or more below the fastest that was seen."""
    known = [clock for clock in clocks_mhz if clock is not None]
    return best_mhz is not None and bool(known) and min(known) <= (1 - _FALL) * best_mhz


def heat_note(moments: Sequence[Heat]) -> tuple[str, ...]:
    """From where to where temperature and clock went, in a sentence; none where neither is known."""
    warm = [each.temperature_c for each in moments if each.temperature_c is not None]
    fast = [each.clock_mhz for each in moments if each.clock_mhz is not None]
    parts = [f"{warm[0]:.1f} to {max(warm):.1f} degrees C"] if warm else []
    parts += [f"clock {min(fast):,.0f} to {max(fast):,.0f} MHz"] if fast else []
    return (f"{', '.join(parts)}.",) if parts else ()
