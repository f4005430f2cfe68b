"""What a quantizer rounds to: sets of numbers, each number with a word that stands for it.

The arithmetic is written once, for NumPy and for tensors in training: it takes the module of array functions as `xp`,
NumPy itself or one with the same names, such as `keras.ops`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tf_structprune.fixed_point._format import multiples, word_range
from tf_structprune.fixed_point._recipe import SIGNED_SIGNAL_BITS
from tf_structprune.fixed_point._shared_grid import SharedGrid
from tf_structprune.fixed_point._step import optimal_step

RECTIFIED, SIGNED, MEASURED = "rectified", "signed", "measured"
_KINDS = (RECTIFIED, SIGNED, MEASURED)
_INT8 = -128, 127


class Grid(Protocol):
    """A family of sets of numbers; its calibration, an array that `fit` finds and a layer saves, picks one of them.

    An implementation is a frozen dataclass of plain settings, named in `GRIDS`. Larger words stand for larger numbers.
    A calibration of zeros stands for none. It may have further axes behind those of `shape`, such as one for channels,
    which broadcast against the values.
    """

    @property
    def bits(self) -> int:
        """Bits of a word."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a calibration."""

    def fit(self, values: ArrayLike) -> NDArray[np.float64]:
        """The calibration with the least squared error for some values.

        Args:
            values: finite real numbers, any shape.
        """

    def ends(self, calibration: Any) -> tuple[Any, Any]:
        """The smallest and the largest word."""

    def words(self, values: Any, calibration: Any, xp: Any = np) -> Any:
        """The words of the numbers that are nearest to some values: integers, in the type of the values."""

    def numbers(self, words: Any, calibration: Any, xp: Any = np) -> Any:
        """The numbers that words stand for."""

    def step(self, calibration: Any) -> Any:
        """What all numbers of the set are multiples of; 0 if there is no such thing."""


@dataclass(frozen=True)
class WeightGrid:
    """Symmetric words of weights, `2**bits - 1` levels; the calibration is their step. Ties go away from zero.

    Attributes:
        bits: word length, 2 to 8.
        power_of_two: whether the step is a power of two.

    Raises:
        ValueError: a word length that is not supported.
    """

    bits: int = 8
    power_of_two: bool = True

    shape = ()

    def __post_init__(self) -> None:
        """Checks the word length."""
        word_range(self.bits)

    def fit(self, values: ArrayLike) -> NDArray[np.float64]:
        """See `optimal_step`."""
        return optimal_step(values, self.bits, power_of_two=self.power_of_two)

    def ends(self, calibration: Any) -> tuple[int, int]:
        """See `word_range`."""
        return word_range(self.bits)

    def words(self, values: Any, calibration: Any, xp: Any = np) -> Any:
        """The nearest multiples of the step."""
        return multiples(values, calibration, *self.ends(calibration), symmetric=True, xp=xp)

    def numbers(self, words: Any, calibration: Any, xp: Any = np) -> Any:
        """Multiples of the step."""
        return words * calibration

    def step(self, calibration: Any) -> Any:
        """The calibration itself."""
        return calibration


@dataclass(frozen=True)
class SignalGrid:
    """Words of a signal, for int8; the calibration is step, smallest and largest multiple. Ties go up, as in TFLite's
    kernels with positive sums and in those without ties.

    Attributes:
        bits: word length; 8 unless the signal is rectified.
        kind: "rectified" signals are never negative and take the integers 0 to `2**bits - 1`; "signed" ones
            -128 to 127, all of int8; "measured" ones, such as the input, 0 to 255 if the samples are never
            negative, else as signed ones.
        power_of_two: whether the step is a power of two.

    Raises:
        ValueError: an unknown kind, or a word length that the kind does not have.
    """

    bits: int = 8
    kind: str = RECTIFIED
    power_of_two: bool = True

    shape = (3,)

    def __post_init__(self) -> None:
        """Checks kind and word length."""
        if self.kind not in _KINDS:
            raise ValueError(f"A signal of unknown kind. Received: kind={self.kind!r}. Use: {', '.join(_KINDS)}.")
        word_range(self.bits, signed=False)
        if self.kind != RECTIFIED and self.bits != SIGNED_SIGNAL_BITS:
            raise ValueError(
                f"Wrong word: a {self.kind} signal has {SIGNED_SIGNAL_BITS} bits, for int8 saturates at one end "
                f"only of a shorter signed word. Received: bits={self.bits}."
            )

    def fit(self, values: ArrayLike) -> NDArray[np.float64]:
        """See `optimal_step`."""
        real: NDArray[Any] = np.asarray(values)
        unsigned = self.kind == RECTIFIED or (self.kind == MEASURED and not (real < 0).any())
        step = optimal_step(real, self.bits, power_of_two=self.power_of_two, signed=not unsigned)
        return np.array([step, *((0, 2**self.bits - 1) if unsigned else _INT8)], np.float64)

    def ends(self, calibration: Any) -> tuple[Any, Any]:
        """As calibrated."""
        return calibration[1], calibration[2]

    def words(self, values: Any, calibration: Any, xp: Any = np) -> Any:
        """The nearest multiples of the step."""
        return multiples(values, calibration[0], *self.ends(calibration), symmetric=False, xp=xp)

    def numbers(self, words: Any, calibration: Any, xp: Any = np) -> Any:
        """Multiples of the step."""
        return words * calibration[0]

    def step(self, calibration: Any) -> Any:
        """The first of the calibration."""
        return calibration[0]


GRIDS: dict[str, type[Grid]] = {"weight": WeightGrid, "signal": SignalGrid, "shared": SharedGrid}


def grid_config(grid: Grid) -> dict[str, Any]:
    """A grid as plain values, of which `grid_of` makes it again."""
    (name,) = (name for name, kind in GRIDS.items() if type(grid) is kind)
    return {"name": name, **asdict(grid)}  # type: ignore[call-overload]  # a Protocol cannot ask for a dataclass


def grid_of(config: Grid | Mapping[str, Any]) -> Grid:
    """The grid of a configuration from `grid_config`, or the grid itself.

    Raises:
        ValueError: a name that is not in `GRIDS`.
    """
    if not isinstance(config, Mapping):
        return config
    settings = dict(config)
    name = settings.pop("name", None)
    if name not in GRIDS:
        raise ValueError(f"A grid of unknown name. Received: name={name!r}. Use: {', '.join(GRIDS)}.")
    return GRIDS[name](**settings)
