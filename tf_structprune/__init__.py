"""Structured pruning of Keras CNNs inside `model.fit`: model in, masked model out.

Keras 3, any backend; TensorFlow is not needed. `tflite_export` takes it from here.
"""

from tf_structprune import fixed_point as fixed_point
from tf_structprune import schedule as schedule
from tf_structprune import search as search
from tf_structprune import storage as storage
from tf_structprune.allocation import Allocation as Allocation
from tf_structprune.allocation import Budget as Budget
from tf_structprune.channels import PrunableGraph as PrunableGraph
from tf_structprune.fixed_point import FixedPoint as FixedPoint
from tf_structprune.fixed_point import LayerBits as LayerBits
from tf_structprune.masks import FeatureMap as FeatureMap
from tf_structprune.masks import IntraKernelStrided as IntraKernelStrided
from tf_structprune.masks import Kernel as Kernel
from tf_structprune.masks import MaskSet as MaskSet
from tf_structprune.masks import Weight as Weight
from tf_structprune.masks import kept_weights as kept_weights
from tf_structprune.masks import lowerable as lowerable
from tf_structprune.masks import sparsity_of as sparsity_of

try:
    import keras as _keras
except ImportError as _error:  # the rooms of plain values, above, serve without it
    _KERAS_MISSING = _error

    def __getattr__(name: str) -> object:
        raise AttributeError(
            f"tf_structprune.{name} needs Keras. Received: {_KERAS_MISSING}. Install keras and one of its backends."
        ) from _KERAS_MISSING

else:
    del _keras
    from tf_structprune import pretext as pretext
    from tf_structprune.callbacks import ADMM as ADMM
    from tf_structprune.callbacks import PQK as PQK
    from tf_structprune.callbacks import FixedPointTraining as FixedPointTraining
    from tf_structprune.callbacks import IterativePruning as IterativePruning
    from tf_structprune.callbacks import RemoveLayers as RemoveLayers
    from tf_structprune.callbacks import SelfTaught as SelfTaught
    from tf_structprune.callbacks import StructuredPruning as StructuredPruning
    from tf_structprune.callbacks import TaylorPruning as TaylorPruning
    from tf_structprune.cluster import RayExecutor as RayExecutor
    from tf_structprune.cluster import score as score
    from tf_structprune.fuse import fuse_shortcuts as fuse_shortcuts
    from tf_structprune.fuse import residual_convolutions as residual_convolutions
    from tf_structprune.graph import Flow as Flow
    from tf_structprune.graph import LayerRule as LayerRule
    from tf_structprune.graph import register_rule as register_rule
    from tf_structprune.graph import trace as trace
    from tf_structprune.layers import MaskedLayer as MaskedLayer
    from tf_structprune.layers import get_masks as get_masks
    from tf_structprune.layers import random_masks as random_masks
    from tf_structprune.layers import set_masks as set_masks
    from tf_structprune.layers import share as share
    from tf_structprune.layers import to_fixed_point as to_fixed_point
    from tf_structprune.layers import transfer_masks as transfer_masks
    from tf_structprune.layers import unshare as unshare
    from tf_structprune.layers import unwrap as unwrap
    from tf_structprune.layers import wrap as wrap
    from tf_structprune.legacy import from_legacy as from_legacy
    from tf_structprune.measure import HardwareCost as HardwareCost
    from tf_structprune.measure import hardware_cost as hardware_cost
    from tf_structprune.scoring import Scores as Scores
    from tf_structprune.sensitivity import Measurement as Measurement
    from tf_structprune.sensitivity import SensitivityReport as SensitivityReport
    from tf_structprune.sensitivity import measure_sensitivity as measure_sensitivity
    from tf_structprune.sensitivity import score_recipe as score_recipe
    from tf_structprune.stages import LayerReconstruction as LayerReconstruction
    from tf_structprune.stages import Reconstruction as Reconstruction
    from tf_structprune.stages import StageReport as StageReport
    from tf_structprune.stages import allocate as allocate
    from tf_structprune.stages import calibrate as calibrate
    from tf_structprune.stages import find_layers as find_layers
    from tf_structprune.stages import find_masks as find_masks
    from tf_structprune.stages import random_after_zeros as random_after_zeros
    from tf_structprune.stages import reconstruct as reconstruct
    from tf_structprune.stages import remove_layers as remove_layers
    from tf_structprune.task import SampleScore as SampleScore

__version__ = "0.2.0"
