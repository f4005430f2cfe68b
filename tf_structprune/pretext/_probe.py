"""What features are worth on a task with labels: a linear classifier on them, or all of it trained on."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from tf_structprune.layers import copy_model
from tf_structprune.pretext._features import check_features, pooled

Labelled = tuple[Any, Any]
"""Samples and the class index of each."""

_BATCH = 256
_LOSS = "sparse_categorical_crossentropy"
_POOLINGS = {
    3: keras.layers.GlobalAveragePooling1D,
    4: keras.layers.GlobalAveragePooling2D,
    5: keras.layers.GlobalAveragePooling3D,
}


def linear_probe(
    features: keras.Model, data: Labelled, validation: Labelled, *, l2: float = 1e-4, iterations: int = 300
) -> float:
    """Accuracy of a linear classifier on features that are held as they are, the usual measure of transfer.

    Multinomial logistic regression on the features (maps as their means), of mean 0 and deviation 1 on the training
    samples, by L-BFGS from zero: nothing is drawn. The network is not changed.

    Args:
        features: a built model with one input, whose output are vectors or maps; plain or masked.
        data: training samples and labels, class indices from 0.
        validation: likewise, which the accuracy is of.
        l2: weight of the squared coefficients, beside the mean cross entropy.
        iterations: most steps of L-BFGS.

    Returns:
        The share of the validation samples that is told rightly, in [0, 1].

    Raises:
        TypeError: features that are no Keras model.
        ValueError: one that takes or gives something else, labels that are no class indices, one a sample, features
            that are not finite, or a setting out of range.
    """
    check_features(features, "linear_probe")
    if l2 < 0 or iterations < 1:
        raise ValueError(
            f"linear_probe: l2 must be 0 or more, and iterations 1 or more. Received: l2={l2} and "
            f"iterations={iterations}. Use e.g. 1e-4 and 300."
        )
    y, y_found = _labels(data, "training"), _labels(validation, "validation")
    x, x_found = (_vectors_of(features, samples) for samples, _ in (data, validation))
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation[deviation == 0] = 1  # what never changes tells nothing
    coefficients = _regression(_with_one((x - mean) / deviation), y, l2, iterations)
    told = (_with_one((x_found - mean) / deviation) @ coefficients).argmax(axis=1)
    return float(np.mean(told == y_found))


def classifier_on(features: keras.Model, classes: int, *, name: str = "classifier") -> keras.Model:
    """A copy of a network with one dense layer and a softmax on top, not trained; masks stay and hold.

    Args:
        features: a built model with one input, whose output are vectors or maps; plain or masked.
        classes: number of classes, 2 or more.
        name: of the layer.

    Raises:
        TypeError: features that are no Keras model.
        ValueError: one that takes or gives something else, or fewer classes.
    """
    check_features(features, "classifier_on")
    if classes < 2:
        raise ValueError(f"classifier_on: classes must be at least 2. Received: classes={classes}.")
    copy = copy_model(features)
    tensor = copy.outputs[0]
    if (pooling := _POOLINGS.get(len(tensor.shape))) is not None:
        tensor = pooling(data_format="channels_last")(tensor)
    return keras.Model(copy.inputs[0], keras.layers.Dense(classes, activation="softmax", name=name)(tensor))


def fine_tuned(
    features: keras.Model,
    data: Labelled,
    *,
    epochs: int = 10,
    rate: float = 1e-3,
    batch_size: int = 128,
    validation: Labelled | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """A classifier on top of a network, all weights that are kept trained on labels; masks hold.

    With Adam, whose rate falls as a cosine to zero. Call `keras.utils.set_random_seed` before for the same again.

    Args:
        features: a built model with one input, whose output are vectors or maps; plain or masked; it is not changed.
        data: training samples and labels, class indices from 0.
        epochs: rounds through them, 1 or more.
        rate: learning rate at the start, above 0.
        batch_size: samples of a step.
        validation: samples and labels whose accuracy is logged after every epoch.
        callbacks: of `fit`.

    Returns:
        The classifier, compiled, with the metric "accuracy".

    Raises:
        TypeError: features that are no Keras model.
        ValueError: one that takes or gives something else, labels that are no class indices, one a sample, or a setting
            out of range.
    """
    for setting, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"fine_tuned: {setting} must be at least 1. Received: {setting}={value}.")
    if not 0 < rate < np.inf:
        raise ValueError(f"fine_tuned: rate must be a number above 0. Received: rate={rate}. Use e.g. 1e-3.")
    y = _labels(data, "training")
    model = classifier_on(features, max(2, int(y.max()) + 1))
    steps = epochs * -(-len(y) // batch_size)
    falls = keras.optimizers.schedules.CosineDecay(rate, steps)
    model.compile(keras.optimizers.Adam(falls), _LOSS, metrics=["accuracy"])
    model.fit(
        data[0], y, batch_size=batch_size, epochs=epochs, validation_data=validation, verbose=0, callbacks=[*callbacks]
    )
    return model


def _labels(data: Labelled, what: str) -> NDArray[np.int64]:
    y = np.asarray(data[1])
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    whole = y.ndim == 1 and y.size > 0 and y.dtype.kind in "iu" and int(y.min()) >= 0
    if not whole or len(y) != len(data[0]):
        raise ValueError(
            f"The {what} labels of a probe are class indices from 0, one a sample. Received: {y.dtype} of shape "
            f"{y.shape} for {len(data[0])} samples. Use y.argmax(-1) for one-hot rows."
        )
    return y.astype(np.int64)


def _vectors_of(features: keras.Model, x: Any) -> NDArray[np.float64]:
    found = features.predict(x, batch_size=_BATCH, verbose=0)
    vectors = np.asarray(keras.ops.convert_to_numpy(pooled(keras.ops.convert_to_tensor(found))), np.float64)
    if not np.isfinite(vectors).all():
        raise ValueError(
            f"Model '{features.name}' gives features that are not finite. Received: "
            f"{int((~np.isfinite(vectors)).sum())} of them. Look for NaN in its weights."
        )
    return vectors


def _with_one(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """With a column of ones, for the bias."""
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _regression(x: NDArray[np.float64], y: NDArray[np.int64], l2: float, iterations: int) -> NDArray[np.float64]:
    """Coefficients of multinomial logistic regression, shape (features + 1, classes)."""
    shape = (x.shape[1], int(y.max()) + 1)
    wanted = np.eye(shape[1])[y]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        coefficients = flat.reshape(shape)
        logits = x @ coefficients
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(axis=1, keepdims=True)
        free = coefficients.copy()
        free[-1] = 0  # the bias
        gradient = x.T @ (powers / sums - wanted) / len(x) + 2 * l2 * free
        return float(
            np.mean(np.log(sums[:, 0]) - (logits * wanted).sum(axis=1)) + l2 * np.sum(free**2)
        ), gradient.ravel()

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    coefficients: NDArray[np.float64] = found.x.reshape(shape)
    return coefficients
