"""Weights packed in a `.tflite` file, decoded by TFLite Micro layer by layer, and read back in NumPy."""

from tflite_export.pack._coder import Coded as Coded
from tflite_export.pack._coder import Coder as Coder
from tflite_export.pack._coder import CodeSize as CodeSize
from tflite_export.pack._coder import Form as Form
from tflite_export.pack._coder import Group as Group
from tflite_export.pack._coder import Weights as Weights
from tflite_export.pack._coders import CODE_SIZES as CODE_SIZES
from tflite_export.pack._coders import CODERS as CODERS
from tflite_export.pack._decoded import decoded as decoded
from tflite_export.pack._pack import Packed as Packed
from tflite_export.pack._pack import Packing as Packing
from tflite_export.pack._pack import check_packing as check_packing
from tflite_export.pack._pack import pack as pack
from tflite_export.pack._stand_in import stand_in as stand_in
