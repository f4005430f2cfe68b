"""Room 6: masks and quantizers as wrapper layers of a Keras model."""

from tf_structprune.layers._clone import clone as clone
from tf_structprune.layers._masked_layer import MaskedLayer as MaskedLayer
from tf_structprune.layers._masked_normalization import MaskedNormalization as MaskedNormalization
from tf_structprune.layers._normalization import normalized_weights as normalized_weights
from tf_structprune.layers._quantized_layer import QuantizedLayer as QuantizedLayer
from tf_structprune.layers._quantized_layer import quantized_like as quantized_like
from tf_structprune.layers._quantized_layer import quantizer_of as quantizer_of
from tf_structprune.layers._quantized_layer import take_state as take_state
from tf_structprune.layers._random import random_masks as random_masks
from tf_structprune.layers._signal_quantizer import SignalQuantizer as SignalQuantizer
from tf_structprune.layers._signal_quantizer import tied_together as tied_together
from tf_structprune.layers._to_fixed_point import is_fixed_point as is_fixed_point
from tf_structprune.layers._to_fixed_point import quantized_layers as quantized_layers
from tf_structprune.layers._to_fixed_point import recipe_of as recipe_of
from tf_structprune.layers._to_fixed_point import signal_owner as signal_owner
from tf_structprune.layers._to_fixed_point import signal_quantizers as signal_quantizers
from tf_structprune.layers._to_fixed_point import to_fixed_point as to_fixed_point
from tf_structprune.layers._weights import assign_weights as assign_weights
from tf_structprune.layers._weights import folded_weights as folded_weights
from tf_structprune.layers._weights import renew_copies as renew_copies
from tf_structprune.layers._wrap import get_masks as get_masks
from tf_structprune.layers._wrap import is_masked as is_masked
from tf_structprune.layers._wrap import polarity_of as polarity_of
from tf_structprune.layers._wrap import set_masks as set_masks
from tf_structprune.layers._wrap import unwrap as unwrap
from tf_structprune.layers._wrap import wrap as wrap
