"""The order of the modules: those that take longest first, so that no worker waits for one that began last.

Workers and the processes that they start compute in one thread each: more wait for each other.
"""

import os
from collections import Counter

import pytest

for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

LONGEST_FIRST = (
    "documentation/test_snippets.py",
    "test_tutorials.py",
    "test_cli_demo.py",
    "test_backend.py",
    "compress/test_resume.py",
    "callbacks/test_resume.py",
    "compress/test_stages.py",
    "test_distribution.py",
    "cluster/test_ray.py",
    "compress/test_hand_over.py",
    "shrink/test_junctions.py",
    "callbacks/test_fit.py",
    "quantize/test_fixed_point.py",
    "callbacks/test_fixed_point_training.py",
    "lower/test_lower.py",
)


@pytest.hookimpl(tryfirst=True)  # before cases are deselected by their marks
def pytest_collection_modifyitems(items):
    """Long modules to the front, in an order that stays; of a test marked `every(n)` each n-th case is in the gate."""
    items.sort(key=lambda item: _place(item.path.as_posix()))
    seen = Counter()
    for item in items:
        if (mark := item.get_closest_marker("every")) is not None:
            test = item.nodeid.partition("[")[0]
            if seen[test] % mark.args[0]:
                item.add_marker("sweep")
            seen[test] += 1


def _place(path):
    found = (index for index, ending in enumerate(LONGEST_FIRST) if path.endswith(ending))
    return next(found, len(LONGEST_FIRST))
