"""Room 5: what a `.tflite` file costs: time, size, work, memory; and a model of what removed kernels save."""

from tflite_export.bench._benchmark import BenchReport as BenchReport
from tflite_export.bench._benchmark import benchmark as benchmark
from tflite_export.bench._benchmark import benchmark_together as benchmark_together
from tflite_export.bench._kernel_pruned import kernel_pruned_multiplications as kernel_pruned_multiplications
from tflite_export.bench._multiplications import LayerMultiplications as LayerMultiplications
from tflite_export.bench._multiplications import count_multiplications as count_multiplications
from tflite_export.bench._multiplications import multiplications_section as multiplications_section
