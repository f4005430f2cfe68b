"""Room 1: a Keras model in, its prunable channel groups out."""

from tf_structprune.graph._graph import Channels as Channels
from tf_structprune.graph._graph import Group as Group
from tf_structprune.graph._graph import PrunableGraph as PrunableGraph
from tf_structprune.graph._graph import PrunableLayer as PrunableLayer
from tf_structprune.graph._graph import Skipped as Skipped
from tf_structprune.graph._rules import LAYER_RULES as LAYER_RULES
from tf_structprune.graph._rules import Flow as Flow
from tf_structprune.graph._rules import LayerRule as LayerRule
from tf_structprune.graph._rules import inner_layer as inner_layer
from tf_structprune.graph._rules import kernel_of as kernel_of
from tf_structprune.graph._rules import rule_for as rule_for
from tf_structprune.graph._trace import trace as trace
from tf_structprune.graph._wrapper import TransparentWrapper as TransparentWrapper
