"""Muon for convolutions: which variables it updates, and by how much."""

import keras
import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tflite_export.compress import CompressSettings, retrain
from tflite_export.compress._optimizer import ConvolutionMuon, optimizer_of


def network():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, name="convolution"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.BatchNormalization(name="normalization"),
            layers.Flatten(),
            layers.Dense(5, name="hidden"),
            layers.Dense(4, name="outputs"),
        ]
    )


def stepped(gradients=None, rate=0.1, **settings):
    """A network after one step from random gradients: by variable's path, before, after and gradient."""
    model = network()
    rng = np.random.default_rng(0)
    optimizer = optimizer_of("muon", model)(rate)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    given = [rng.normal(size=value.shape).astype(np.float32) for value in before]
    optimizer.apply(given, variables)
    return {
        variable.path.split("/", 1)[-1]: (old, variable.numpy(), gradient)
        for variable, old, gradient in zip(variables, before, given, strict=True)
    }


def test_updates_of_kernels_are_nearly_orthogonal():
    found = stepped()
    for name, sides in {"convolution/kernel": (27, 6), "hidden/kernel": (96, 5)}.items():
        old, new, gradient = found[name]
        update = ((old - new) / (0.1 * 0.2 * max(sides) ** 0.5)).reshape(sides)
        values = np.linalg.svd(update, compute_uv=False)
        assert values.min() > 0.6 and values.max() < 1.3
        # The nearest orthogonal matrix of the gradient, in the same directions.
        left, _, right = np.linalg.svd(gradient.reshape(sides), full_matrices=False)
        assert np.sum(update * (left @ right)) > 0.95 * np.linalg.norm(update) * min(sides) ** 0.5


def test_everything_else_steps_as_adam_does():
    found = stepped()
    others = found.keys() - {"convolution/kernel", "hidden/kernel"}
    assert {"depthwise/kernel", "outputs/kernel", "normalization/gamma", "hidden/bias"} <= others
    for name in others:
        old, new, gradient = found[name]
        np.testing.assert_allclose(old - new, 0.1 * np.sign(gradient), rtol=2e-3)


def test_it_is_made_again_from_its_configuration():
    optimizer = ConvolutionMuon(0.01, last="outputs/kernel")
    again = ConvolutionMuon.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    assert again.last == "outputs/kernel"
    assert again.weight_decay is None


@pytest.mark.parametrize("distill, rate", [(0.0, "auto"), (0.5, 0.02)])
def test_retraining_by_muon_learns(distill, rate):
    model, data = tiny.fresh(), tiny.data()
    rng = np.random.default_rng(0)
    model.set_weights([weight + rng.normal(0, 0.2, weight.shape) for weight in model.get_weights()])
    settings = CompressSettings(epochs=4, finetune_batch=32, optimizer="muon", finetune_rate=rate, distill=distill)
    retrain(model, tiny.trained(), data, settings, task=tiny.task())
    assert tiny.accuracy(model, data.x_val, data.y_val) > 0.9
