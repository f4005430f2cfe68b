"""A model and data in, one number a prunable unit out."""

from tf_structprune.measure._measures import MEASURES as MEASURES
from tf_structprune.measure._measures import activation_sums as activation_sums
from tf_structprune.measure._measures import l1 as l1
