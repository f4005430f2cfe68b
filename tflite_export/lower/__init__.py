"""What is left of kernel and strided masks -> cheaper standard operations."""

from tflite_export.lower._dense import LoweredDense as LoweredDense
from tflite_export.lower._dense import spans_of as spans_of
from tflite_export.lower._layer import LoweredConv2D as LoweredConv2D
from tflite_export.lower._lower import LoweredModel as LoweredModel
from tflite_export.lower._lower import Target as Target
from tflite_export.lower._lower import check_target as check_target
from tflite_export.lower._lower import lower as lower
from tflite_export.lower._order import reorder as reorder
from tflite_export.lower._parts import Part as Part
from tflite_export.lower._parts import Sum as Sum
from tflite_export.lower._parts import Term as Term
from tflite_export.lower._parts import one_term as one_term
from tflite_export.lower._parts import side_by_side as side_by_side
from tflite_export.lower._plan import LayerChoice as LayerChoice
from tflite_export.lower._plan import LowerPlan as LowerPlan
from tflite_export.lower._structure import Block as Block
from tflite_export.lower._structure import Lattice as Lattice
from tflite_export.lower._structure import Piece as Piece
from tflite_export.lower._structure import blocks_of as blocks_of
from tflite_export.lower._structure import even_edges as even_edges
from tflite_export.lower._structure import lattice_of as lattice_of
