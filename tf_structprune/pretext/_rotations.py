"""The pretext task that asks by how much an image was turned."""

from typing import Any

import keras
from keras import ops

from tf_structprune.pretext._features import pooled
from tf_structprune.pretext._pretext import Pretext

_TURNS = 4


def rotations(images: Any) -> Any:
    """Every image turned by 0, 90, 180 and 270 degrees.

    Args:
        images: shape (samples, size, size, channels).

    Returns:
        Shape (samples, 4, size, size, channels).
    """
    return ops.stack([ops.rot90(images, turns, axes=(1, 2)) for turns in range(_TURNS)], axis=1)


@keras.saving.register_keras_serializable(package="tf_structprune")
class RotationPrediction(Pretext):
    """Tell by how much an image was turned, of four ways (RotNet: Gidaris, Singh, Komodakis, arXiv 1803.07728).

    Each image of a batch is there in all four ways; a dense layer on the features says which, and the loss is the cross
    entropy, the mean over the four (equations 2 and 3). `fit(x)` trains it, after a `compile` with an optimizer and no
    loss. Outputs are logits, shape (samples, 4 ways, 4 answers).

    Args:
        features: a built model with one input of square images (channels last), whose output are vectors or maps,
            whose means are taken; plain or from `wrap`.
        kwargs: name and the like, for Keras.

    Raises:
        TypeError: features that are no Keras model.
        ValueError: one that takes or gives something else.
    """

    def __init__(self, features: keras.Model, **kwargs: Any) -> None:
        super().__init__(features, **kwargs)
        shape = tuple(features.inputs[0].shape)
        if len(shape) != 4 or shape[1] is None or shape[1] != shape[2]:
            raise ValueError(
                f"RotationPrediction turns square images, (samples, size, size, channels). Received: model "
                f"'{features.name}' with inputs {shape}. Crop or resize them."
            )
        self.head = keras.layers.Dense(_TURNS, name="turn", dtype="float32")
        self.build(shape)

    def build(self, input_shape: Any) -> None:
        """Build the layer that answers."""
        del input_shape
        self.head.build((None, self.features.outputs[0].shape[-1]))
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Logits of the four answers for each of the four ways."""
        turned = ops.reshape(rotations(images), (-1, *images.shape[1:]))
        logits = self.head(pooled(self.features(turned, training=training)))
        return ops.reshape(logits, (-1, _TURNS, _TURNS))

    def losses_of(self, x: Any, y_pred: Any) -> Any:
        """The cross entropy of each image, the mean over its four ways."""
        del x
        right = ops.diagonal(ops.log_softmax(y_pred, axis=-1), axis1=1, axis2=2)
        return -ops.mean(right, axis=-1)

    def hits_of(self, x: Any, y_pred: Any) -> Any:
        """Which ways were told, shape (samples, 4)."""
        del x
        return ops.equal(ops.argmax(y_pred, axis=-1), ops.arange(_TURNS, dtype="int32"))
