"""The pull of ADMM on a layer's weights, as a loss."""

from collections.abc import Callable
from typing import Any

from keras import ops


class Pull:
    """A regularizer of a kernel: rho / 2 times its squared distance from a target.

    The augmented Lagrangian of ADMM in its scaled form, with the target Z - U (Zhang et al., arXiv 1804.03294,
    equation 7; Boyd et al. 2011, section 3.1.1). A layer whose rho is 0 is not pulled.

    Args:
        layer: the masked layer, which holds `pull_target` and `pull_rho`.
        further: the regularizer that the kernel had, None without.
    """

    def __init__(self, layer: Any, further: Callable[[Any], Any] | None) -> None:
        self.layer, self.further = layer, further

    def __call__(self, kernel: Any) -> Any:
        """The loss of a kernel, a scalar."""
        kernel = ops.convert_to_tensor(kernel)
        away = ops.cast(kernel, "float32") - ops.convert_to_tensor(self.layer.pull_target)
        loss = ops.convert_to_tensor(self.layer.pull_rho) / 2 * ops.sum(ops.square(away))
        return loss if self.further is None else loss + self.further(kernel)
