"""Where a shortcut may lead around a convolution."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from tf_structprune.graph import LayerCall, list_calls, readers_of
from tf_structprune.layers import foldable_norms

_L = keras.layers
_CONVOLUTIONS = (_L.Conv1D, _L.Conv2D, _L.Conv3D, _L.DepthwiseConv1D, _L.DepthwiseConv2D)


@dataclass(frozen=True)
class Site:
    """A convolution, with the normalizations right behind it.

    Attributes:
        call: of the convolution.
        norms: of the normalizations, first to last; a shortcut comes back behind them.
    """

    call: LayerCall
    norms: tuple[LayerCall, ...]

    @property
    def end(self) -> str:
        """Path of the layer behind which the shortcut comes back."""
        return self.norms[-1].name if self.norms else self.call.name

    @property
    def activated(self) -> bool:
        """Whether the convolution has an activation of its own, which must come behind the sum."""
        return self.call.layer.activation is not keras.activations.linear


def find_sites(model: keras.Model) -> tuple[dict[str, Site], dict[str, str]]:
    """The convolutions of a model that a shortcut may lead around.

    A convolution keeps the shape: stride 1, padding "same" or a kernel of one pixel, kernels of odd sides (so that one
    weight lies on the pixel itself), as many channels out as in, the channels last, called once, in a functional model.

    Returns:
        Sites by path, and the reason by path of every other convolution.
    """
    found, inside = list_calls(model), _in_sequential(model)
    readers = readers_of(found)
    sites, skipped = {}, {}
    for call in found.calls:
        if not isinstance(call.layer, _CONVOLUTIONS):
            continue
        reason = "it is called more than once" if call.name not in readers.once else _why_not(call)
        if call.name.rpartition("/")[0] in inside:
            reason = "it lies in a Sequential model inside another"
        if reason:
            skipped[call.name] = reason
        else:
            sites[call.name] = Site(call, foldable_norms(call, readers))
    return sites, skipped


def _why_not(call: LayerCall) -> str:
    layer, before, after = call.layer, call.input_shapes[0], call.output_shapes.get(0)
    if type(layer) not in _CONVOLUTIONS:
        return f"there is no rule for {type(layer).__name__}"
    if layer.data_format != "channels_last":
        return "its channels come first"
    if any(stride != 1 for stride in layer.strides):
        return f"its stride is {'x'.join(map(str, layer.strides))}"
    if after is None or before[-1] != after[-1]:
        return "it has another number of channels out than in"
    if layer.padding != "same" and max(layer.kernel_size) > 1:
        return f"its padding is '{layer.padding}'"
    if any(side % 2 == 0 for side in layer.kernel_size):
        return f"its kernel of {'x'.join(map(str, layer.kernel_size))} has no middle"
    return ""


def _in_sequential(model: keras.Model, path: str = "") -> set[str]:
    """Paths of the Sequential models inside a model."""
    found = set()
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            name = f"{path}{layer.name}"
            found |= {name} if isinstance(layer, keras.Sequential) else set()
            found |= _in_sequential(layer, f"{name}/")
    return found


def check_named(sites: Mapping[str, object], skipped: Mapping[str, str], names: object, what: str) -> tuple[str, ...]:
    """Names of sites, as they are.

    Raises:
        TypeError: not several names.
        ValueError: one that is no site, with the reason.
    """
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        example = [names] if isinstance(names, str) else [*sites][:1]
        raise TypeError(f"{what} must be a list of names. Received: {what}={names!r}. Use e.g. {example}.")
    chosen = tuple(names)
    for name in chosen:
        if name not in sites:
            why = skipped.get(name, "there is no convolution of that name")
            raise ValueError(
                f"Layer '{name}' has no place in {what}: {why}. Received: {what}={list(chosen)}. Use of: "
                f"{', '.join(sites) or 'none'}."
            )
    return chosen
