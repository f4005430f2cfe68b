"""Masked Keras model in, measured TFLite artifact out."""

from tf_structprune.shrink import ShrunkModel as ShrunkModel
from tf_structprune.shrink import plan_shrink as plan_shrink
from tf_structprune.shrink import shrink as shrink
from tflite_export.bench import BenchReport as BenchReport
from tflite_export.bench import benchmark as benchmark
from tflite_export.bench import benchmark_together as benchmark_together
from tflite_export.bench import file_costs as file_costs
from tflite_export.bench import latency_cost as latency_cost
from tflite_export.compress import CompressReport as CompressReport
from tflite_export.compress import CompressSettings as CompressSettings
from tflite_export.compress import RefusedError as RefusedError
from tflite_export.compress import compress as compress
from tflite_export.devices import Device as Device
from tflite_export.devices import Host as Host
from tflite_export.export import ExportSettings as ExportSettings
from tflite_export.export import ExportSummary as ExportSummary
from tflite_export.export import export as export
from tflite_export.lower import LoweredModel as LoweredModel
from tflite_export.lower import lower as lower
from tflite_export.pack import Packed as Packed
from tflite_export.pack import decoded as decoded
from tflite_export.pack import pack as pack
from tflite_export.verify import Verification as Verification
from tflite_export.verify import VerificationError as VerificationError
