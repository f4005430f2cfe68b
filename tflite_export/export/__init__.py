"""A Keras model in, a directory of verified files out."""

from tflite_export.export._export import export as export
from tflite_export.export._export import write_artifacts as write_artifacts
from tflite_export.export._settings import ExportSettings as ExportSettings
from tflite_export.export._summary import ExportSummary as ExportSummary
from tflite_export.export._summary import FileSummary as FileSummary
from tflite_export.export._summary import runtime_versions as runtime_versions
