"""The reference networks of the papers, built in one place for every benchmark.

Shapes: Anwar and Sung, arXiv 1610.09639, table of networks; `C5` is a 5x5 convolution, every
convolution of the MNIST networks is followed by a 2x2 max pool while its map is larger than one pixel.
"""

import keras
from keras import layers


def mnist1() -> keras.Model:
    """MNIST1, 16C5-32C5-64C5-120-10: (28, 28, 1) in 0..1 to 10 probabilities."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 5, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 5, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 5, padding="same", activation="relu", name="conv3"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu", name="dense"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax", name="classifier"),
        ],
        name="mnist1",
    )


def mnist2() -> keras.Model:
    """MNIST2, 6C5-16C5-120C5-84-10: (28, 28, 1) in 0..1 to 10 probabilities."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu", name="conv2"),
            layers.MaxPooling2D(2),
            layers.Conv2D(120, 5, activation="relu", name="conv3"),
            layers.Flatten(),
            layers.Dense(84, activation="relu", name="dense"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax", name="classifier"),
        ],
        name="mnist2",
    )


NETWORKS = {"MNIST1": mnist1, "MNIST2": mnist2}
