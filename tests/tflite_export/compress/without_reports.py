"""Runs without their report, which takes a second or two: those of reports are in test_tell.py."""

import pytest

from tflite_export.compress import _run


@pytest.fixture(autouse=True, scope="module")
def without_reports():
    """No run of the module writes a report; a module that has a fixture of the same name writes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run, "tell", lambda *_, **__: None)
        yield
