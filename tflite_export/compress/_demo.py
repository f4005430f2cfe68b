"""A small CNN on scikit-learn's digits: real images, no download."""

import keras
import numpy as np
from keras import layers

from tf_structprune.layers import build_optimizer
from tflite_export.compress._data import Data, split

_TEST = 360
_EPOCHS = 25


def load_digits(*, seed: int = 0) -> Data:
    """1,797 images of 8 x 8 pixels in 0..1; 360 are the test part.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The demo needs scikit-learn for its images. Received: no module 'sklearn'. Install tf-structprune[demo]."
        ) from error
    digits = datasets.load_digits()
    x = (digits.images[..., None] / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(x))
    x, y = x[order], digits.target[order]
    return split(x[_TEST:], y[_TEST:], x[:_TEST], y[:_TEST], seed=seed)


def digits_cnn() -> keras.Model:
    """A CNN of four convolutions with one residual block, 8 x 8 x 1 to 10 probabilities."""
    inputs = keras.Input((8, 8, 1))
    x = _block(inputs, 32)
    x = _block(x, 32)
    shortcut = x = layers.MaxPooling2D(2)(_block(x, 64))
    x = layers.Conv2D(64, 3, padding="same", use_bias=False)(_block(x, 64))
    x = layers.ReLU()(layers.Add()([shortcut, layers.BatchNormalization()(x)]))
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x), name="digits")


def train_digits(data: Data, *, seed: int = 0) -> keras.Model:
    """The CNN, trained; about twenty seconds on two cores."""
    keras.utils.set_random_seed(seed)
    model = digits_cnn()
    rate = keras.optimizers.schedules.CosineDecay(3e-3, _EPOCHS * -(-len(data.x_train) // 64))
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
    build_optimizer(model)
    model.fit(data.x_train, data.y_train, batch_size=64, epochs=_EPOCHS, verbose=0)
    return model


def _block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))
