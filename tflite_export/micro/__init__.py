"""Weights of int8 layers in the forms that a microcontroller reads in flash, and the C sources that read them."""

from tflite_export.micro._coded import Coded as Coded
from tflite_export.micro._coded import coded_bytes as coded_bytes
from tflite_export.micro._coded import decode as decode
from tflite_export.micro._coded import encode as encode
from tflite_export.micro._matrix import matrix_bytes as matrix_bytes
from tflite_export.micro._matrix import matrix_values as matrix_values
from tflite_export.micro._sources import CODE_BYTES as CODE_BYTES
from tflite_export.micro._sources import OPERATOR as OPERATOR
from tflite_export.micro._sources import sources as sources
from tflite_export.micro._table import is_table as is_table
