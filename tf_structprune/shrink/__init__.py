"""Fold masks and remove channels; a masked model in, a smaller Keras model out."""

from tf_structprune.shrink._plan import ShrinkPlan as ShrinkPlan
from tf_structprune.shrink._plan import plan_shrink as plan_shrink
from tf_structprune.shrink._shrink import ShrunkModel as ShrunkModel
from tf_structprune.shrink._shrink import shrink as shrink
