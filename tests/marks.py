"""Cases of a test of which only some run in the gate, and how long it waits for a process."""

import pytest

HANG_SECONDS = 1800
"""After which a process counts as one that hangs; no test depends on how fast a machine is."""


def sweep_but(often, cases):
    """Parameters of each case by its name; those that are not named in `often` take the mark."""
    seldom = pytest.mark.sweep
    return [pytest.param(*values, id=name, marks=() if name in often else seldom) for name, values in cases.items()]
