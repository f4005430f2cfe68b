"""CIFAR-10 for trainings of many epochs: its images, batches that are the same again after a kill, accuracy."""

import math
from typing import Any

import keras
import numpy as np

SHIFT = 4  # pixels
Part = tuple[np.ndarray, np.ndarray]
"""Images from -1 to 1, and labels."""


def images(path: str, part: str, most: int | None = None) -> Part:
    """The first images of a part, "train" or "test", of CIFAR-10 as load.py writes it; None or 0 for all."""
    with np.load(path) as file:
        count = most or len(file[f"y_{part}"])
        return file[f"x_{part}"][:count] / np.float32(127.5) - 1, file[f"y_{part}"].reshape(-1)[:count]


def accuracy(model: keras.Model, part: Part) -> float:
    """Share of images whose class is found."""
    x, y = part
    return float((np.argmax(model.predict(x, batch_size=1_000, verbose=0), axis=1) == y).mean())


class Batches(keras.utils.PyDataset):
    """Shuffled batches, flipped and shifted by up to four pixels."""

    def __init__(self, x: np.ndarray, y: np.ndarray, size: int, seed: int) -> None:
        super().__init__(workers=4)
        self.padded = np.pad(x, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
        self.y, self.size, self.seed = y, size, seed
        self.begin(0)

    def begin(self, epoch: int, logs: Any = None) -> None:
        """Draw the order of an epoch."""
        del logs
        self.epoch, self.order = epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self.y))

    def __len__(self) -> int:
        return math.ceil(len(self.y) / self.size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order[index * self.size : (index + 1) * self.size]
        rng = np.random.default_rng((self.seed, self.epoch, 1 + index))
        (up, left), side = rng.integers(0, 2 * SHIFT + 1, (2, len(rows))), self.padded.shape[1] - 2 * SHIFT
        windows = np.lib.stride_tricks.sliding_window_view(self.padded[rows], (side, side), axis=(1, 2))
        x = windows[np.arange(len(rows)), up, left].transpose(0, 2, 3, 1)
        flipped = rng.random(len(rows)) < 0.5
        return np.where(flipped[:, None, None, None], x[:, :, ::-1], x).astype(np.float32), self.y[rows]
