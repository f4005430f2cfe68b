"""The sources of firmware that runs a model in TFLite Micro."""

from tflite_export.bundle._micro_bundle import micro_bundle as micro_bundle
from tflite_export.bundle._model_settings import arena_margin_bytes as arena_margin_bytes
from tflite_export.bundle._model_settings import model_settings as model_settings
from tflite_export.bundle._op_resolver import op_resolver as op_resolver
