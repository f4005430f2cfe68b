"""The boards that QEMU has for each Cortex-M core, and how programs for them are built."""

import string
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "cortex"
SOURCES = ("startup.c", "semihosting.h", "program.cc")


@dataclass(frozen=True)
class Board:
    """A board of QEMU.

    Attributes:
        machine: its name there.
        flags: what the compiler is told of its core.
        flash: first address and bytes of the memory that holds code and constants.
        ram: first address and bytes of the memory for all else.
    """

    machine: str
    flags: tuple[str, ...]
    flash: tuple[int, int]
    ram: tuple[int, int]

    def linker_script(self, stack_bytes: int) -> str:
        """The regions of the board, and what goes into which."""
        regions = {name: f"ORIGIN = {start:#x}, LENGTH = {size:#x}" for name, (start, size) in self._regions.items()}
        return _MEMORY.substitute(regions, stack=stack_bytes) + (_FOLDER / "memory.ld").read_text()

    @property
    def _regions(self) -> dict[str, tuple[int, int]]:
        return {"flash": self.flash, "ram": self.ram}


_MEMORY = string.Template("""\
MEMORY
{
  FLASH (rx) : $flash
  RAM (rwx) : $ram
}
STACK_BYTES = $stack;
""")
_MIB = 1 << 20

# Memories as in QEMU's hw/arm/mps2.c and mps2-tz.c (7.2): the boards have more of it than a microcontroller, so that
# any model that one could hold runs.
BOARDS = {
    "m3": Board("mps2-an385", ("-mcpu=cortex-m3", "-mfloat-abi=soft"), (0, 4 * _MIB), (0x20000000, 4 * _MIB)),
    "m4": Board(
        "mps2-an386",
        ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        (0, 4 * _MIB),
        (0x20000000, 4 * _MIB),
    ),
    "m7": Board(
        "mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"), (0, 4 * _MIB), (0x20000000, 4 * _MIB)
    ),
    "m33": Board(
        "mps2-an505",
        ("-mcpu=cortex-m33+nodsp", "-mfloat-abi=soft"),
        (0x10000000, 4 * _MIB),
        (0x38000000, 4 * _MIB),
    ),
    "m55": Board(
        "mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), (0x01000000, 2 * _MIB), (0x21000000, 2 * _MIB)
    ),
}
"""By the name of the core."""


def source(name: str) -> str:
    """The text of a source of the program."""
    return (_FOLDER / name).read_text()
