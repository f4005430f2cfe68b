"""The joint of search, layers and `fit`."""

from tf_structprune.callbacks._allocate import allocate as allocate
from tf_structprune.callbacks._calibrate import calibrate as calibrate
from tf_structprune.callbacks._calibrate import calibrate_signals as calibrate_signals
from tf_structprune.callbacks._calibrate import calibrate_weights as calibrate_weights
from tf_structprune.callbacks._calibrate import check_samples as check_samples
from tf_structprune.callbacks._calibrate import fit_signals as fit_signals
from tf_structprune.callbacks._calibrate import sample_signals as sample_signals
from tf_structprune.callbacks._find_masks import find_masks as find_masks
from tf_structprune.callbacks._fixed_point_training import FixedPointTraining as FixedPointTraining
from tf_structprune.callbacks._run import StageReport as StageReport
from tf_structprune.callbacks._structured_pruning import StructuredPruning as StructuredPruning
