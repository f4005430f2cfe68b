"""Room 2: granularities, masks and the spaces of masks. NumPy only."""

from tf_structprune.masks._build import PatternOptions as PatternOptions
from tf_structprune.masks._build import mask_space as mask_space
from tf_structprune.masks._build import stage_shares as stage_shares
from tf_structprune.masks._counting import LayerMasks as LayerMasks
from tf_structprune.masks._counting import kept_weights as kept_weights
from tf_structprune.masks._counting import masks_by_layer as masks_by_layer
from tf_structprune.masks._counting import sparsity_of as sparsity_of
from tf_structprune.masks._counting import unit_mask as unit_mask
from tf_structprune.masks._mask_set import FEATURE_MAP as FEATURE_MAP
from tf_structprune.masks._mask_set import GRANULARITIES as GRANULARITIES
from tf_structprune.masks._mask_set import INTRA_KERNEL as INTRA_KERNEL
from tf_structprune.masks._mask_set import KERNEL as KERNEL
from tf_structprune.masks._mask_set import MaskSet as MaskSet
from tf_structprune.masks._mask_set import check_granularity as check_granularity
from tf_structprune.masks._mask_set import check_sparsity as check_sparsity
from tf_structprune.masks._patterns import KEEP_ON_GRID as KEEP_ON_GRID
from tf_structprune.masks._patterns import POLARITIES as POLARITIES
from tf_structprune.masks._patterns import PRUNE_ON_GRID as PRUNE_ON_GRID
from tf_structprune.masks._patterns import positions_kept as positions_kept
from tf_structprune.masks._spaces import Importance as Importance
from tf_structprune.masks._spaces import MaskSpace as MaskSpace
from tf_structprune.masks._spaces import PatternSpace as PatternSpace
from tf_structprune.masks._spaces import SubsetSpace as SubsetSpace
