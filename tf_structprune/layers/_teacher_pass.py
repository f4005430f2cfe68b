"""A masked model as its own teacher: the same variables, with masks open and nothing rounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from tf_structprune.graph import core_layer, named_layers
from tf_structprune.layers._masked_layer import MaskedLayer
from tf_structprune.layers._masked_normalization import MaskedNormalization
from tf_structprune.layers._quantized_layer import quantizer_of
from tf_structprune.layers._signal_quantizer import SignalQuantizer


@dataclass(frozen=True)
class TeacherPass:
    """Runs a masked model with other masks than it holds, weights and signals in float, and other batch statistics.

    Masks, grids and moving statistics are variables that no gradient changes, so the pass is the model itself with
    other values in their places: no weight is copied, and a gradient reaches every weight that these masks leave.

    Attributes:
        student: the model.
        values: by identity of a variable that is not trained, its value in the pass.
        statistics: moving means and variances of its batch normalizations, in order.
    """

    student: keras.Model
    values: Mapping[int, NDArray[Any]] = field(repr=False)
    statistics: tuple[Any, ...] = field(repr=False)

    @classmethod
    def of(cls, student: keras.Model) -> Self:
        """The pass with the masks that a model holds now, whatever masks it gets later.

        Args:
            student: a model from `wrap`, in fixed point or not.
        """
        layers = named_layers(student).values()
        kept = [variable for layer in layers for variable in _masks(layer)]
        zero = [variable for layer in layers for variable in _grids(layer)]
        norms = [core for layer in layers if isinstance(core := core_layer(layer), keras.layers.BatchNormalization)]
        return cls(
            student,
            {id(each): np.array(ops.convert_to_numpy(each)) for each in kept}
            | {id(each): np.zeros(each.shape, np.float32) for each in zero},
            tuple(each for norm in norms for each in (norm.moving_mean, norm.moving_variance)),
        )

    def __call__(self, inputs: Any, statistics: Sequence[Any], *, training: bool) -> tuple[Any, list[Any]]:
        """The pass; no variable of the model changes.

        Args:
            inputs: as the model takes them.
            statistics: values in the place of the model's `statistics`.
            training: whether batch normalizations take the batch's own statistics, and layers that draw, draw.

        Returns:
            The outputs, and the statistics as a training pass leaves them.
        """
        student = self.student
        own = dict(zip(map(id, self.statistics), statistics, strict=True))
        fixed = [self._value(variable, own) for variable in student.non_trainable_variables]
        trained = [variable.value for variable in student.trainable_variables]
        outputs, left = student.stateless_call(trained, fixed, inputs, training=training)
        found = dict(zip(map(id, student.non_trainable_variables), left, strict=True))
        return outputs, [found[id(variable)] for variable in self.statistics]

    def _value(self, variable: Any, own: Mapping[int, Any]) -> Any:
        if id(variable) in own:
            return own[id(variable)]
        if id(variable) not in self.values:
            return variable.value
        value = self.values[id(variable)]
        # A mask that is open, as most are, takes no room in the graph.
        return ops.ones(value.shape, "bool") if value.dtype == bool and value.all() else ops.convert_to_tensor(value)


def _masks(layer: Any) -> list[Any]:
    if isinstance(layer, MaskedNormalization):
        return [layer.keep]
    if not isinstance(layer, MaskedLayer):
        return []
    found = (layer.input_keep, layer.output_keep, layer.kernel_keep, layer.pattern, layer.weight_keep)
    return [each for each in found if each is not None]


def _grids(layer: Any) -> list[Any]:
    """What a layer rounds by, all of which rounds nothing where it is zero."""
    quantizer = quantizer_of(layer)
    if quantizer is not None:
        return [quantizer.fitted, quantizer.input_step]
    return [layer.fitted] if isinstance(layer, SignalQuantizer) else []
