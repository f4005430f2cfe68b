"""What a `.tflite` file costs: time, size, work; and a model of what removed kernels save."""

from tflite_export.bench._benchmark import BenchReport as BenchReport
from tflite_export.bench._benchmark import benchmark as benchmark
from tflite_export.bench._benchmark import benchmark_together as benchmark_together
from tflite_export.bench._file_cost import FILE_KINDS as FILE_KINDS
from tflite_export.bench._file_cost import file_costs as file_costs
from tflite_export.bench._kernel_pruned import kernel_pruned_multiplications as kernel_pruned_multiplications
from tflite_export.bench._latency_cost import latency_cost as latency_cost
from tflite_export.bench._multiplications import LayerMultiplications as LayerMultiplications
from tflite_export.bench._multiplications import Multiplications as Multiplications
from tflite_export.bench._multiplications import count_multiplications as count_multiplications
from tflite_export.bench._multiplications import multiplications_section as multiplications_section
from tflite_export.bench._vela import ACCELERATORS as ACCELERATORS
from tflite_export.bench._vela import NpuEstimate as NpuEstimate
from tflite_export.bench._vela import check_accelerator as check_accelerator
from tflite_export.bench._vela import estimate_npu as estimate_npu
from tflite_export.bench._vela import vela_available as vela_available
