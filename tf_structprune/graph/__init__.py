"""A Keras model in, its prunable channel groups out."""

from tf_structprune.graph._arguments import cut_arguments as cut_arguments
from tf_structprune.graph._calls import CallList as CallList
from tf_structprune.graph._calls import LayerCall as LayerCall
from tf_structprune.graph._calls import TensorKey as TensorKey
from tf_structprune.graph._calls import input_names as input_names
from tf_structprune.graph._calls import is_readable as is_readable
from tf_structprune.graph._calls import list_calls as list_calls
from tf_structprune.graph._calls import named_layers as named_layers
from tf_structprune.graph._evaluate import input_arrays as input_arrays
from tf_structprune.graph._evaluate import layer_inputs as layer_inputs
from tf_structprune.graph._kernel import KernelView as KernelView
from tf_structprune.graph._kernel import kernel_of as kernel_of
from tf_structprune.graph._kernel import kernel_variable as kernel_variable
from tf_structprune.graph._kernel import kernel_view as kernel_view
from tf_structprune.graph._layer_rules import LAYER_RULES as LAYER_RULES
from tf_structprune.graph._lookup import rule_for as rule_for
from tf_structprune.graph._operation_rules import OPERATION_RULES as OPERATION_RULES
from tf_structprune.graph._rules import Flow as Flow
from tf_structprune.graph._rules import LayerRule as LayerRule
from tf_structprune.graph._rules import inner_layer as inner_layer
from tf_structprune.graph._rules import register_rule as register_rule
from tf_structprune.graph._rules import registered_rules as registered_rules
from tf_structprune.graph._trace import trace as trace
from tf_structprune.graph._weights import weight_shapes as weight_shapes
from tf_structprune.graph._wrapper import TransparentWrapper as TransparentWrapper
