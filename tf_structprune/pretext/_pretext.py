"""What pretext tasks have in common: a network inside, a loss without labels, an accuracy."""

from abc import abstractmethod
from typing import Any, Self

import keras
from keras import ops

from tf_structprune.pretext._features import check_features


class Pretext(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """A model that trains another one, its features, on a question whose answer needs no label.

    Args:
        features: the network.
        kwargs: name and the like, for Keras.
    """

    def __init__(self, features: keras.Model, **kwargs: Any) -> None:
        check_features(features, type(self).__name__)
        super().__init__(**kwargs)
        self.features = features
        self.accuracy = keras.metrics.Mean(name="accuracy")

    @property
    def student(self) -> keras.Model:
        """The network, where callbacks look for the one that they prune."""
        return self.features

    @abstractmethod
    def losses_of(self, x: Any, y_pred: Any) -> Any:
        """The loss of each sample of a batch, shape (samples,)."""

    @abstractmethod
    def hits_of(self, x: Any, y_pred: Any) -> Any:
        """1 where a question was answered rightly, else 0."""

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The mean loss of the batch and the regularizers'; targets, if there are any, do not count."""
        del y, training
        losses = self.losses_of(x, y_pred)
        if sample_weight is not None:
            losses = losses * ops.reshape(ops.cast(sample_weight, losses.dtype), (-1,))
        return sum(self.losses, start=ops.mean(losses))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the accuracy, and give all metrics."""
        del y, sample_weight
        self.accuracy.update_state(ops.cast(self.hits_of(x, y_pred), "float32"))
        metrics: dict[str, Any] = self.get_metrics_result()
        return metrics

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        features = keras.saving.serialize_keras_object(self.features)
        features.pop("compile_config", None)  # what it was compiled with does not train it here
        return {**super().get_config(), "features": features}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The model of a configuration, which is not changed."""
        read = {
            name: keras.saving.deserialize_keras_object(value, custom_objects) if _is_object(value) else value
            for name, value in config.items()
        }
        return cls(**read)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and "class_name" in value
