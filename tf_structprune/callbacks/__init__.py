"""Drives the stages inside `fit`."""

from tf_structprune.callbacks._admm import ADMM as ADMM
from tf_structprune.callbacks._fixed_point_training import FixedPointTraining as FixedPointTraining
from tf_structprune.callbacks._iterative import IterativePruning as IterativePruning
from tf_structprune.callbacks._partial import ADMMReport as ADMMReport
from tf_structprune.callbacks._pqk import PQK as PQK
from tf_structprune.callbacks._remove_layers import RemoveLayers as RemoveLayers
from tf_structprune.callbacks._rounds import RoundReport as RoundReport
from tf_structprune.callbacks._self_taught import SelfTaught as SelfTaught
from tf_structprune.callbacks._structured_pruning import StructuredPruning as StructuredPruning
from tf_structprune.callbacks._student import student_of as student_of
from tf_structprune.callbacks._taylor_pruning import TaylorPruning as TaylorPruning
