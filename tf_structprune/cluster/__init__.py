"""Who scores candidates: this process, or the workers of a Ray cluster."""

from tf_structprune.cluster._executor import EXECUTORS as EXECUTORS
from tf_structprune.cluster._executor import LOCAL as LOCAL
from tf_structprune.cluster._executor import as_executor as as_executor
from tf_structprune.cluster._ray import RayExecutor as RayExecutor
from tf_structprune.cluster._score import score as score
