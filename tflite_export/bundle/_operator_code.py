"""What the code of operators takes of flash, as `benchmarks/operator_code.py` measured it."""

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tflite_export.write import from_plain

_FILE = Path(__file__).parent / "operator_code.json"


@dataclass(frozen=True)
class Need:
    """Code that is linked for any of some operators, and for no other.

    Attributes:
        operators: their names.
        size_bytes: what it takes.
    """

    operators: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class CodeTable:
    """Code of one library of TFLite Micro, with kernels for int8 alone where it has them.

    Attributes:
        runtime: bytes of a program without any operator.
        needs: what operators add to it.
    """

    runtime: int
    needs: tuple[Need, ...]

    @functools.cached_property
    def operators(self) -> frozenset[str]:
        """Those that were measured."""
        return frozenset(name for need in self.needs for name in need.operators)

    def bytes_of(self, operators: Iterable[str]) -> int:
        """What operators add together to a program without any; those that were not measured count nothing."""
        wanted = frozenset(operators)
        return sum(need.size_bytes for need in self.needs if not wanted.isdisjoint(need.operators))


@functools.cache
def code_tables() -> Mapping[str, CodeTable]:
    """By set of kernels, what was measured on a Cortex-M4."""
    return {name: from_plain(CodeTable, table) for name, table in json.loads(_FILE.read_text()).items()}
