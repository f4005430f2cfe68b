"""Which channels of a network go together, and what stays of them: plain values. NumPy only."""

from tf_structprune.channels._cut import LayerCut as LayerCut
from tf_structprune.channels._cut import TensorCut as TensorCut
from tf_structprune.channels._graph import FIRST as FIRST
from tf_structprune.channels._graph import LAST as LAST
from tf_structprune.channels._graph import PRUNE_FIRST as PRUNE_FIRST
from tf_structprune.channels._graph import Channels as Channels
from tf_structprune.channels._graph import Group as Group
from tf_structprune.channels._graph import PrunableGraph as PrunableGraph
from tf_structprune.channels._graph import PrunableLayer as PrunableLayer
from tf_structprune.channels._graph import Skipped as Skipped
from tf_structprune.channels._graph import TensorChannels as TensorChannels
from tf_structprune.channels._graph import input_of_kernel as input_of_kernel
from tf_structprune.channels._limits import ChannelLimits as ChannelLimits
from tf_structprune.channels._limits import PerLayer as PerLayer
from tf_structprune.channels._limits import limits_by_layer as limits_by_layer
from tf_structprune.channels._weight_shape import WeightShape as WeightShape
