"""Results to disk, complete or not at all; as JSON; and as C++ sources for a microcontroller."""

from tflite_export.write._c_array import CArray as CArray
from tflite_export.write._c_array import c_array as c_array
from tflite_export.write._c_array import check_identifier as check_identifier
from tflite_export.write._json import from_plain as from_plain
from tflite_export.write._json import reading as reading
from tflite_export.write._json import to_plain as to_plain
from tflite_export.write._micro_bundle import micro_bundle as micro_bundle
from tflite_export.write._model_settings import arena_margin_bytes as arena_margin_bytes
from tflite_export.write._model_settings import model_settings as model_settings
from tflite_export.write._op_resolver import op_resolver as op_resolver
from tflite_export.write._staged_directory import MANIFEST as MANIFEST
from tflite_export.write._staged_directory import add_to_manifest as add_to_manifest
from tflite_export.write._staged_directory import staged_directory as staged_directory
from tflite_export.write._whole_file import write_whole as write_whole
