"""Small networks for every kind of task, with data on which each learns something in seconds."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

_L = keras.layers
SIZE = 12


@dataclasses.dataclass(frozen=True)
class Kind:
    """A task: how its network is made and compiled, and its data.

    Attributes:
        build: makes the network.
        data: makes so many samples and targets from a seed.
        loss: what it is compiled with.
        epochs: of its training.
    """

    build: Callable[[], keras.Model]
    data: Callable[[int, int], tuple[Any, Any]]
    loss: Any
    epochs: int = 6


def rows(samples, seed):
    """Images with a bright row and a bright column, and their places."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.2, (samples, SIZE, SIZE, 1)).astype(np.float32)
    row, column = rng.integers(0, SIZE, (2, samples))
    x[np.arange(samples), row, :, 0] += 1
    x[np.arange(samples), :, column, 0] += 1
    return x, row, column


def _trunk(x):
    x = _L.Conv2D(8, 3, padding="same", activation="relu", name="first")(x)
    x = _L.Conv2D(12, 3, padding="same", activation="relu", name="second")(x)
    return _L.Flatten()(_L.MaxPooling2D(3)(_L.Conv2D(12, 3, padding="same", activation="relu", name="third")(x)))


def _image():
    return keras.Input((SIZE, SIZE, 1), name="image")


def _ending(units, activation=None):
    def build():
        inputs = _image()
        hidden = _L.Dense(24, activation="relu", name="hidden")(_trunk(inputs))
        return keras.Model(inputs, _L.Dense(units, activation=activation, name="head")(hidden))

    return build


def _upper(samples, seed):
    x, row, _ = rows(samples, seed)
    return x, (row < SIZE // 2).astype(np.float32)[:, None]


def _labels(samples, seed):
    x, row, column = rows(samples, seed)
    bits = [row < 4, row > 8, column < 4, column > 8, row % 2 == 0]
    return x, np.stack(bits, axis=1).astype(np.float32)


def _landmarks(samples, seed):
    x, row, column = rows(samples, seed)
    places = np.linspace(0, 1, 68)
    points = np.stack([row[:, None] / SIZE + places, column[:, None] / SIZE - places], axis=2)
    return x, points.reshape(samples, 136).astype(np.float32)


def _unet():
    inputs = _image()
    fine = _L.Conv2D(8, 3, padding="same", activation="relu", name="down_1")(inputs)
    coarse = _L.Conv2D(12, 3, padding="same", activation="relu", name="down_2")(_L.MaxPooling2D(2)(fine))
    up = _L.Conv2DTranspose(8, 2, strides=2, activation="relu", name="up")(coarse)
    x = _L.Conv2D(8, 3, padding="same", activation="relu", name="join")(_L.Concatenate()([fine, up]))
    kinds = _L.Conv2D(3, 1, activation="softmax", name="kinds")(x)
    return keras.Model(inputs, [kinds, _L.Conv2D(1, 1, activation="sigmoid", name="crossing")(x)])


def _maps(samples, seed):
    x, row, column = rows(samples, seed)
    kinds = np.zeros((samples, SIZE, SIZE), np.int32)
    kinds[np.arange(samples), row] = 1
    kinds[np.arange(samples), :, column] = 2
    crossing = np.zeros((samples, SIZE, SIZE, 1), np.float32)
    crossing[np.arange(samples), row] = 1
    return x, [kinds, crossing]


def _detector():
    inputs = _image()
    x = _L.Dense(24, activation="relu", name="hidden")(_trunk(inputs))
    boxes, score = _L.Dense(4, name="boxes")(x), _L.Dense(1, activation="sigmoid", name="score")(x)
    return keras.Model(inputs, _L.Concatenate(name="detections")([boxes, score]))


def _boxes(samples, seed):
    x, row, column = rows(samples, seed)
    box = np.stack([row, column, row + 1, column + 1], axis=1) / SIZE
    return x, np.concatenate([box, (row < column)[:, None]], axis=1).astype(np.float32)


def _autoencoder():
    inputs = keras.Input((640,), name="frames")
    x = inputs
    for index, units in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128), 1):
        x = _L.Dense(units, activation="relu", name=f"dense_{index}")(x)
    return keras.Model(inputs, _L.Dense(640, name="restored")(x))


def _frames(samples, seed):
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    x = (rng.random((samples, 4)) @ fixed.normal(size=(4, 640))).astype(np.float32)
    return x, x


def _two_inputs():
    image, numbers = _image(), keras.Input((3,), name="numbers")
    x = _L.Concatenate()([_trunk(image), _L.Dense(8, activation="relu", name="of_numbers")(numbers)])
    x = _L.Dense(24, activation="relu", name="hidden")(x)
    return keras.Model([image, numbers], _L.Dense(3, activation="softmax", name="head")(x))


def _image_and_numbers(samples, seed):
    x, row, _ = rows(samples, seed)
    numbers = np.random.default_rng((seed, 1)).normal(size=(samples, 3)).astype(np.float32)
    return [x, numbers], np.where(numbers[:, 0] > 0, 2, row < SIZE // 2).astype(np.int64)


def _of_tokens():
    tokens = keras.Input((16,), dtype="int32", name="tokens")
    x = _L.Embedding(20, 8, name="embedding")(tokens)
    x = _L.Conv1D(12, 3, activation="relu", name="first")(x)
    x = _L.GlobalMaxPooling1D()(_L.Conv1D(12, 3, activation="relu", name="second")(x))
    return keras.Model(tokens, _L.Dense(2, activation="softmax", name="head")(x))


def _tokens(samples, seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 20, (samples, 16)).astype(np.int32)
    return x, (x == 7).any(axis=1).astype(np.int64)


def _transfer():
    inner = _image()
    backbone = keras.Model(inner, _trunk(inner), name="backbone")
    backbone.trainable = False
    inputs = keras.Input((SIZE, SIZE, 1), name="picture")
    x = _L.Dense(24, activation="relu", name="hidden")(backbone(inputs))
    return keras.Model(inputs, _L.Dense(2, activation="softmax", name="head")(x))


def _halves(samples, seed):
    x, row, _ = rows(samples, seed)
    return x, (row < SIZE // 2).astype(np.int64)


def _dictionaries():
    inputs = {"image": _image(), "numbers": keras.Input((3,), name="numbers")}
    x = _L.Concatenate()([_trunk(inputs["image"]), inputs["numbers"]])
    x = _L.Dense(24, activation="relu", name="hidden")(x)
    heads = {"place": _L.Dense(1, name="place"), "half": _L.Dense(2, activation="softmax", name="half")}
    return keras.Model(inputs, {name: head(x) for name, head in heads.items()})


def _by_name(samples, seed):
    x, row, column = rows(samples, seed)
    numbers = np.random.default_rng((seed, 1)).normal(size=(samples, 3)).astype(np.float32)
    place = (column / SIZE + 0.2 * numbers[:, 0]).astype(np.float32)[:, None]
    return {"image": x, "numbers": numbers}, {"place": place, "half": (row < SIZE // 2).astype(np.int64)}


CROSSENTROPY = "sparse_categorical_crossentropy"
KINDS = {
    "sigmoid": Kind(_ending(1, "sigmoid"), _upper, "binary_crossentropy"),
    "logit": Kind(_ending(1), _upper, keras.losses.BinaryCrossentropy(from_logits=True)),
    "labels": Kind(_ending(5, "sigmoid"), _labels, "binary_crossentropy"),
    "regression": Kind(_ending(136), _landmarks, "mse"),
    "segmentation": Kind(_unet, _maps, [CROSSENTROPY, "binary_crossentropy"]),
    "detection": Kind(_detector, _boxes, "mse"),
    "autoencoder": Kind(_autoencoder, _frames, "mse"),
    "two inputs": Kind(_two_inputs, _image_and_numbers, CROSSENTROPY),
    "tokens": Kind(_of_tokens, _tokens, CROSSENTROPY),
    "frozen backbone": Kind(_transfer, _halves, CROSSENTROPY),
    "dictionaries": Kind(_dictionaries, _by_name, {"place": "mse", "half": CROSSENTROPY}),
}


@functools.cache
def trained(name: str) -> keras.Model:
    """A network that was trained; shared, so it must not be changed."""
    keras.utils.set_random_seed(0)
    kind = KINDS[name]
    model = kind.build()
    model.compile(keras.optimizers.Adam(3e-3), kind.loss)
    x, y = kind.data(320, 0)
    model.fit(x, y, epochs=kind.epochs, batch_size=16, verbose=0)
    return model
