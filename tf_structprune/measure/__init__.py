"""A model and data in, one number a prunable unit out; and what a model costs."""

from tf_structprune.measure._activations import activation_sums as activation_sums
from tf_structprune.measure._hardware_cost import HardwareCost as HardwareCost
from tf_structprune.measure._hardware_cost import LayerCost as LayerCost
from tf_structprune.measure._hardware_cost import hardware_cost as hardware_cost
from tf_structprune.measure._least_squares import elimination_of as elimination_of
from tf_structprune.measure._least_squares import layer_inputs_of as layer_inputs_of
from tf_structprune.measure._least_squares import least_squares as least_squares
from tf_structprune.measure._magnitude import geometric_median as geometric_median
from tf_structprune.measure._magnitude import l1 as l1
from tf_structprune.measure._magnitude import l2 as l2
from tf_structprune.measure._magnitude import normalization_scale as normalization_scale
from tf_structprune.measure._magnitude import sum_of_units as sum_of_units
from tf_structprune.measure._measures import MEASURES as MEASURES
from tf_structprune.measure._taylor import SparseTaylor as SparseTaylor
from tf_structprune.measure._taylor import taylor as taylor
