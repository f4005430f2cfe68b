"""Spoken digits as log-mel energies: what the benchmarks on sound share."""

import pathlib
from collections.abc import Mapping

import numpy as np

RATE = 8_000


def parts_of(
    file: str | pathlib.Path, *, validation: int, seed: int = 0
) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Sounds, int16 of shape (N, 8000), and digits by part: train, val and the data set's own test part.

    Args:
        file: a .npz of the data set, with x_train, y_train, x_test and y_test.
        validation: clips held out of x_train.
        seed: of their choice.
    """
    with np.load(file) as data:
        sounds, digits, tested = data["x_train"], data["y_train"], (data["x_test"], data["y_test"])
    order = np.random.default_rng(seed).permutation(len(sounds))
    held, rest = order[:validation], order[validation:]
    return {"train": (sounds[rest], digits[rest]), "val": (sounds[held], digits[held]), "test": tested}


def images_of(file: str | pathlib.Path, *, validation: int, seed: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Log-mel energies, shape (clips, 49, 32, 1), and digits by part; see `parts_of`."""
    return {
        part: ((log_mel(sound, frame=240, hop=160, bands=32)[..., None] / 10 + 1).astype(np.float32), digits)
        for part, (sound, digits) in parts_of(file, validation=validation, seed=seed).items()
    }


def log_mel(sound: np.ndarray, *, frame: int, hop: int, bands: int) -> np.ndarray:
    """Logarithms of the energies of mel bands, shape (clips, frames, bands).

    Args:
        sound: int16, shape (clips, samples).
        frame: samples of a frame, under a Hann window.
        hop: samples from one frame to the next.
        bands: mel bands from 0 to half the rate.
    """
    pieces = np.lib.stride_tricks.sliding_window_view(sound.astype(np.float32) / 32768, frame, axis=1)[:, ::hop]
    power = np.abs(np.fft.rfft(pieces * np.hanning(frame), n=2 * frame)) ** 2
    found: np.ndarray = np.log(power @ _mel_filters(power.shape[-1], bands) + 1e-6)
    return found


def _mel_filters(bins: int, bands: int) -> np.ndarray:
    """Triangles evenly spaced in mel (O'Shaughnessy 1987), shape (bins, bands)."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, bins)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rise, fall = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
    return np.clip(np.minimum(rise, fall), 0, None)
