"""Room 6: masks as wrapper layers of a Keras model."""

from tf_structprune.layers._clone import clone as clone
from tf_structprune.layers._masked_layer import MaskedLayer as MaskedLayer
from tf_structprune.layers._masked_normalization import MaskedNormalization as MaskedNormalization
from tf_structprune.layers._random import random_masks as random_masks
from tf_structprune.layers._weights import assign_weights as assign_weights
from tf_structprune.layers._weights import renew_copies as renew_copies
from tf_structprune.layers._wrap import folded_weights as folded_weights
from tf_structprune.layers._wrap import get_masks as get_masks
from tf_structprune.layers._wrap import is_masked as is_masked
from tf_structprune.layers._wrap import polarity_of as polarity_of
from tf_structprune.layers._wrap import set_masks as set_masks
from tf_structprune.layers._wrap import unwrap as unwrap
from tf_structprune.layers._wrap import wrap as wrap
