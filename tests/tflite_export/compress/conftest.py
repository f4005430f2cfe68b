"""What the runs of this room share."""

from tests.tflite_export.compress.given_files import given_files as given_files
from tests.tflite_export.compress.given_files import given_once as given_once
from tests.tflite_export.compress.without_reports import without_reports as without_reports
