"""Results to disk, complete or not at all; as JSON; and as arrays of C++."""

from tflite_export.write._c_array import CArray as CArray
from tflite_export.write._c_array import c_array as c_array
from tflite_export.write._c_array import check_identifier as check_identifier
from tflite_export.write._json import from_plain as from_plain
from tflite_export.write._json import reading as reading
from tflite_export.write._json import same_value as same_value
from tflite_export.write._json import to_plain as to_plain
from tflite_export.write._staged_directory import MANIFEST as MANIFEST
from tflite_export.write._staged_directory import add_to_manifest as add_to_manifest
from tflite_export.write._staged_directory import staged_directory as staged_directory
from tflite_export.write._whole_file import check_free as check_free
from tflite_export.write._whole_file import write_whole as write_whole
from tflite_export.write._whole_file import writing as writing
