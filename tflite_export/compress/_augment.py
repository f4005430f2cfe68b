"""Random changes of training images, by name: Keras's preprocessing layers, and masks of spectrograms."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Change = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]
"""Changes a batch, shape (images, height, width, channels); the generator alone decides how."""

_SHIFT = 0.125  # of the image's height and width, as 4 pixels of CIFAR-10's 32
_TEXT = re.compile(r"([a-z_]+)(?:=(.+))?")
_CHANGES_SIZE = ("crop",)
_NOTHING_ALONE = ("shear", "color_jitter")  # without an amount
_FLIPS = ("horizontal", "vertical", "horizontal_and_vertical")
MOVING = ("flip", "shift", "translation", "rotation", "zoom", "shear", "perspective", "elastic_transform")
"""Names of changes that move pixels, and would have to move those of a map of targets too."""

_LAYERS = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", name.removeprefix("Random")).lower(): layer
    for name, layer in vars(keras.layers).items()
    if name.startswith("Random") and inspect.isclass(layer)
}
_MASKS = {"time_mask": 1, "frequency_mask": 2}  # axes of a batch
_LOOKED_AT = 1000


AUGMENTATIONS = ("flip", "shift", *_MASKS, *sorted(set(_LAYERS) - {"flip", *_CHANGES_SIZE}))
"""Names of all changes."""


def check_augment(texts: Sequence[str]) -> None:
    """Refuse what is no change.

    Raises:
        ValueError: an unknown name, or an amount that the layer does not take.
    """
    for text in texts:
        change_of(text, 0, (0.0, 1.0))


def change_of(text: str, seed: int, values: tuple[float, float]) -> Change:
    """The change that a text names.

    Args:
        text: a name, or name=amount.
        seed: of layers that want one; what they draw is decided by the generator that they are called with.
        values: range of the samples, which changes of brightness and the like have to know.

    Raises:
        ValueError: see `check_augment`.
    """
    found = _TEXT.fullmatch(text)
    name, amount = (found[1], found[2]) if found else (text, None)
    if name not in AUGMENTATIONS:
        raise ValueError(
            f"Unknown augment. Received: augment={text!r}. Use some of: {', '.join(AUGMENTATIONS)}, with an amount as "
            "in rotation=0.1 where one is wanted."
        )
    if name in _MASKS:
        return _Mask(_MASKS[name], _count(text, amount))
    if name == "flip" and amount not in (None, *_FLIPS):
        raise ValueError(f"A flip has a direction. Received: augment={text!r}. Use one of: {', '.join(_FLIPS)}.")
    try:
        if name in _NOTHING_ALONE and amount is None:
            raise ValueError("it changes nothing without one")
        return _Layer(_layer(name, amount, seed, values))
    except (TypeError, ValueError) as error:
        wanted = "an amount, e.g. " + name + "=0.1" if amount is None else "another amount"
        raise ValueError(f"augment needs {wanted}. Received: augment={text!r}; Keras says: {error}") from error


def check_augmented(texts: Sequence[str], images: NDArray[Any], targets: Any) -> None:
    """Refuse changes that these images cannot have.

    Args:
        texts: the changes.
        images: some training images.
        targets: theirs; None without.

    Raises:
        ValueError: a change of colours where there are none and the like, or one that moves pixels and not those of a
            map of targets.
    """
    maps = targets is not None and any(np.ndim(y) > 2 for y in keras.tree.flatten(targets))
    for text in texts:
        if maps and text.partition("=")[0] in MOVING:
            raise ValueError(
                f"augment={text!r} moves the pixels of images, and not those of their targets. Received: a target for "
                "each pixel. Leave it out, or give augmented data."
            )
        try:
            change_of(text, 0, value_range(images))(images.astype(np.float32), np.random.default_rng(0))
        except Exception as error:  # Keras raises whatever its operations raise
            told = str(error).strip().splitlines()[0]
            raise ValueError(
                f"augment={text!r} cannot change these images. Received: shape {images.shape[1:]}; Keras says: {told}. "
                "Leave it out."
            ) from error


def value_range(x: Any) -> tuple[float, float]:
    """The range of samples: of bytes and what looks like them (0, 255), else (0, 1), or that of the first ones.

    Args:
        x: samples; of several inputs, which are not augmented, the first.
    """
    some = np.asarray(keras.tree.flatten(x)[0][:_LOOKED_AT])
    low, high = float(some.min()), float(some.max())
    if some.dtype.kind in "ui" or (low >= 0 and 1 < high <= 255):
        return 0.0, 255.0
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _layer(name: str, amount: str | None, seed: int, values: tuple[float, float]) -> Any:
    if name == "shift":  # nearest pixels: a shift by a fraction of one would blur the training images only
        share = _SHIFT if amount is None else float(amount)
        return keras.layers.RandomTranslation(share, share, "nearest", interpolation="nearest", seed=seed)
    if name == "flip":
        return keras.layers.RandomFlip(amount or "horizontal", seed=seed)
    layer = _LAYERS[name]
    known = inspect.signature(layer).parameters
    given: dict[str, Any] = {"seed": seed}
    given |= {"value_range": values} if "value_range" in known else {}
    given |= {"fill_mode": "nearest"} if "fill_mode" in known else {}
    number = None if amount is None else int(amount) if amount.isdecimal() else float(amount)
    amounts = [] if number is None else [number] * (2 if name in ("translation", "shear") else 1)
    if name == "color_jitter" and amounts:
        parts = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
        return layer(**given, **dict.fromkeys(parts, amounts[0]))
    return layer(*amounts, **given)


def _count(text: str, amount: str | None) -> int:
    if amount is None or not amount.isdecimal() or not int(amount):
        raise ValueError(f"A mask has a largest width, a count. Received: augment={text!r}. Use e.g. time_mask=8.")
    return int(amount)


@dataclass(frozen=True)
class _Layer:
    """A preprocessing layer, whose draws are those of a generator."""

    layer: Any

    def __call__(self, x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        for each in (self.layer, *vars(self.layer).values()):  # some have others in them
            if isinstance(each, keras.layers.Layer) and hasattr(each, "generator"):
                each.generator.state.assign(rng.integers(2**31, size=2))
        found: NDArray[np.float32] = keras.ops.convert_to_numpy(self.layer(x, training=True))
        return found


@dataclass(frozen=True)
class _Mask:
    """A band of 0 to `most` rows or columns becomes the image's mean (Park et al., SpecAugment, 2019)."""

    axis: int
    most: int

    def __call__(self, x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        size = x.shape[self.axis]
        widths = rng.integers(0, min(self.most, size) + 1, len(x))
        starts = rng.integers(0, size - widths + 1)
        places = np.arange(size)
        inside = (places >= starts[:, None]) & (places < (starts + widths)[:, None])
        shape = [1] * x.ndim
        shape[0], shape[self.axis] = inside.shape
        means = x.mean(axis=tuple(range(1, x.ndim)), keepdims=True)
        return np.where(inside.reshape(shape), means, x)
