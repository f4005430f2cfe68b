"""The stage machine: stages that search, allocate, calibrate; the tolerance that judges them; what is kept."""

from tf_structprune.stages._allocate import allocate as allocate
from tf_structprune.stages._calibrate import calibrate as calibrate
from tf_structprune.stages._calibrate import calibrate_signals as calibrate_signals
from tf_structprune.stages._calibrate import calibrate_weights as calibrate_weights
from tf_structprune.stages._calibrate import check_finite as check_finite
from tf_structprune.stages._calibrate import check_fixed_point as check_fixed_point
from tf_structprune.stages._calibrate import check_samples as check_samples
from tf_structprune.stages._calibrate import fit_signals as fit_signals
from tf_structprune.stages._calibrate import sample_signals as sample_signals
from tf_structprune.stages._find_masks import find_masks as find_masks
from tf_structprune.stages._goals import Goal as Goal
from tf_structprune.stages._goals import Sparsity as Sparsity
from tf_structprune.stages._goals import check_at_least as check_at_least
from tf_structprune.stages._goals import check_sparsities as check_sparsities
from tf_structprune.stages._goals import goals_of as goals_of
from tf_structprune.stages._judge import Judge as Judge
from tf_structprune.stages._judge import Judgement as Judgement
from tf_structprune.stages._judge import check_tolerance as check_tolerance
from tf_structprune.stages._judge import tolerated_loss as tolerated_loss
from tf_structprune.stages._ledger import Begun as Begun
from tf_structprune.stages._ledger import Ledger as Ledger
from tf_structprune.stages._ledger import Stage as Stage
from tf_structprune.stages._ledger import run_stages as run_stages
from tf_structprune.stages._report import StageReport as StageReport
