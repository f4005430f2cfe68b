"""What the loss changes by when a unit goes, to first order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.channels import PrunableGraph
from tf_structprune.graph import kernel_variable, kernel_view, named_layers
from tf_structprune.layers import copy_model, let_pruned_learn, rebuild, renew_copies
from tf_structprune.masks import Importance
from tf_structprune.measure._magnitude import sum_of_units
from tf_structprune.task import Samples, Task, compile_arguments, output_names, predict, targets_by_output, task_of

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
    gradients = _Gradients(rebuild(model, {}), graph, *_labelled(model, x, y))
    total: dict[str, Floats] = {}
    batches = 0
    for share in gradients.products():
        for name, units in sum_of_units(graph, granularity, share).items():
            total[name] = total.get(name, 0) + units**2
        batches += 1
    return {name: units / batches for name, units in total.items()}


class SparseTaylor:
    """What the loss of a masked model changes by when a unit goes, or comes back, to first order.

    The gradient is taken at the sparse network and for all of its weights, also for those that masks remove: gradient x
    weight of a removed one is what the loss changes by when it comes back as it is. A unit's score is the sum over
    batches of the absolute value of the sum over its weights. A copy with its own gradients is kept and compiled once.

    Args:
        masked: the masked model, which may be in fixed point; it stays as it is.
        graph: its graph.
        x: samples as `taylor` takes them.
        y: their targets.

    Raises:
        ValueError: see `taylor`.
    """

    def __init__(self, masked: keras.Model, graph: PrunableGraph, x: Any, y: Any) -> None:
        self._masked, self._graph, self._copy = masked, graph, copy_model(masked)
        let_pruned_learn(self._copy, on=True)
        self._gradients = _Gradients(self._copy, graph, *_labelled(masked, x, y))

    def __call__(self, granularity: str) -> Importance:
        """The scores with the weights and masks that the model holds now, in the shapes of `l1`.

        In fixed point kernels are divided by a number of each layer, and gradients multiplied by it: scores are not.

        Args:
            granularity: what a unit is; of feature maps only those that are kept have a score that says something.
        """
        self._copy.set_weights(self._masked.get_weights())
        renew_copies(self._copy)
        total: dict[str, Floats] = {}
        for share in self._gradients.products():
            for name, units in sum_of_units(self._graph, granularity, share).items():
                total[name] = total.get(name, 0) + np.abs(units)
        return total


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


class _Gradients:
    """Gradients of the loss of a model, which is trained by nothing else from now on.

    Args:
        model: the model.
        graph: says which kernels they are of.
        samples: what they are taken on.
        targets: theirs, in the order of the outputs.
        task: has the loss.
    """

    def __init__(
        self,
        model: keras.Model,
        graph: PrunableGraph,
        samples: Samples,
        targets: Sequence[NDArray[Any]],
        task: Task,
    ) -> None:
        self._layers, self._graph = named_layers(model), graph
        self._kernels = {layer.name: kernel_variable(self._layers[layer.name]) for layer in graph.layers}
        _train_alone(model, self._kernels)
        self._samples, self._targets, self._size = samples, targets, min(_BATCH, len(samples))
        self._several = len(output_names(model)) > 1
        self._optimizer, self._trained = _Noted(), _Inference(model)
        self._trained(_on_device(samples[:1].for_model(model)))
        self._model, self._variables = model, self._trained.trainable_variables
        self._optimizer.build(self._variables)
        given = compile_arguments(model)
        self._trained.compile(
            self._optimizer,
            task.loss,
            loss_weights=(list(task.weights) or None) if self._several else None,
            auto_scale_loss=False,
            run_eagerly=given.get("run_eagerly", False),
            jit_compile=given.get("jit_compile", "auto"),
        )

    def products(self) -> Iterator[dict[str, Floats]]:
        """Gradient x weight by layer, shape (positions, inputs / groups, outputs), batch by batch of the same size.

        The rest of the samples is left out.
        """
        for start in range(0, len(self._samples) - self._size + 1, self._size):
            part = slice(start, start + self._size)
            wanted = [each[part] for each in self._targets]
            x = self._samples[part].for_model(self._model)
            self._trained.train_on_batch(x, wanted if self._several else wanted[0])
            noted = zip(self._variables, self._optimizer.noted, strict=True)
            gradients = {id(variable): keras.ops.convert_to_numpy(each) for variable, each in noted}
            yield {name: self._view(name, gradients[id(kernel)]) for name, kernel in self._kernels.items()}

    def _view(self, name: str, gradient: NDArray[Any]) -> Floats:
        kernel = keras.ops.convert_to_numpy(self._kernels[name]).astype(np.float64)
        found: Floats = kernel_view(self._layers[name], self._graph.channels[name].positions).view(
            kernel * gradient, np
        )
        return found


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
