"""Batches of images for trainings of many epochs, the same ones again after a kill."""

import math
from typing import Any

import keras
import numpy as np

SHIFT = 4  # pixels


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
