"""Stereo pairs whose disparities are known exactly, and a small hourglass that finds them.

The right view is a window of two CIFAR-10 images side by side; the left one looks up, for each of its pixels, the right
one so many pixels further left: left(x) = right(x - disparity(x)), by linear interpolation. So every pixel of the left
view has a true disparity, and some have what they look at outside of the right view, as at the edge of real pairs. The
disparities are a coarse random grid, spread linearly. What the network reads is the left view and a cost volume: the
mean absolute difference to the right view, moved by each whole disparity.
"""

from typing import Any

import keras
import numpy as np

from benchmarks._batches import images

SIDE, MOST, GRID = 32, 8, 4
"""Pixels of a side, the largest disparity in pixels, and places of the coarse grid in each direction."""
NOISE = 0.05  # of each view's pixels, which lie in [-1, 1]
_L = keras.layers


def _spread(coarse: np.ndarray) -> np.ndarray:
    """Grids of (pairs, GRID, GRID) as maps of (pairs, SIDE, SIDE), linear in between."""
    at = np.linspace(0, GRID - 1, SIDE)
    near = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(GRID)))  # a hat for each place
    return np.einsum("ya,nab,xb->nyx", near, coarse, near)


def pairs(textures: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What the network reads, (pairs, SIDE, SIDE, 3 + 1 + MOST), and the disparities, (pairs, SIDE, SIDE, 1).

    Args:
        textures: images from -1 to 1, (2 * pairs, SIDE, SIDE, 3).
        rng: draws disparities and noise.
    """
    wide = np.concatenate([textures[::2], textures[1::2]], axis=2)
    count = len(wide)
    disparity = _spread(rng.uniform(0, MOST, (count, GRID, GRID)))
    at = np.arange(SIDE) + MOST - disparity  # in `wide`, whose column MOST is the first one of the right view
    low = np.floor(at).astype(np.int64)
    share = (at - low)[..., None]
    rows = np.arange(count)[:, None, None], np.arange(SIDE)[None, :, None]
    left = (1 - share) * wide[(*rows, low)] + share * wide[(*rows, low + 1)]
    left += rng.normal(0, NOISE, left.shape)
    seen = wide[:, :, MOST : MOST + SIDE] + rng.normal(0, NOISE, left.shape)
    costs = np.ones((count, SIDE, SIDE, 1 + MOST))  # where the right view ends
    for shift in range(1 + MOST):
        costs[:, :, shift:, shift] = np.abs(left[:, :, shift:] - seen[:, :, : SIDE - shift]).mean(-1)
    return np.concatenate([left, costs], axis=-1).astype(np.float32), disparity[..., None].astype(np.float32)


class Pairs(keras.utils.PyDataset):
    """Batches of pairs, new ones in each epoch, the same for a seed.

    Args:
        path: CIFAR-10.
        count: pairs of an epoch.
        size: of a batch.
        seed: of what is drawn.
    """

    def __init__(self, path: str, count: int, size: int, seed: int) -> None:
        super().__init__()
        self.textures, _ = images(path, "train")
        self.count, self.size, self.seed, self.epoch = count, size, seed, 0

    def begin(self, epoch: int, logs: object = None) -> None:
        """Which epoch is drawn."""
        del logs
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        return pairs(self.textures[rng.choice(len(self.textures), 2 * self.size, replace=False)], rng)


def held_out(path: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of test images, the same in each call."""
    return pairs(images(path, "test", 2 * count)[0], np.random.default_rng(0))


def _conv(x: Any, maps: int, name: str, strides: int = 1) -> Any:
    x = _L.Conv2D(maps, 3, strides, padding="same", use_bias=False, name=name)(x)
    return _L.ReLU()(_L.BatchNormalization(name=f"{name}_norm")(x))


def _twice(x: Any) -> Any:
    """Each pixel four times, as `UpSampling2D` has it, by layers that have a form in fixed point."""
    _, height, width, maps = x.shape
    x = _L.Reshape((height, 2 * width * maps))(_L.Concatenate()([x, x]))
    return _L.Reshape((2 * height, 2 * width, maps))(_L.Concatenate()([x, x]))


def hourglass() -> keras.Model:
    """Down to a quarter of the side and up again, with what was there before added: 51,048 weights of kernels."""
    inputs = keras.Input((SIDE, SIDE, 4 + MOST))
    whole = _conv(inputs, 8, "whole")
    half = _conv(whole, 24, "half", 2)
    x = _conv(_conv(half, 48, "quarter", 2), 48, "middle")
    x = _L.Add()([_twice(_conv(x, 24, "up_half")), half])
    x = _twice(_conv(_conv(x, 24, "mixed"), 8, "up_whole"))
    x = _L.Add()([x, whole])
    return keras.Model(inputs, _L.Conv2D(1, 3, padding="same", name="disparity")(x), name="hourglass")


def errors(model: keras.Model, part: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
    """Mean end-point error in pixels, and the share of pixels that are off by more than one and by more than three."""
    x, y = part
    off = np.abs(model.predict(x, batch_size=250, verbose=0) - y)
    return {"end_point_error": float(off.mean()), "over_1": float((off > 1).mean()), "over_3": float((off > 3).mean())}
