"""A float model as one whose weights and signals can be put on fixed-point grids."""

import re

import keras

from tf_structprune.fixed_point import FixedPoint, LayerBits, SharedGrid, SignalGrid, WeightGrid
from tf_structprune.graph import TransparentWrapper, input_names, list_calls, named_layers
from tf_structprune.layers._compile import compile_alike
from tf_structprune.layers._fixed_point_build import FixedPointBuilder
from tf_structprune.layers._fixed_point_plan import plan_fixed_point
from tf_structprune.layers._quantized_layer import QuantizedLayer, quantizer_of
from tf_structprune.layers._signal_quantizer import SignalQuantizer


def to_fixed_point(model: keras.Model, recipe: FixedPoint | None = None) -> keras.Model:
    """A copy of a model with a quantizer on every kernel and every signal; none of them rounds yet.

    Batch normalizations are folded into the layers in front of them, so outputs are those of the model in
    inference. `callbacks.calibrate` or the callback `FixedPointTraining` switches the quantizers on. Weights
    that are zero, pruned ones, stay zero in training. The result is a flat functional model: a layer "a/b" of
    a nested model is called "a-b".

    Args:
        model: a built Sequential or functional model in float32, not masked; it is not changed.
        recipe: word lengths; 8-bit weights and signals by default.

    Raises:
        TypeError: not a Keras model.
        ValueError: a model that cannot be read, is masked or quantized already, a layer that has no
            fixed-point form, or an exception in the recipe that fits no layer.
    """
    recipe = FixedPoint() if recipe is None else recipe
    found = list_calls(model)
    for name, layer in named_layers(model).items():
        if isinstance(layer, TransparentWrapper | SignalQuantizer):
            raise ValueError(
                f"Layer '{name}' is masked or quantized already. Received: {type(layer).__name__}. Give "
                "to_fixed_point the plain model, and wrap what it returns."
            )
    builder = FixedPointBuilder(recipe, plan_fixed_point(found))
    inputs = [
        keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=name)
        for name, tensor in zip(input_names(model), model.inputs, strict=True)
    ]
    outputs = builder.run(found.calls, inputs, found.outputs)
    recipe.check_names(builder.recipe_names)
    sequential = isinstance(model, keras.Sequential)
    result = keras.Model(
        inputs[0] if sequential else keras.tree.pack_sequence_as(model.input, inputs),
        outputs[0] if sequential else keras.tree.pack_sequence_as(model.output, outputs),
        name=model.name,
    )
    compile_alike(result, model)
    return result


def is_fixed_point(model: keras.Model) -> bool:
    """Whether a model has quantizers."""
    return bool(quantized_layers(model) or signal_quantizers(model))


def recipe_of(model: keras.Model) -> FixedPoint:
    """The recipe by which a fixed-point model can be made again: every layer by name.

    Args:
        model: from `to_fixed_point`.

    Raises:
        ValueError: a model without quantizers, or a grid that no recipe describes.
    """
    weighted, signals = quantized_layers(model), signal_quantizers(model)
    if not weighted and not signals:
        raise ValueError(f"Model '{model.name}' has no quantizers. Received: a plain model. Use to_fixed_point first.")
    for name, layer in (weighted | signals).items():
        if not isinstance(layer.grid, WeightGrid | SignalGrid | SharedGrid):
            raise ValueError(
                f"Layer '{name}' is on a grid that is not the multiples of a step. Received: "
                f"{type(layer.grid).__name__}. Use the layer without it."
            )
    words = {signal_owner(name): layer for name, layer in signals.items()}
    books = [layer.grid for layer in weighted.values() if isinstance(layer.grid, SharedGrid)]
    kinds = [layer.power_of_two for layer in weighted.values()] + [layer.power_of_two for layer in words.values()]
    return FixedPoint(
        power_of_two=all(kinds),
        per_channel=any(layer.per_channel for layer in weighted.values()),
        shared=books[0].values if books else None,
        sharing=books[0].method if books else FixedPoint.sharing,
        entropy=max((layer.entropy for layer in weighted.values()), default=0.0),
        layers={
            name: LayerBits(
                weighted[name].weight_bits if name in weighted else None, words[name].bits if name in words else None
            )
            for name in dict.fromkeys([*weighted, *words])
        },
    )


def quantized_layers(model: keras.Model) -> dict[str, QuantizedLayer]:
    """The layers with weights in fixed point, by path, also those inside masks."""
    found = {name: quantizer_of(layer) for name, layer in named_layers(model).items()}
    return {name: quantizer for name, quantizer in found.items() if quantizer is not None}


def signal_quantizers(model: keras.Model) -> dict[str, SignalQuantizer]:
    """The quantizers of signals, by path."""
    return {name: layer for name, layer in named_layers(model).items() if isinstance(layer, SignalQuantizer)}


def signal_owner(quantizer: str) -> str:
    """The layer whose word lengths in the recipe are those of a signal, by the name of the signal's quantizer."""
    return re.sub(r"_signal(_\d+)?$", "", quantizer)
