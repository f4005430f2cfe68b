"""The kind of wrapper that tracing sees through."""

from collections.abc import Mapping
from typing import Any

import keras

from tf_structprune.channels import ChannelLimits


class TransparentWrapper(keras.layers.Wrapper):  # type: ignore[misc]  # Keras is untyped
    """Abstract: a wrapper that changes the values of a layer's weights, not its channels.

    Tracing applies the rule of the wrapped layer. A wrapper that sets `prunable` and `limits` remembers the
    choices that were made when the model was wrapped; None leaves them open.
    """

    prunable: bool | None = None
    limits: ChannelLimits | None = None

    def effective_kernel(self, variable: Any = None) -> Any:
        """The kernel that the wrapped layer computes with, in its shape and layout.

        Args:
            variable: values to use in place of the kernel variable's own.
        """
        raise NotImplementedError(f"{type(self).__name__} must say which kernel its layer computes with.")

    def called_with(self, values: Mapping[int, Any], inputs: Any) -> Any:
        """The wrapped layer's output with other values in the place of some of its variables.

        Args:
            values: by the identity of a variable.
            inputs: as the layer takes them.
        """
        trainable = [values.get(id(v), v.value) for v in self.layer.trainable_variables]
        fixed = [values.get(id(v), v.value) for v in self.layer.non_trainable_variables]
        outputs, _ = self.layer.stateless_call(trainable, fixed, inputs)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the wrapped layer's."""
        return self.layer.compute_output_shape(input_shape)
