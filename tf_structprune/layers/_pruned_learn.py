"""Whether the weights that masks remove keep their gradients."""

import keras

from tf_structprune.graph import named_layers
from tf_structprune.layers._masked_layer import MaskedLayer


def let_pruned_learn(masked: keras.Model, *, on: bool) -> bool:
    """Let pruned weights be trained behind their masks, or no longer.

    What the model computes is the same. Where it is on, the gradient of the loss with respect to the masked kernel
    reaches all of the kernel, as if there were no mask, so that a pruned weight goes on to learn what it would be worth
    (dynamic pruning with feedback, Lin et al. 2020, arXiv 2006.07253, equation 2). It is neither saved nor copied, and
    a function that was compiled before knows nothing of it.

    Args:
        masked: a model from `wrap`.
        on: whether they are.

    Returns:
        Whether it was otherwise before: what trains the model has to be compiled again.
    """
    layers = [layer for layer in named_layers(masked).values() if isinstance(layer, MaskedLayer)]
    changed = any(layer.pruned_learn != on for layer in layers)
    for layer in layers:
        layer.pruned_learn = on
    return changed
