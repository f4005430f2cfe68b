"""The kind of wrapper that tracing sees through."""

import keras


class TransparentWrapper(keras.layers.Wrapper):  # type: ignore[misc]  # Keras is untyped
    """Abstract: a wrapper that changes the values of a layer's weights, not its channels.

    Tracing applies the rule of the wrapped layer. Subclasses set `prunable`, by which a masked
    model remembers the choice that was made when it was wrapped.
    """

    prunable: bool = True
