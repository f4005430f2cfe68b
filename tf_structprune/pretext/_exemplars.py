"""The pretext task that asks which changed images were the same one."""

from typing import Any

import keras
from keras import ops

from tf_structprune.pretext._features import pooled
from tf_structprune.pretext._pretext import Pretext


@keras.saving.register_keras_serializable(package="tf_structprune")
class ExemplarTriplets(Pretext):
    """Keep two changes of one image together and apart from other images, by a margin.

    Every image is a class of its own, made of its random changes (Exemplar-CNN: Dosovitskiy et al., arXiv 1406.6909);
    in the form of triplets (Doersch and Zisserman, arXiv 1708.07860, section 2.1) it needs no classes. With unit
    vectors a and b of two changes and the cosine distance D, the loss of an image i is the mean over the others j of

        max(0, margin + D(a_i, b_i) - D(a_i, b_j)).

    The accuracy is the share of a_i to which b_i is nearest. `fit(x)` trains it, after a `compile` with an optimizer
    and no loss; larger batches have more to tell apart, and one image alone has no loss. Outputs are the vectors, shape
    (samples, 2, dimension).

    Args:
        features: a built model with one input of images, whose output are vectors or maps, whose means are taken;
            plain or from `wrap`.
        changes: a layer, or a `keras.Sequential` of several, that changes images at random; None for flips, shifts by
            a tenth, turns by up to 18 degrees and zooms by up to a fifth. Colours stay; their range is yours.
        margin: by how much others are to be further away, of distances from 0 to 2.
        dimension: of the vectors, a dense layer on the features.
        seed: of the changes by default.
        kwargs: name and the like, for Keras.

    Raises:
        TypeError: features that are no Keras model.
        ValueError: one that takes or gives something else, or a setting out of range.
    """

    def __init__(
        self,
        features: keras.Model,
        *,
        changes: keras.layers.Layer | None = None,
        margin: float = 0.5,
        dimension: int = 128,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, **kwargs)
        if not 0 < margin <= 2:
            raise ValueError(f"ExemplarTriplets: margin must be in (0, 2]. Received: margin={margin}. Use e.g. 0.5.")
        if dimension < 1:
            raise ValueError(
                f"ExemplarTriplets: dimension must be at least 1. Received: dimension={dimension}. Use e.g. 128."
            )
        self.margin, self.dimension, self.seed = margin, dimension, seed
        self.changes = _usual_changes(seed) if changes is None else changes
        self.head = keras.layers.Dense(dimension, name="embedding", dtype="float32")
        self.build(tuple(features.inputs[0].shape))

    def build(self, input_shape: Any) -> None:
        """Build the layer that makes the vectors."""
        if not self.changes.built:
            self.changes.build(input_shape)
        self.head.build((None, self.features.outputs[0].shape[-1]))
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Unit vectors of two changes of each image; images are changed when it is evaluated, too."""
        changed = ops.stack([self.changes(images, training=True) for _ in range(2)], axis=1)
        flat = ops.reshape(changed, (-1, *images.shape[1:]))
        vectors = ops.normalize(self.head(pooled(self.features(flat, training=training))), axis=-1)
        return ops.reshape(vectors, (-1, 2, self.dimension))

    def losses_of(self, x: Any, y_pred: Any) -> Any:
        """The loss of each image, the mean over the others."""
        del x
        near = _similarities(y_pred)
        others = 1 - ops.eye(ops.shape(near)[0], dtype=near.dtype)
        # D(a_i, b_i) - D(a_i, b_j) of cosine distances is the difference of the cosines
        missing = ops.relu(self.margin + near - ops.expand_dims(ops.diagonal(near), 1))
        return ops.sum(missing * others, axis=1) / ops.maximum(ops.sum(others, axis=1), 1)

    def hits_of(self, x: Any, y_pred: Any) -> Any:
        """Of which images the other change is the nearest, shape (samples,)."""
        del x
        near = _similarities(y_pred)
        return ops.equal(ops.argmax(near, axis=1), ops.arange(ops.shape(near)[0], dtype="int32"))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "changes": keras.saving.serialize_keras_object(self.changes),
            "margin": self.margin,
            "dimension": self.dimension,
            "seed": self.seed,
        }


def _similarities(vectors: Any) -> Any:
    """Cosines between the first change of each image and the second of each other one, shape (samples, samples)."""
    return ops.matmul(vectors[:, 0], ops.transpose(vectors[:, 1]))


def _usual_changes(seed: int) -> keras.Sequential:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.RandomFlip("horizontal", seed=seed),
            layers.RandomTranslation(0.1, 0.1, seed=seed + 1),
            layers.RandomRotation(0.05, seed=seed + 2),
            layers.RandomZoom(0.2, seed=seed + 3),
        ],
        name="changes",
    )
