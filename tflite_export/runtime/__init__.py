"""Run a `.tflite` file on real samples and say what is in it."""

from tflite_export.runtime._activations import activation_peak_bytes as activation_peak_bytes
from tflite_export.runtime._constants import constant_values as constant_values
from tflite_export.runtime._describe import ModelDescription as ModelDescription
from tflite_export.runtime._describe import OperatorDescription as OperatorDescription
from tflite_export.runtime._describe import TensorDescription as TensorDescription
from tflite_export.runtime._describe import describe as describe
from tflite_export.runtime._litert import Kernels as Kernels
from tflite_export.runtime._litert import make_interpreter as make_interpreter
from tflite_export.runtime._litert import run_litert as run_litert
from tflite_export.runtime._model_file import TFLiteModel as TFLiteModel
from tflite_export.runtime._model_file import read_model as read_model
from tflite_export.runtime._reference import reference_lacks as reference_lacks
from tflite_export.runtime._reference import run_reference as run_reference
from tflite_export.runtime._samples import dequantize as dequantize
from tflite_export.runtime._samples import model_inputs as model_inputs
from tflite_export.runtime._samples import quantize as quantize
from tflite_export.runtime._samples import single_input as single_input
from tflite_export.runtime._scores import without_softmax as without_softmax
from tflite_export.runtime._tflm import arena_bytes as arena_bytes
from tflite_export.runtime._tflm import run_tflm as run_tflm
from tflite_export.runtime._tflm import tflm_available as tflm_available
