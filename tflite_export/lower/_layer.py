"""A convolution that computes only what its masks keep, from standard operations."""

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tflite_export.lower._parts import Part, Sum, Term, side_by_side
from tflite_export.lower._structure import Lattice
from tflite_export.lower._window import Axis, cut_of, pads_whole, reading

ELEMENTWISE = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)
"""Activations that a runtime does within the convolution, block by block."""
_MOST_PARTS = 10  # kMaxInputNum in tensorflow/lite/micro/kernels/concatenation.cc


@keras.saving.register_keras_serializable(package="tflite_export")
class LoweredConv2D(keras.layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """A 2-D convolution with fewer weights than its kernel has room for, channels last.

    Slices, padding, convolution, addition and concatenation are all that it uses, so every TFLite
    runtime knows it.

    Args:
        kernel_size: height and width of the convolution that it stands for.
        strides: its strides.
        padding: "same" or "valid".
        dilation_rate: its dilation.
        sums: the blocks of output maps, each with the small convolutions that make it, see `Sum`.
        grouped: compute all blocks by one grouped convolution.
        activation: applied to the output; what `keras.activations.get` takes.

    Attributes:
        rounding: applied to each kernel where it is convolved with; fixed-point conversion sets it.
    """

    def __init__(
        self,
        *,
        kernel_size: Sequence[int],
        strides: Sequence[int],
        padding: str,
        dilation_rate: Sequence[int],
        sums: Sequence[Any],
        grouped: bool = False,
        activation: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = tuple(kernel_size)
        self.strides = tuple(strides)
        self.padding = padding
        self.dilation_rate = tuple(dilation_rate)
        self.sums = tuple(as_sum(each) for each in sums)
        self.grouped = grouped
        self.activation = keras.activations.get(activation)
        self.rounding: Callable[[Any], Any] = _as_it_is

    def build(self, input_shape: Any) -> None:
        """Make one kernel a block and term, and the bias."""
        self.kernels = [
            [
                self.add_weight(
                    shape=(term.base.rows, term.base.columns, term.depth, each.maps), name=f"kernel_{b}_{t}"
                )
                for t, term in enumerate(each.terms)
            ]
            for b, each in enumerate(self.sums)
        ]
        self.bias = self.add_weight(shape=(self.sums[-1].stop,), initializer="zeros", name="bias")
        self.built = True

    def take(self, kernel: NDArray[Any], bias: NDArray[Any]) -> None:
        """Set the weights from those of the whole convolution.

        Args:
            kernel: shape (height, width, input maps, output maps).
            bias: shape (output maps,).
        """
        left = kernel.reshape(-1, *kernel.shape[2:]).copy()
        for each, variables in zip(self.sums, self.kernels, strict=True):
            for term, variable in zip(each.terms, variables, strict=True):
                variable.assign(self._taken(left[:, :, each.start : each.stop], term))
        self.bias.assign(bias)

    def _taken(self, left: NDArray[Any], term: Term) -> NDArray[Any]:
        """A term's kernel, whose weights are no longer left behind, so that no other part takes them again."""
        taken = np.zeros((term.base.size, term.depth, left.shape[2]), left.dtype)
        at = 0
        for part in term.parts:
            for index, tap in enumerate(sorted(term.base.taps_at((part.top, part.left), self.kernel_size[1]))):
                taken[index, at : at + part.maps] = left[tap, part.start : part.stop]
                left[tap, part.start : part.stop] = 0
            at += part.maps
        return taken.reshape(term.base.rows, term.base.columns, *taken.shape[1:])

    def call(self, inputs: Any) -> Any:
        """The convolution's output."""
        if self.grouped:
            kernel = concatenated([kernel for (kernel,) in self.kernels])
            return self.activation(self._convolved(inputs, side_by_side(self.sums), kernel) + self.bias)
        made = [self._summed(inputs, each, kernels) for each, kernels in zip(self.sums, self.kernels, strict=True)]
        return activated(made, self.activation)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """As the convolution's."""
        return (input_shape[0], *(axis.outputs for axis in self._axes(input_shape)), self.sums[-1].stop)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "dilation_rate": list(self.dilation_rate),
            "sums": [as_list(each) for each in self.sums],
            "grouped": self.grouped,
            "activation": keras.activations.serialize(self.activation),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The layer of a configuration, which is not changed."""
        return cls(**dict(config))

    def _axes(self, shape: Any) -> tuple[Axis, Axis]:
        down, right = (
            Axis(
                int(shape[1 + side]), self.kernel_size[side], self.strides[side], self.dilation_rate[side], self.padding
            )
            for side in (0, 1)
        )
        return down, right

    def _summed(self, x: Any, each: Sum, kernels: list[Any]) -> Any:
        total = self.bias[each.start : each.stop]
        for term, kernel in zip(each.terms, kernels, strict=True):
            total = self._convolved(x, term, kernel) + total
        return total

    def _convolved(self, x: Any, term: Term, kernel: Any) -> Any:
        """One small convolution."""
        axes = self._axes(x.shape)
        how = reading(axes, term)
        offset = (0, 0)
        if pads_whole(axes, how, term.parts, int(x.shape[-1])):
            x, offset = self._padded_for(x, how.windows)
        parts = [
            _seen(x, tuple((a + o, b + o) for (a, b), o in zip(window, offset, strict=True)), how.steps, part)
            for part, window in zip(term.parts, how.windows, strict=True)
        ]
        rate = how.dilation if max(how.strides) == 1 else 1
        return ops.conv(
            concatenated(parts), self.rounding(kernel), strides=how.strides, padding=how.padding, dilation_rate=rate
        )

    def _padded_for(self, x: Any, windows: Sequence[Any]) -> tuple[Any, tuple[int, int]]:
        """The input with the zeros that all windows need, and how far it moved down and right."""
        pads = [
            (
                max(0, -min(window[side][0] for window in windows)),
                max(0, max(window[side][1] for window in windows) - int(x.shape[1 + side])),
            )
            for side in (0, 1)
        ]
        return ops.pad(x, [(0, 0), *pads, (0, 0)]), (pads[0][0], pads[1][0])


def _as_it_is(kernel: Any) -> Any:
    return kernel


def _seen(x: Any, window: Any, steps: tuple[int, int], part: Part) -> Any:
    """What a part sees: a window of some maps, with zeros where it reaches beyond the input."""
    cuts = [cut_of(size, *each) for size, each in zip(x.shape[1:3], zip(window, steps, strict=True), strict=True)]
    whole = all((cut.start, cut.stop, cut.step) == (0, n, 1) for cut, n in zip(cuts, x.shape[1:3], strict=True))
    seen = x
    if not whole or part.maps != x.shape[-1]:
        pixels = [slice(cut.start, cut.stop, cut.step) for cut in cuts]
        seen = x[(slice(None), *pixels, slice(part.start, part.stop))]
    if any(cut.zeros != (0, 0) for cut in cuts):
        seen = ops.pad(seen, [(0, 0), *(cut.zeros for cut in cuts), (0, 0)])
    if any(cut.late_step > 1 for cut in cuts):
        seen = seen[:, :: cuts[0].late_step, :: cuts[1].late_step]
    return seen


def activated(blocks: list[Any], activation: Any) -> Any:
    """The blocks side by side, behind the activation."""
    if activation in ELEMENTWISE:
        return concatenated([activation(block) for block in blocks])
    return activation(concatenated(blocks))


def concatenated(parts: list[Any]) -> Any:
    """All parts side by side, in as many steps as it takes."""
    while len(parts) > 1:
        runs = [parts[at : at + _MOST_PARTS] for at in range(0, len(parts), _MOST_PARTS)]
        parts = [run[0] if len(run) == 1 else ops.concatenate(run, axis=-1) for run in runs]
    return parts[0]


def as_sum(value: Any) -> Sum:
    """A block from nested lists, see `as_list`."""
    if isinstance(value, Sum):
        return value
    start, stop, terms = value
    return Sum(start, stop, tuple(Term(Lattice(*base), tuple(Part(*part) for part in parts)) for base, parts in terms))


def as_list(each: Sum) -> list[Any]:
    """A block as nested lists, ready for JSON."""
    terms = [[list(astuple(term.base)), [list(astuple(part)) for part in term.parts]] for term in each.terms]
    return [each.start, each.stop, terms]
