"""A graph, a budget and a score in, how many units each group keeps out. NumPy and SciPy only."""

from tf_structprune.allocation._allocation import Allocation as Allocation
from tf_structprune.allocation._allocation import Spent as Spent
from tf_structprune.allocation._budget import KINDS as KINDS
from tf_structprune.allocation._budget import MEASURED as MEASURED
from tf_structprune.allocation._budget import Budget as Budget
from tf_structprune.allocation._budget import CostKind as CostKind
from tf_structprune.allocation._budget import as_budgets as as_budgets
from tf_structprune.allocation._choices import Choices as Choices
from tf_structprune.allocation._choices import CostCap as CostCap
from tf_structprune.allocation._cost import Cost as Cost
from tf_structprune.allocation._cost import CountedCost as CountedCost
from tf_structprune.allocation._cost import FittedCost as FittedCost
from tf_structprune.allocation._find import METHODS as METHODS
from tf_structprune.allocation._find import Method as Method
from tf_structprune.allocation._find import MethodName as MethodName
from tf_structprune.allocation._find import find_allocation as find_allocation
from tf_structprune.allocation._greedy import Sensitivity as Sensitivity
from tf_structprune.allocation._greedy import greedy_path as greedy_path
from tf_structprune.allocation._limits import Bound as Bound
from tf_structprune.allocation._limits import CostFunction as CostFunction
from tf_structprune.allocation._limits import Limit as Limit
from tf_structprune.allocation._limits import OutOfReachError as OutOfReachError
from tf_structprune.allocation._limits import ShareCost as ShareCost
from tf_structprune.allocation._problem import Order as Order
from tf_structprune.allocation._problem import Problem as Problem
from tf_structprune.allocation._space import AllocationSpace as AllocationSpace
