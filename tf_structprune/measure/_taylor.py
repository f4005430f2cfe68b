"""What the loss changes by when a unit goes, to first order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph
from tf_structprune.graph import kernel_variable, kernel_view, named_layers
from tf_structprune.layers import rebuild
from tf_structprune.masks import Importance
from tf_structprune.measure._magnitude import sum_of_units
from tf_structprune.task import Samples, Task, output_names, predict, targets_by_output, task_of

_SAMPLES = 1000  # more change the order of the units hardly
_BATCH = 32

Floats = NDArray[np.float64]


def taylor(model: keras.Model, graph: PrunableGraph, granularity: str, x: Any, y: Any = None) -> Importance:
    """Mean over batches of the square of the sum of gradient x weight over the weights of a unit.

    That is what the loss changes by when the unit goes, to first order and squared (Molchanov et al. 2019, arXiv
    1906.10771, equation 8). The loss is the one that the model was compiled with, else that of its task; normalizations
    and dropouts do what they do in inference. Gradients are those of a copy: the model stays as it is, compiled or not.

    Args:
        model: the traced model, masked or not; masked weights do not count.
        graph: its graph.
        granularity: what a unit is.
        x: samples as the model takes them; a thousand of them are used.
        y: their targets, an array, or a list or dictionary of one for each output.

    Returns:
        In the shapes of `l1`.

    Raises:
        ValueError: no targets, those that the model gives already, or a loss that follows neither from the compiled
            model nor from its outputs and the targets.
    """
    samples, targets, task = _labelled(model, x, y)
    copy = rebuild(model, {})
    layers = named_layers(copy)
    kernels = {layer.name: kernel_variable(layers[layer.name]) for layer in graph.layers}
    _train_alone(copy, kernels)
    total: dict[str, Floats] = {}
    batches = 0
    for gradients in _gradients(copy, task, samples, targets):
        share = {}
        for name, kernel in kernels.items():
            view = kernel_view(layers[name], graph.channels[name].positions)
            product = keras.ops.convert_to_numpy(kernel).astype(np.float64) * gradients[id(kernel)]
            share[name] = view.view(product, np)
        for name, units in sum_of_units(graph, granularity, share).items():
            total[name] = total.get(name, 0) + units**2
        batches += 1
    return {name: units / batches for name, units in total.items()}


def _labelled(model: keras.Model, x: Any, y: Any) -> tuple[Samples, list[NDArray[Any]], Task]:
    """Some samples, their targets in the order of the outputs, and what they are for."""
    if y is None:
        raise ValueError(
            "The measure 'taylor' needs the gradient of a loss. Received: samples without labels. Give labels, or use "
            "'least_squares', which needs none."
        )
    samples = Samples.of(model, x).fitting(model, "The data")
    wanted = [np.asarray(each) for each in targets_by_output(model, y)]
    if len(samples) > _SAMPLES:
        chosen = np.sort(np.random.default_rng(0).choice(len(samples), _SAMPLES, replace=False))
        samples, wanted = samples[chosen], [each[chosen] for each in wanted]
    given = wanted if len(wanted) > 1 else wanted[0]
    made = keras.tree.flatten(predict(model, samples.for_model(model), _BATCH))
    if all(one.shape == other.shape and np.allclose(one, other) for one, other in zip(made, wanted, strict=True)):
        raise ValueError(
            "The measure 'taylor' needs the gradient of a loss, which is 0 for targets that the model gives. Received: "
            f"the outputs of model '{model.name}' as targets. Give labels, or use 'least_squares', which needs none."
        )
    task = task_of(model, samples.for_model(model), given)
    prepared = task.targets(given, "The targets")
    return samples, list(prepared) if len(wanted) > 1 else [prepared], task


def _train_alone(model: keras.Model, kernels: Mapping[str, Any]) -> None:
    """Let some layers of a model be trained and no others, without penalties on their weights."""
    model.trainable = True
    for name, layer in named_layers(model).items():
        layer.trainable = name in kernels
    for variable in model.weights:
        variable.regularizer = None


def _gradients(
    model: keras.Model, task: Task, samples: Samples, targets: Sequence[NDArray[Any]]
) -> Iterator[dict[int, Floats]]:
    """Gradients of the loss by the identity of the variable, batch by batch of the same size; the rest is left out."""
    size = min(_BATCH, len(samples))
    several = len(output_names(model)) > 1
    optimizer, trained = _Noted(), _Inference(model)
    trained(_on_device(samples[:1].for_model(model)))
    variables = trained.trainable_variables
    optimizer.build(variables)
    weights = list(task.weights) or None
    trained.compile(optimizer, task.loss, loss_weights=weights if several else None, auto_scale_loss=False)
    for start in range(0, len(samples) - size + 1, size):
        part = slice(start, start + size)
        wanted = [each[part] for each in targets]
        trained.train_on_batch(samples[part].for_model(model), wanted if several else wanted[0])
        found = [keras.ops.convert_to_numpy(each).astype(np.float64) for each in optimizer.noted]
        yield {id(variable): gradient for variable, gradient in zip(variables, found, strict=True)}


def _on_device(x: Any) -> Any:
    return keras.tree.map_structure(keras.ops.convert_to_tensor, x)


class _Inference(keras.Model):  # type: ignore[misc]  # Keras is untyped
    """A model that does in training what it does in inference."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="in_inference")
        self.model = model

    def call(self, x: Any) -> Any:
        outputs = keras.tree.flatten(self.model(x, training=False))
        return outputs if len(outputs) > 1 else outputs[0]


class _Noted(keras.optimizers.Optimizer):  # type: ignore[misc]  # Keras is untyped
    """Notes the gradients in place of following them."""

    def __init__(self) -> None:
        super().__init__(learning_rate=0.0, name="noted")
        self.noted: list[Any] = []

    def build(self, variables: Sequence[Any]) -> None:
        """One of its variables for each of the model's."""
        if not self.built:
            super().build(variables)
            self.noted = [self.add_variable_from_reference(variable, name="gradient") for variable in variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        """Note them, 0 of what the loss does not depend on."""
        del trainable_variables
        for noted, gradient in zip(self.noted, grads, strict=True):
            noted.assign(keras.ops.zeros(noted.shape, noted.dtype) if gradient is None else gradient)
