"""Room 1: fold masks and remove channels; a masked model in, a smaller Keras model out."""

from tflite_export.shrink._plan import ShrinkPlan as ShrinkPlan
from tflite_export.shrink._plan import plan_shrink as plan_shrink
from tflite_export.shrink._shrink import ShrunkModel as ShrunkModel
from tflite_export.shrink._shrink import shrink as shrink
