"""All formats by name."""

from typing import Any

from numpy.typing import NDArray

from tf_structprune.storage._encoded import Encoded, Format
from tf_structprune.storage._gaps import Gaps
from tf_structprune.storage._ham import HAM, SHAM
from tf_structprune.storage._plain import COO, CSC, CSER, CSR, Dense, IndexMap

FORMATS: dict[str, Format] = {
    "dense": Dense(),
    "index_map": IndexMap(),
    "index_map_bytes": IndexMap(tight=False),
    "coo": COO(),
    "csr": CSR(),
    "csc": CSC(),
    "csc_pointers": CSC(counts=False),
    "cser": CSER(),
    "ham_2020": HAM("2020"),
    "ham": HAM(),
    "ham_partial": HAM("partial"),
    "ham_full": HAM("full"),
    "sham_2020": SHAM("2020", counts=False),
    "sham": SHAM(),
    "sham_partial": SHAM("partial"),
    "sham_full": SHAM("full"),
    "gaps": Gaps(),
}
"""Each with the settings that its name says."""


def smallest(matrix: NDArray[Any]) -> tuple[str, Encoded]:
    """The format that takes the fewest bits, of equal ones the first: its name, and the stored matrix.

    Args:
        matrix: shape (rows, columns).
    """
    stored = {name: kind.encode(matrix) for name, kind in FORMATS.items()}
    name = min(stored, key=lambda each: stored[each].size_bits)
    return name, stored[name]
