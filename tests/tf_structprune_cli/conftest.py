"""What the tests of the command line share."""

import pytest
from absl import logging

from tests.tflite_export.compress.given_files import given_files as given_files
from tests.tflite_export.compress.given_files import given_once as given_once
from tests.tflite_export.compress.without_reports import without_reports as without_reports


@pytest.fixture(autouse=True)
def logs_as_before():
    """The command line sets absl's verbosity and handler for its process."""
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
