"""Copies of models hold the live objects of the model: nothing is written and read again on the way."""

import keras
import numpy as np
import pytest
from absl import logging
from keras import ops

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import config_of, named_layers
from tf_structprune.layers import clone, copy_layer, for_inference

_L = keras.layers
SHAPE = (8, 8, 1)


def closure(power):
    def activation(x):
        return ops.abs(x) ** power

    return activation


class Scale(_L.Layer):
    """Without variables, and its configuration does not tell the factor."""

    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return super().get_config()


class Gain(_L.Layer):
    """With a variable, and a function among its settings."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, inputs):
        return self.function(inputs * self.gain)

    def get_config(self):
        return {**super().get_config(), "function": "which one, a text cannot tell"}


class Drop(_L.Layer):
    """With a seed, which is a variable, in a layer of its own."""

    def __init__(self, rate, **kwargs):
        super().__init__(**kwargs)
        self.inner = _L.Dropout(rate)

    def call(self, inputs):
        return self.inner(inputs)


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.5 / (1.0 + ops.cast(step, "float32"))

    def get_config(self):
        return {}


class Own(keras.metrics.MeanSquaredError):
    pass


class Refusing(keras.metrics.Mean):
    def __init__(self, *, limit):
        super().__init__(name="refusing")
        self.bound = limit

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(ops.minimum(y_pred, self.bound))


class Dice(keras.losses.Loss):
    def __init__(self, power):
        super().__init__()
        self.power = power

    def call(self, y_true, y_pred):
        return ops.mean(ops.abs(y_true - y_pred) ** self.power, axis=-1)


def first(y_true, y_pred):
    return ops.mean(y_pred[:, 0])


def model_with(layer):
    inputs = keras.Input(SHAPE)
    x = _L.Conv2D(4, 3, activation=closure(1.5), name="first")(inputs)
    x = _L.Conv2D(6, 3, activation=closure(2.0), kernel_regularizer=lambda kernel: ops.sum(kernel) * 1e-3, name="mid")(
        x
    )
    x = layer(x)
    return keras.Model(inputs, _L.Dense(3, name="head")(_L.GlobalAveragePooling2D()(x)), name="net")


LAYERS = {
    "lambda": lambda: _L.Lambda(lambda x: x * 3.0),
    "lambda of a closure": lambda: _L.Lambda(closure(1.5)),
    "activation": lambda: _L.Activation(closure(0.5)),
    "layer without variables": lambda: Scale(4.0),
    "layer with variables": lambda: Gain(closure(2.0)),
    "layer with a seed": lambda: Drop(0.5),
    "nested model": lambda: keras.Sequential([keras.Input((4, 4, 6)), Scale(4.0), _L.Activation(closure(0.5))]),
}
COPIES = {
    "wrap": sp.wrap,
    "unwrap": lambda model: sp.unwrap(sp.wrap(model)),
    "for_inference": for_inference,
    "clone": lambda model: with_weights_of(clone(model, lambda _, layer: copy_layer(layer)), model),
}


def with_weights_of(copy, model):
    copy.set_weights(model.get_weights())
    return copy


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(5, *SHAPE)).astype("float32")


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("layer", LAYERS)
def test_copies_compute_what_the_model_does_without_any_registration(layer, copy, images):
    model = model_with(LAYERS[layer]())
    before = config_of(model)
    result = COPIES[copy](model)
    given, made = (ops.convert_to_numpy(each(images, training=False)) for each in (model, result))
    np.testing.assert_allclose(made, given, atol=1e-5)
    assert config_of(model) == before
    assert not {id(v) for v in result.variables} & {id(v) for v in model.variables}


def test_a_shared_layer_without_variables_lets_both_models_be_traced_again(images):
    model = model_with(Scale(4.0))
    once, again = sp.wrap(model), sp.wrap(model)
    assert sp.trace(model) is not None and len(sp.trace(once).layers) == len(sp.trace(again).layers) == 3
    shared = [layer for layer in named_layers(model).values() if isinstance(layer, Scale)]
    assert all(layer in shared for layer in named_layers(once).values() if isinstance(layer, Scale))


def test_training_a_masked_model_leaves_the_given_one_alone(images):
    model = model_with(Gain(closure(2.0)))
    model.compile("sgd", Dice(2.0), metrics=[Own(), first])
    model.fit(images, np.ones((5, 3), "float32"), verbose=0)
    weights, figures = model.get_weights(), model.get_metrics_result()
    masked = sp.wrap(model)
    masked.fit(images, np.zeros((5, 3), "float32"), epochs=2, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert {k: float(v) for k, v in figures.items()} == {k: float(v) for k, v in model.get_metrics_result().items()}
    assert int(model.optimizer.iterations) == 1


LOSSES = {"function": first, "lambda": lambda t, p: ops.mean(ops.abs(t - p)), "loss": Dice(3.0), "name": "mse"}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_copy_is_compiled_with_the_same_loss(loss, images):
    model = model_with(Scale(2.0))
    model.compile(keras.optimizers.SGD(Decay()), LOSSES[loss], metrics=[[Own()]], weighted_metrics=[first])
    targets = np.ones((5, 3), "float32")
    expected = model.evaluate(images, targets, return_dict=True, verbose=0)
    masked = sp.wrap(model)
    assert masked.evaluate(images, targets, return_dict=True, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert masked.loss is LOSSES[loss]
    assert masked.optimizer is not model.optimizer
    assert float(masked.optimizer.learning_rate) == 0.5


def test_a_copy_that_was_not_trained_yet_is_loaded_with_its_optimizer(tmp_path):
    model = zoo.build("chain")
    model.compile(keras.optimizers.Adam(0.01), "mse")
    masked = sp.wrap(model)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    assert len(loaded.optimizer.variables) == len(masked.optimizer.variables) > 2 * len(masked.trainable_variables)


def test_metrics_of_which_one_cannot_be_copied_are_left_out_with_a_warning(images, caplog, monkeypatch):
    model = model_with(Scale(2.0))
    model.compile("adam", "mse", metrics=[Refusing(limit=1.0), "mae"])
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
    with caplog.at_level("WARNING"):
        masked = sp.wrap(model)
    assert "without these metrics, of which one cannot be copied" in caplog.text
    figures = masked.evaluate(images, np.ones((5, 3), "float32"), return_dict=True, verbose=0)
    assert set(figures) == {"loss"}


def test_a_layer_with_variables_that_its_configuration_does_not_describe_is_refused():
    class Rank(_L.Dense):
        def __init__(self, units, rank):
            super().__init__(units)
            self.order = rank

    with pytest.raises(
        ValueError, match=r"(?s)Layer '.*' \(Rank\) cannot be copied from its configuration: .* Give its"
    ):
        sp.wrap(model_with(Rank(6, rank=2)))


def test_fixed_point_takes_over_a_loss_of_ones_own():
    model = keras.Sequential([keras.Input(SHAPE), _L.Conv2D(4, 3, activation="relu"), _L.Flatten(), _L.Dense(3)])
    loss = Dice(2.0)
    model.compile("adam", loss, metrics=[Own()])
    assert sp.to_fixed_point(model).loss is loss
