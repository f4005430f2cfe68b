"""Room 3: results to disk, complete or not at all; and the C++ sources for a microcontroller."""

from tflite_export.write._c_array import CArray as CArray
from tflite_export.write._c_array import c_array as c_array
from tflite_export.write._c_array import check_identifier as check_identifier
from tflite_export.write._op_resolver import op_resolver as op_resolver
from tflite_export.write._staged_directory import staged_directory as staged_directory
