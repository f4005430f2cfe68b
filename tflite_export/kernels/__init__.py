"""TFLite's integer kernels, bit for bit, as LiteRT's reference kernels and TFLite Micro compute them. NumPy only."""

from tflite_export.kernels._convolution import conv_2d as conv_2d
from tflite_export.kernels._convolution import depthwise_conv_2d as depthwise_conv_2d
from tflite_export.kernels._convolution import fully_connected as fully_connected
from tflite_export.kernels._elementwise import add as add
from tflite_export.kernels._elementwise import multiply as multiply
from tflite_export.kernels._elementwise import relu as relu
from tflite_export.kernels._elementwise import requantize as requantize
from tflite_export.kernels._layout import concatenate as concatenate
from tflite_export.kernels._layout import pad as pad
from tflite_export.kernels._layout import take as take
from tflite_export.kernels._multiplier import multiply_by_quantized_multiplier as multiply_by_quantized_multiplier
from tflite_export.kernels._multiplier import quantize_multiplier as quantize_multiplier
from tflite_export.kernels._quantized import Activation as Activation
from tflite_export.kernels._quantized import AffineFormat as AffineFormat
from tflite_export.kernels._quantized import QuantizedArray as QuantizedArray
from tflite_export.kernels._quantized import Runtime as Runtime
from tflite_export.kernels._reduce import average_pool_2d as average_pool_2d
from tflite_export.kernels._reduce import max_pool_2d as max_pool_2d
from tflite_export.kernels._reduce import mean as mean
from tflite_export.kernels._reduce import reduce_max as reduce_max
from tflite_export.kernels._softmax import softmax as softmax
from tflite_export.kernels._window import Window as Window
