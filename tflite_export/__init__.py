"""Masked Keras model in, measured TFLite artifact out."""

from tflite_export.shrink import ShrunkModel as ShrunkModel
from tflite_export.shrink import shrink as shrink
