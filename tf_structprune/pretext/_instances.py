"""The pretext task that asks which of all images one is."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_structprune.pretext._features import pooled
from tf_structprune.pretext._pretext import Pretext


@keras.saving.register_keras_serializable(package="tf_structprune")
class InstanceDiscrimination(Pretext):
    """Tell each image from all others, whose vectors a memory bank holds (NPID: Wu et al., arXiv 1805.01978).

    With the unit vector v of image i, the bank's vectors f, temperature t and n samples, P(i|v) is the softmax of
    f v / t (equation 2). With `negatives=None` the loss is -log P(i|v). With m negatives it is noise-contrastive
    estimation (equations 3 to 7): Z, the sum of exp(f v / t), is estimated by the negatives (equation 8);
    h(v) = P / (P + m / n), and the loss -log h of the image's own vector - sum of log(1 - h) of the negatives' ones.
    These are drawn once a batch, for all of its images. The paper holds the Z of the first batches. Here it is a moving
    average: held, it let all vectors run away together on scikit-learn's digits, and no image was told.
    `proximal` adds its multiple of |v - f_i|^2 (equation 9). After each training step f_i becomes momentum f_i +
    (1 - momentum) v, of unit length.

    Train it by `fit((x, np.arange(len(x))))`: the images with the index of each. Outputs are f v / t of the image's own
    vector first, then of the others: of the negatives, or with None of all samples in their order, without the own one
    in front.

    Args:
        features: a built model with one input, whose output are vectors or maps, whose means are taken; plain or from
            `wrap`.
        samples: training images, n.
        negatives: m, or None for all samples.
        temperature: t.
        momentum: share of a vector of the bank that stays.
        dimension: of the vectors, a dense layer on the features.
        proximal: weight of the proximal term.
        seed: of the bank and of the negatives.
        kwargs: name and the like, for Keras.

    Raises:
        TypeError: features that are no Keras model.
        ValueError: one that takes or gives something else, or a setting out of range.
    """

    def __init__(
        self,
        features: keras.Model,
        *,
        samples: int,
        negatives: int | None = 4096,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dimension: int = 128,
        proximal: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(features, **kwargs)
        self.samples, self.negatives, self.temperature = samples, negatives, temperature
        self.momentum, self.dimension, self.proximal, self.seed = momentum, dimension, proximal, seed
        self._check()
        self.draws = keras.random.SeedGenerator(seed)
        self.head = keras.layers.Dense(dimension, name="embedding", dtype="float32")
        self.bank: Any = None
        self.scale: Any = None
        self.build(None)

    def build(self, input_shape: Any) -> None:
        """Build the layer that makes the vectors, and the bank."""
        del input_shape
        self.head.build((None, self.features.outputs[0].shape[-1]))
        self.bank = self.add_weight(
            shape=(self.samples, self.dimension),
            dtype="float32",
            initializer=_UnitRows(self.seed),
            trainable=False,
            name="bank",
        )
        self.scale = self.add_weight(shape=(), dtype="float32", initializer="zeros", trainable=False, name="scale")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Similarities to the bank, which is renewed while training.

        Raises:
            ValueError: images without indices.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(
                "InstanceDiscrimination reads images and the index of each. Received: images alone. Use fit((x, "
                "np.arange(len(x))))."
            )
        images, indices = inputs
        indices = ops.cast(ops.reshape(indices, (-1,)), "int32")
        vectors = ops.normalize(self.head(pooled(self.features(images, training=training))), axis=-1)
        bank = ops.convert_to_tensor(self.bank)
        own = ops.take(bank, indices, axis=0)
        if self.negatives is None:
            found = ops.matmul(vectors, ops.transpose(bank)) / self.temperature
        else:
            drawn = keras.random.randint((self.negatives,), 0, self.samples, seed=self.draws)
            others = ops.matmul(vectors, ops.transpose(ops.take(bank, drawn, axis=0)))
            found = ops.concatenate([ops.sum(vectors * own, axis=1, keepdims=True), others], axis=1) / self.temperature
        if training:
            self._remember(indices, own, vectors, found)
        if self.proximal:
            self.add_loss(self.proximal * ops.mean(ops.sum(ops.square(vectors - own), axis=1)))
        return found

    def fit(self, x: Any = None, *args: Any, **settings: Any) -> Any:
        """As `keras.Model.fit`.

        Raises:
            ValueError: arrays with an index that no vector of the bank is of.
        """
        if isinstance(x, list | tuple) and len(x) == 2 and (indices := np.asarray(x[1])).size:
            least, largest = indices.min(), indices.max()
            if least < 0 or largest >= self.samples:
                raise ValueError(
                    f"The bank has a vector for each of {self.samples} images. Received: indices from {least} to "
                    f"{largest}. Use samples={largest + 1} and indices from 0."
                )
        return super().fit(x, *args, **settings)

    def losses_of(self, x: Any, y_pred: Any) -> Any:
        """The loss of each image."""
        if self.negatives is None:
            chosen = ops.one_hot(self._indices(x), self.samples, dtype=y_pred.dtype)
            return -ops.sum(ops.log_softmax(y_pred, axis=1) * chosen, axis=1)
        # log P - log(m / n), whose sigmoid is h
        odds = y_pred - ops.log(ops.maximum(self.scale, _TINY)) - math.log(self.negatives / self.samples)
        return -ops.log_sigmoid(odds[:, 0]) - ops.sum(ops.log_sigmoid(-odds[:, 1:]), axis=1)

    def hits_of(self, x: Any, y_pred: Any) -> Any:
        """Which images are nearest to their own vector, shape (samples,)."""
        if self.negatives is None:
            return ops.equal(ops.argmax(y_pred, axis=1), self._indices(x))
        return ops.greater_equal(y_pred[:, 0], ops.max(y_pred[:, 1:], axis=1))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("samples", "negatives", "temperature", "momentum", "dimension", "proximal", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def _remember(self, indices: Any, own: Any, vectors: Any, found: Any) -> None:
        """Renew the batch's rows of the bank, and the estimate of Z."""
        renewed = ops.normalize(self.momentum * own + (1 - self.momentum) * vectors, axis=-1)
        bank = ops.convert_to_tensor(self.bank)
        self.bank.assign(ops.scatter_update(bank, ops.expand_dims(indices, 1), ops.stop_gradient(renewed)))
        if self.negatives is not None:
            estimate = self.samples * ops.mean(ops.exp(ops.stop_gradient(found[:, 1:])))
            held = ops.convert_to_tensor(self.scale)
            self.scale.assign(ops.where(held > 0, _HELD * held + (1 - _HELD) * estimate, estimate))

    def _indices(self, x: Any) -> Any:
        return ops.cast(ops.reshape(x[1], (-1,)), "int32")

    def _check(self) -> None:
        least = {"samples": 2, "dimension": 1} | ({} if self.negatives is None else {"negatives": 1})
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ValueError(
                    f"InstanceDiscrimination: {name} must be at least {smallest}. Received: "
                    f"{name}={getattr(self, name)}."
                )
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                f"InstanceDiscrimination: temperature must be above 0. Received: temperature={self.temperature}. Use "
                "e.g. 0.07."
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(
                f"InstanceDiscrimination: momentum must be in [0, 1). Received: momentum={self.momentum}. Use e.g. 0.5."
            )
        if not 0 <= self.proximal < math.inf:
            raise ValueError(
                f"InstanceDiscrimination: proximal must be 0 or more. Received: proximal={self.proximal}. Use 0."
            )


_TINY = 1e-30  # Z of a bank that saw no training yet
_HELD = 0.9  # of Z in a step


class _UnitRows:
    """Random directions, as an initializer."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.normalize(keras.random.normal(shape, dtype=dtype, seed=self.seed), axis=-1)
