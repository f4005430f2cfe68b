"""The wrapper layer whose kernel is made of a few shared values."""

from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tf_structprune.graph import TransparentWrapper, kernel_variable

_SMALL = 255  # shared values up to which an index takes one byte


@keras.saving.register_keras_serializable(package="tf_structprune")
class SharedBook(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """The values that the kernels of one or several layers share: what is trained of them.

    Args:
        count: number of values.
    """

    def __init__(self, count: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape: Any = None) -> None:
        """Zeros, until `SharedLayer.take` sets them."""
        self.values = self.add_weight(shape=(self.count,), initializer="zeros", name="values")
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "count": self.count}


@keras.saving.register_keras_serializable(package="tf_structprune")
class SharedLayer(TransparentWrapper):
    """A convolution or dense layer each of whose weights is one of a few shared values, or 0.

    Training changes the values: the gradient of one is the sum of those of the weights that have it, in all layers of
    the book (Han, Mao, Dally, arXiv 1510.00149, equation 3). Which weight has which value stays, and zeros stay zero.
    The wrapped layer's own kernel is not used and not trained.

    Args:
        layer: the layer, which has one kernel.
        book: the values, a layer that others may hold too, or its configuration.
    """

    def __init__(self, layer: keras.layers.Layer, *, book: SharedBook | Mapping[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("name", layer.name)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.activity_regularizer = layer.activity_regularizer  # of the outputs, which the wrapper gives
        self.book = book if isinstance(book, SharedBook) else keras.saving.deserialize_keras_object(dict(book))

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped layer, the values and indices of zeros."""
        super().build(input_shape)
        if not self.book.built:
            self.book.build()
        self.kernel_variable.trainable = False
        self.index = self.add_weight(
            shape=tuple(self.kernel_variable.shape),
            dtype="uint8" if self.book.count <= _SMALL else "int32",
            initializer="zeros",
            trainable=False,
            name="index",
        )

    def call(self, inputs: Any) -> Any:
        """The wrapped layer's output with the kernel of shared values."""
        return self.called_with({id(self.kernel_variable): self.effective_kernel()}, inputs)

    def effective_kernel(self, variable: Any = None) -> Any:
        """The kernel, shape and layout of the wrapped layer's kernel.

        Args:
            variable: not needed: the kernel follows from indices and shared values.
        """
        del variable
        values = ops.convert_to_tensor(self.book.values)
        with_zero = ops.concatenate([ops.zeros((1,), values.dtype), values])
        index = ops.cast(ops.convert_to_tensor(self.index), "int32")
        return ops.cast(ops.take(with_zero, index, axis=0), self.kernel_variable.dtype)

    @property
    def kernel_variable(self) -> Any:
        """The wrapped layer's own kernel."""
        return kernel_variable(self)

    def take(self, index: NDArray[np.integer]) -> None:
        """Say which value each weight has.

        Args:
            index: in the shape of the kernel: 0 for zero, i for the value i - 1 of the book.
        """
        self.index.assign(index)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments. The book is in it as the object that it is: Keras, which writes it, then knows
        in which layers it is the same, and makes one of it when a file is read."""
        return {**super().get_config(), "book": self.book}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The layer of a configuration, which is not changed."""
        layer: Self = super().from_config(dict(config), custom_objects)
        return layer
