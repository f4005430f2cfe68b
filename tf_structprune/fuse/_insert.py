"""Put shortcuts around the convolutions of a model."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras

from tf_structprune.fuse._shortcut import Shortcut, shortcuts_of
from tf_structprune.fuse._sites import check_named, find_sites
from tf_structprune.graph import named_layers
from tf_structprune.layers import assign_weights, clone, copy_layer, copy_of


def residual_convolutions(
    model: keras.Model, *, around: Sequence[str] | None = None, l1: float = 0.0, carry: float = 0.0
) -> keras.Model:
    """A copy of a model with a shortcut around each convolution that keeps the shape; see `Shortcut`.

    A shortcut leads from the input of a convolution to behind the normalizations that follow it, in front of the
    activation: y = activation(carry * x + scale * norm(conv(x))) (Xu et al., arXiv 2011.14356; where the shortcut lies
    is not in the abstract, this is the reading with which a scale of 0 leaves nothing of the layer). The copy computes
    what the model does while carries are 0. Train it, then use `fuse_shortcuts`: it costs nothing at inference.

    Args:
        model: a built Sequential or functional model, without masks and quantizers; it is not changed.
        around: paths of the convolutions; None for all that `find_sites` finds.
        l1: weight of |scale| in the loss; with it, layers that do little come to nothing, and
            `fuse_shortcuts(remove=)` takes them out. 1e-4 to 1e-2.
        carry: what the carries begin with; 1 for a network that is trained from scratch.

    Raises:
        TypeError: not a Keras model, or a name in the place of a list.
        ValueError: shortcuts already, no convolution that a shortcut may lead around, a name that is none of them, or
            a negative weight.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {type(model).__name__}. Load a file first.")
    if shortcuts_of(model):
        raise ValueError(
            f"Model '{model.name}' has shortcuts already. Received: {len(shortcuts_of(model))}. Use fuse_shortcuts."
        )
    if not isinstance(l1, numbers.Real) or not 0 <= l1 < math.inf:
        raise ValueError(f"l1 must be 0 or more. Received: l1={l1!r}. Use e.g. 1e-3.")
    if not isinstance(carry, numbers.Real) or not math.isfinite(carry):
        raise ValueError(f"carry must be a number. Received: carry={carry!r}. Use 1.0, or 0.0 for a trained model.")
    model = as_functional(model)
    sites, skipped = find_sites(model)
    chosen = tuple(sites) if around is None else check_named(sites, skipped, around, "around")
    if not chosen:
        told = "; ".join(f"{name}: {why}" for name, why in skipped.items()) or "no convolution"
        told = told if around is None else "around=[]"
        raise ValueError(
            f"Model '{model.name}' gets no shortcut around a convolution. Received: {told}. Use "
            "a model with convolutions of stride 1, padding 'same' and as many channels out as in."
        )
    ends = {sites[name].end: sites[name] for name in chosen}
    inputs: dict[str, Any] = {}

    def made(name: str, layer: Any) -> Any:
        if name in chosen and sites[name].activated:
            return copy_of(layer, lambda config: config.update(activation="linear"))
        return copy_layer(layer)

    def called(name: str, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in chosen:
            inputs[name] = args[0]
        made = layer(*args, **kwargs)
        if name not in ends:
            return made
        site = ends[name]
        leaf = site.call.layer.name
        shortcut = Shortcut(around=leaf, l1=l1, carry=carry, name=f"{leaf}_shortcut")
        made = shortcut([inputs[site.call.name], made])
        if not site.activated:
            return made
        return keras.layers.Activation(site.call.layer.activation, name=f"{leaf}_activation")(made)

    result = clone(model, made, call=called)
    new = named_layers(result)
    for name, layer in named_layers(model).items():
        assign_weights(new[name], layer.get_weights())
    return result


def as_functional(model: keras.Model) -> keras.Model:
    """The same layers in a functional model, compiled alike; a model that is none is itself."""
    if not isinstance(model, keras.Sequential):
        return model
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if model.compiled:
        plain.compile_from_config(model.get_compile_config())
    return plain
