"""Cases of a test of which only some run in the gate."""

import pytest


def sweep_but(often, cases):
    """Parameters of each case by its name; those that are not named in `often` take the mark."""
    for name, values in cases.items():
        yield pytest.param(*values, id=name, marks=() if name in often else pytest.mark.sweep)
