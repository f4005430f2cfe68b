"""The sources of firmware that runs a model in TFLite Micro, as projects for several ecosystems."""

from tflite_export.bundle._libraries import Bundle as Bundle
from tflite_export.bundle._libraries import check_bundles as check_bundles
from tflite_export.bundle._libraries import library_notes as library_notes
from tflite_export.bundle._micro_bundle import micro_bundle as micro_bundle
from tflite_export.bundle._model_settings import arena_margin_bytes as arena_margin_bytes
from tflite_export.bundle._model_settings import model_settings as model_settings
from tflite_export.bundle._op_resolver import general_kernels as general_kernels
from tflite_export.bundle._op_resolver import op_resolver as op_resolver
from tflite_export.bundle._op_resolver import operators_resolver as operators_resolver
from tflite_export.bundle._operator_code import CodeTable as CodeTable
from tflite_export.bundle._operator_code import Need as Need
from tflite_export.bundle._operator_code import code_tables as code_tables
from tflite_export.bundle._self_test import Recorded as Recorded
from tflite_export.bundle._self_test import record as record
