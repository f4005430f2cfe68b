"""Room 5: what a `.tflite` file costs: time, size, work, memory."""

from tflite_export.bench._benchmark import BenchReport as BenchReport
from tflite_export.bench._benchmark import benchmark as benchmark
from tflite_export.bench._benchmark import benchmark_together as benchmark_together
