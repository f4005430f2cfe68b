"""A `.tflite` file as a value: what is in it, what its bytes are for, what can be edited in it."""

from tflite_export.file._activations import activation_peak_bytes as activation_peak_bytes
from tflite_export.file._activations import live_signals as live_signals
from tflite_export.file._activations import size_bytes as size_bytes
from tflite_export.file._describe import DECODERS as DECODERS
from tflite_export.file._describe import TFLM_DECODE as TFLM_DECODE
from tflite_export.file._describe import ModelDescription as ModelDescription
from tflite_export.file._describe import OperatorDescription as OperatorDescription
from tflite_export.file._describe import TensorDescription as TensorDescription
from tflite_export.file._ends import EndType as EndType
from tflite_export.file._ends import convert_ends as convert_ends
from tflite_export.file._ends import identifiers as identifiers
from tflite_export.file._ends import order_ends as order_ends
from tflite_export.file._file import TFLiteFile as TFLiteFile
from tflite_export.file._file import TFLiteModel as TFLiteModel
from tflite_export.file._file import open_file as open_file
from tflite_export.file._memory import MEMORY_NOTE as MEMORY_NOTE
from tflite_export.file._memory import MemoryTable as MemoryTable
from tflite_export.file._memory import memory_table as memory_table
from tflite_export.file._operator_order import least_memory_order as least_memory_order
from tflite_export.file._prefix import beginnings as beginnings
from tflite_export.file._prefix import operator_that as operator_that
from tflite_export.file._slim import slim as slim
from tflite_export.file._slim import slim_with_names as slim_with_names
from tflite_export.file._weight_words import packed as packed
from tflite_export.file._weight_words import without_ties as without_ties
