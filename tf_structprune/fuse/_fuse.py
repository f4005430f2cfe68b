"""One convolution of a convolution and the shortcut around it, or none."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.fuse._shortcut import Shortcut, shortcuts_of
from tf_structprune.fuse._sites import Site, check_named, find_sites
from tf_structprune.graph import named_layers
from tf_structprune.layers import assign_weights, clone, copy_layer, copy_of, normalized_weights

_SAME = 1e-9  # a carry that differs from 1 by less multiplies by nothing


def fuse_shortcuts(model: keras.Model, *, remove: Sequence[str] = ()) -> keras.Model:
    """The plain model of one with shortcuts: each goes into the kernel of its convolution, with the normalizations.

    carry * x + scale * norm(conv(x)) is a convolution again: its kernel is scale * factor * K, with carry added where
    a channel reads its own pixel (a Dirac kernel), its bias scale * (factor * bias + offset). The outputs are the same
    up to rounding.

    Args:
        model: from `residual_convolutions`, trained or not; it is not changed.
        remove: paths of convolutions that go whole, with their normalizations: carry * x is left, as if their scale
            were 0. See `shortcuts_of(model)` for the scales. Those that are off, as `RemoveLayers` leaves them, go
            without being named.

    Raises:
        ValueError: no shortcuts, one whose convolution is gone or keeps its shape no longer, or a name without one.
    """
    shortcuts = shortcuts_of(model)
    if not shortcuts:
        raise ValueError(
            f"Model '{model.name}' has no shortcuts. Received: a plain model. Use residual_convolutions(model) first."
        )
    gone = set(check_named(shortcuts, {}, remove, "remove"))
    gone |= {name for name, shortcut in shortcuts.items() if not shortcut.is_on}
    sites = {name: site for name, site in find_sites(model)[0].items() if name in shortcuts}
    if lost := sorted(set(shortcuts) - set(sites)):
        raise ValueError(
            f"Layer '{lost[0]}' is no convolution any more that a shortcut may lead around. Received: model "
            f"'{model.name}' with a shortcut around it. Fuse before it is changed."
        )
    skip = {norm.name for site in sites.values() for norm in site.norms}
    ends = {id(layer): name for name, layer in shortcuts.items()}
    paths = {path: ends[id(layer)] for path, layer in named_layers(model).items() if id(layer) in ends}

    def made(name: str, layer: Any) -> Any:
        if name in sites and name not in gone:
            return copy_of(layer, lambda config: config.update(use_bias=True))
        return copy_layer(layer)

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in gone or name in skip:
            return args[0]
        if name not in paths:
            return layer(*args, **kwargs)
        around = paths[name]
        if around not in gone:
            return args[0][1]
        carry = shortcuts[around].numbers()[0]
        if abs(carry - 1) < _SAME:
            return args[0][0]
        return keras.layers.Rescaling(carry, name=f"{shortcuts[around].around}_carry")(args[0][0])

    result = clone(model, made, call=called)
    old = named_layers(model)
    for name, layer in named_layers(result).items():
        if name in sites:
            assign_weights(layer, _fused(sites[name], shortcuts[name]))
        elif name in old:
            assign_weights(layer, old[name].get_weights())
    return result


def _fused(site: Site, shortcut: Shortcut) -> list[NDArray[np.float32]]:
    """Kernel and bias of the convolution that does all of it."""
    carry, scale = shortcut.numbers()
    kernel, bias = (weight.astype(np.float64) for weight in normalized_weights(site.call.layer, site.norms))
    return [(scale * kernel + carry * dirac(site.call.layer)).astype(np.float32), (scale * bias).astype(np.float32)]


def dirac(layer: Any) -> NDArray[np.float64]:
    """The kernel with which a convolution gives what it reads, shape of its kernel.

    Args:
        layer: a convolution of odd kernel sides with as many channels out as in.
    """
    shape = tuple(int(side) for side in layer.kernel.shape)
    kernel = np.zeros(shape)
    pixel = kernel[tuple(side // 2 for side in shape[:-2])]  # a view, (inputs of a group, outputs)
    if isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D):
        pixel[:] = 1  # (channels, 1)
        return kernel
    inputs, outputs = pixel.shape
    channel = np.arange(outputs)
    pixel[channel % inputs, channel] = 1  # groups have as many channels out as in
    return kernel
