"""Run a `.tflite` file on real samples."""

from tflite_export.runtime._litert import Kernels as Kernels
from tflite_export.runtime._litert import dead_signals as dead_signals
from tflite_export.runtime._litert import litert_latencies_us as litert_latencies_us
from tflite_export.runtime._litert import run_litert as run_litert
from tflite_export.runtime._reference import reference_lacks as reference_lacks
from tflite_export.runtime._reference import run_reference as run_reference
from tflite_export.runtime._samples import Outputs as Outputs
from tflite_export.runtime._samples import as_list as as_list
from tflite_export.runtime._samples import as_outputs as as_outputs
from tflite_export.runtime._samples import check_ends as check_ends
from tflite_export.runtime._samples import dequantize as dequantize
from tflite_export.runtime._samples import describe as describe
from tflite_export.runtime._samples import model_inputs as model_inputs
from tflite_export.runtime._samples import quantize as quantize
from tflite_export.runtime._samples import real_outputs as real_outputs
from tflite_export.runtime._tflm import arena_bytes as arena_bytes
from tflite_export.runtime._tflm import run_tflm as run_tflm
from tflite_export.runtime._tflm import tflm_available as tflm_available
