"""What a model or its optimizer would hold if it were new."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import core_layer, named_layers
from tf_structprune.layers._copy import copy_of


def fresh_weights(model: keras.Model, network: keras.Model, seed: int) -> list[NDArray[Any]]:
    """New initial values for all weights that training changes, the others as they are.

    New are those that are trained and the statistics of batch normalizations; outside of the network, such as in a
    pretext task around it, all. Masks, grids, frozen layers and what a `Normalization` was adapted to stay.

    Args:
        model: the model; its configuration must describe it, as saving needs it too.
        network: the Sequential or functional model within it, or itself.
        seed: of the initial values, whatever seeds the initializers have.

    Returns:
        Arrays for `model.set_weights`.

    Raises:
        ValueError: a configuration that does not describe the model.
    """
    config = _reseeded(model.get_config(), np.random.default_rng(seed))
    try:
        new = type(model).from_config(config)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"Model '{model.name}' cannot be made anew from its configuration: {error} Register its layers and "
            "functions, as saving needs it too, or rewind to 'weights'."
        ) from error
    stay = _that_stay(network)
    return [
        keras.ops.convert_to_numpy(old if id(old) in stay else fresh)
        for old, fresh in zip(model.weights, new.weights, strict=True)
    ]


def reset_optimizer(model: keras.Model) -> None:
    """Let the optimizer forget the steps that it made, their number included; its rate stays."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return
    fresh = copy_of(optimizer)
    fresh.build(model.trainable_variables)
    for old, new in zip(optimizer.variables, fresh.variables, strict=True):
        old.assign(keras.ops.convert_to_numpy(new))


def _that_stay(network: keras.Model) -> set[int]:
    """Identities of a network's weights that are nothing to draw anew."""
    stay = {id(weight) for weight in network.non_trainable_weights}
    for layer in named_layers(network).values():
        core = core_layer(layer)
        if isinstance(core, keras.layers.BatchNormalization) and core.trainable:
            stay -= {id(core.moving_mean), id(core.moving_variance)}
    return stay


def _reseeded(config: Any, rng: np.random.Generator) -> Any:
    """A configuration with other seeds, and without what models in it were compiled with."""
    if isinstance(config, dict):
        return {
            name: int(rng.integers(2**31))
            if name == "seed" and isinstance(value, int | None)
            else _reseeded(value, rng)
            for name, value in config.items()
            if name != "compile_config"
        }
    return [_reseeded(value, rng) for value in config] if isinstance(config, list | tuple) else config
