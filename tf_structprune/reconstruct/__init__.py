"""Moments of what layers read in, least-squares weights out. NumPy and SciPy only."""

from tf_structprune.reconstruct._eliminate import Elimination as Elimination
from tf_structprune.reconstruct._eliminate import LayerInputs as LayerInputs
from tf_structprune.reconstruct._eliminate import eliminate as eliminate
from tf_structprune.reconstruct._moments import Covariances as Covariances
from tf_structprune.reconstruct._moments import InputMoments as InputMoments
from tf_structprune.reconstruct._moments import Moments as Moments
from tf_structprune.reconstruct._moments import MomentSum as MomentSum
from tf_structprune.reconstruct._moments import Rows as Rows
from tf_structprune.reconstruct._moments import few_rows as few_rows
from tf_structprune.reconstruct._solve import RIDGE as RIDGE
from tf_structprune.reconstruct._solve import Solution as Solution
from tf_structprune.reconstruct._solve import solve as solve
