"""The kind of wrapper that tracing sees through."""

from typing import Any

import keras


class TransparentWrapper(keras.layers.Wrapper):  # type: ignore[misc]  # Keras is untyped
    """Abstract: a wrapper that changes the values of a layer's weights, not its channels.

    Tracing applies the rule of the wrapped layer. Subclasses set `prunable`, by which a masked
    model remembers the choice that was made when it was wrapped.
    """

    prunable: bool = True

    def effective_kernel(self) -> Any:
        """The kernel that the wrapped layer computes with, in its shape and layout."""
        raise NotImplementedError(f"{type(self).__name__} must say which kernel its layer computes with.")
