"""Which word lengths a network gets: one choice for all layers, and exceptions by name."""

import fnmatch
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from tf_structprune.fixed_point._format import word_range
from tf_structprune.fixed_point._sharing import check_sharing

SIGNED_SIGNAL_BITS = 8
"""Word length of signals that may be negative: int8 saturates at one end only of a shorter signed word."""


@dataclass(frozen=True)
class LayerBits:
    """Word lengths of one layer.

    Attributes:
        weight_bits: of its weights, 2 to 8; None leaves them in float.
        signal_bits: of the rectified signal that it makes, 3 to 8; None leaves it in float.
    """

    weight_bits: int | None = 8
    signal_bits: int | None = 8

    def __post_init__(self) -> None:
        """Checks the word lengths."""
        if self.weight_bits is not None:
            word_range(self.weight_bits)
        if self.signal_bits is not None:
            word_range(self.signal_bits, signed=False)


@dataclass(frozen=True)
class FixedPoint:
    """A recipe: word lengths of weights and signals, and what kind of steps they have.

    Signals after ReLU are unsigned words of `signal_bits`. Signals that may be negative (a convolution in front
    of an addition, the scores, most inputs) and the model's input have 8 bits, whatever the recipe says.
    Biases are 32-bit integers, as in TFLite.

    Attributes:
        weight_bits: of the weights, 2 to 8; symmetric words of `2**bits - 1` levels. None leaves them in float.
        signal_bits: of the rectified signals, 3 to 8; `2**bits` levels. None leaves all signals in float.
        power_of_two: whether every step is a power of two, so that rescaling is a shift.
        per_channel: whether each output channel has a weight step of its own; else one a layer.
        layers: exceptions by the layer's name or pattern (`fnmatch`); the exact name counts first, then the first
            pattern that matches. The signal of an activation layer belongs to the layer that feeds it.
        shared: number of words that the weights of a layer use, see `SharedGrid`; None for all of them. Only with one
            weight step a layer.
        sharing: the method by which they are chosen, see `share_values`.
        entropy: what a kibibyte of the weights' words, in a code made for each layer's, adds to the loss of training:
            0 nothing, more for fewer bytes. It pays where the file is packed (`pack=`) or compressed: a `.tflite` file
            has a byte for each weight in any case.
    """

    weight_bits: int | None = 8
    signal_bits: int | None = 8
    power_of_two: bool = True
    per_channel: bool = False
    layers: Mapping[str, LayerBits] = field(default_factory=dict)
    shared: int | None = None
    sharing: str = "cws"
    entropy: float = 0.0

    def __post_init__(self) -> None:
        """Checks the word lengths, and takes a copy of the exceptions, which the caller may change."""
        self.default  # noqa: B018  # its constructor checks
        if self.shared is not None:
            check_sharing(self.shared, self.sharing)
            if self.per_channel:
                raise ValueError(
                    "recipe: weights share words in a layer with one step. Received: shared with per_channel=True. Use "
                    "one of them."
                )
        self._check_entropy()
        for name, bits in self.layers.items():
            if not isinstance(bits, LayerBits):
                raise ValueError(
                    f"recipe, layer {name!r}: must be a LayerBits. Received: {bits!r}. Use LayerBits(weight_bits, "
                    "signal_bits)."
                )
        object.__setattr__(self, "layers", dict(self.layers))

    def _check_entropy(self) -> None:
        if not 0 <= self.entropy < math.inf:
            raise ValueError(
                f"recipe: entropy must be a number of 0 or more. Received: entropy={self.entropy}. Use e.g. 0.05."
            )
        if self.entropy and (self.shared is not None or self.weight_bits is None):
            raise ValueError(
                f"recipe: entropy chooses among all words of the weights. Received: entropy={self.entropy} with "
                f"shared={self.shared} and weight_bits={self.weight_bits}. Use word lengths without shared "
                "values, whose method 'ecsq' weighs bits by itself."
            )

    @property
    def default(self) -> LayerBits:
        """Word lengths of the layers that are not named."""
        return LayerBits(self.weight_bits, self.signal_bits)

    def bits_of(self, name: str) -> LayerBits:
        """Word lengths of a layer."""
        if name in self.layers:
            return self.layers[name]
        matches = (bits for pattern, bits in self.layers.items() if fnmatch.fnmatchcase(name, pattern))
        return next(matches, self.default)

    def check_names(self, names: Iterable[str]) -> None:
        """Refuses exceptions that no layer has.

        Args:
            names: the layers that have weights or signals.

        Raises:
            ValueError: a name or pattern that fits none of them.
        """
        known = list(dict.fromkeys(names))
        for pattern in self.layers:
            if not (pattern in known or any(fnmatch.fnmatchcase(name, pattern) for name in known)):
                raise ValueError(
                    f"recipe: no layer with weights or a signal has that name. Received: layer={pattern!r}. "
                    f"Use one of: {', '.join(known)}."
                )

    def to_json(self) -> str:
        """The recipe as JSON text; `from_json` reads it."""
        return json.dumps(asdict(self), indent=2, default=int) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The recipe of a JSON text.

        Args:
            text: an object with the attributes of this class; `layers` is an object of objects with
                `weight_bits` and `signal_bits`. What is left out has its default; in `layers`, that of the recipe.

        Raises:
            ValueError: not such an object.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"recipe: not JSON. Received: {error}. Write it with FixedPoint.to_json.") from error
        fields = _checked(
            values,
            {"weight_bits", "signal_bits", "power_of_two", "per_channel", "shared", "sharing", "entropy", "layers"},
            "recipe",
        )
        layers = fields.pop("layers", {})
        _checked(layers, None, "recipe, layers")
        general = cls(**fields)
        known = {"weight_bits", "signal_bits"}
        exceptions = {
            name: LayerBits(**(asdict(general.default) | _checked(bits, known, f"recipe, layer '{name}'")))
            for name, bits in layers.items()
        }
        return cls(**fields, layers=exceptions)


_KINDS: dict[str, tuple[type, ...]] = {
    "weight_bits": (int, type(None)),
    "signal_bits": (int, type(None)),
    "power_of_two": (bool,),
    "per_channel": (bool,),
    "shared": (int, type(None)),
    "sharing": (str,),
    "entropy": (float, int),
    "layers": (dict,),
}


def _checked(value: Any, known: set[str] | None, where: str) -> dict[str, Any]:
    """A JSON object with known names and values of the right kind."""
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be a JSON object. Received: {value!r}. Write it with FixedPoint.to_json.")
    if known is None:
        return value
    for name, entry in value.items():
        if name not in known:
            raise ValueError(f"{where}: unknown name. Received: {name!r}. Use: {', '.join(sorted(known))}.")
        if type(entry) not in _KINDS[name]:
            kinds = " or ".join("null" if kind is type(None) else kind.__name__ for kind in _KINDS[name])
            raise ValueError(f"{where}: {name} must be {kinds}. Received: {name}={entry!r}.")
    return dict(value)
