"""A Keras model in, a directory of verified files out."""

from tflite_export.export._export import converted_integers as converted_integers
from tflite_export.export._export import export as export
from tflite_export.export._export import write_artifacts as write_artifacts
from tflite_export.export._export import write_source as write_source
from tflite_export.export._settings import ExportSettings as ExportSettings
from tflite_export.export._settings import Micro as Micro
from tflite_export.export._settings import check_micro as check_micro
from tflite_export.export._source import Source as Source
from tflite_export.export._source import source_of as source_of
from tflite_export.export._summary import ExportSummary as ExportSummary
from tflite_export.export._summary import FileSummary as FileSummary
from tflite_export.export._summary import runtime_versions as runtime_versions
