"""Training in fixed point: what is rounded when, what stays, and that the accuracy comes back."""

import functools

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.fixed_point import to_grid
from tf_structprune.layers import quantized_layers, signal_quantizers

_L = keras.layers
FIGURES = ("fixed_point_weights", "fixed_point_signals")
RECIPE = sp.FixedPoint(4, 5)


class Watch(keras.callbacks.Callback):
    """Notes, while it trains, the shares of weights and signals that are rounded."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(rounded(self.model))


class Unround(keras.callbacks.Callback):
    """Takes all grids away at the end of an epoch, as a rollback to the beginning does."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            for layer in quantized_layers(self.model).values():
                layer.set_calibration(0)
            for layer in signal_quantizers(self.model).values():
                layer.set_calibration(0)


def rounded(model):
    """Shares of the weights and signals that have grids; 1 of none."""
    kinds = quantized_layers(model).values(), signal_quantizers(model).values()
    return tuple(float(np.mean([layer.calibrated for layer in layers] or 1)) for layers in kinds)


def grids(model):
    """All grids of a model."""
    steps = {name: layer.step_values().tolist() for name, layer in quantized_layers(model).items()}
    return steps | {name: layer.calibration().tolist() for name, layer in signal_quantizers(model).items()}


def same(first, second):
    """Whether two models have the same weights."""
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def compiled(model, rate=0.05):
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model


def fixed_chain(recipe=RECIPE):
    return compiled(sp.to_fixed_point(zoo.build("chain"), recipe))


@pytest.fixture
def train(data):
    """Fits a model with the callback; gives the history and what `Watch` saw."""
    x, y = data

    def fit(model, *others, epochs=3, **settings):
        watch = Watch()
        callback = sp.FixedPointTraining(**{"calibration_data": x, **settings})
        done = model.fit(x, y, batch_size=24, epochs=epochs, verbose=0, callbacks=[*others, callback, watch])
        return done.history, watch.seen

    return fit


@pytest.mark.parametrize("signal_epoch", [0, 1, 2])
def test_weights_are_rounded_at_once_and_signals_from_their_epoch_on(train, signal_epoch):
    model = fixed_chain()
    history, seen = train(model, signal_epoch=signal_epoch)
    signals = [float(epoch >= signal_epoch) for epoch in range(3)]
    assert seen == [(1.0, share) for share in signals for _ in range(2)]
    assert history["fixed_point_weights"] == [1.0] * 3
    assert history["fixed_point_signals"] == signals


def test_figures_are_shares_where_a_layer_is_left_in_float(train):
    recipe = sp.FixedPoint(4, None, layers={"b": sp.LayerBits(None, None)})
    model = fixed_chain(recipe)
    assert not signal_quantizers(model) and "b" not in quantized_layers(model)
    history, _ = train(model)
    assert [history[figure] for figure in FIGURES] == [[1.0] * 3] * 2  # all of none are rounded


def test_steps_are_those_of_the_weights_with_which_training_begins(train):
    model = fixed_chain()
    wanted = {name: layer.fit() for name, layer in quantized_layers(model).items()}
    train(model)
    assert {name: layer.step_values() for name, layer in quantized_layers(model).items()} == wanted


def test_refit_follows_the_weights(train):
    again, once = fixed_chain(), fixed_chain()
    train(once)
    train(again, refit_epochs=1, epochs=1)
    for layer in quantized_layers(again).values():
        layer.kernel_variable.assign(8 * layer.kernel_variable)
    before = grids(again)
    train(again, refit_epochs=1, epochs=1)
    weights = quantized_layers(again)
    assert [grids(again)[name] for name in weights] == [8 * before[name] for name in weights]
    assert rounded(once) == rounded(again) == (1.0, 1.0)


def test_second_fit_keeps_the_grids(train, caplog):
    model = fixed_chain()
    train(model)
    before = grids(model)
    history, seen = train(model, epochs=1)  # signal_epoch=1 is not reached in this fit
    assert grids(model) == before
    assert set(seen) == {(1.0, 1.0)} and history["fixed_point_signals"] == [1.0]


def test_interrupted_training_goes_on_where_it_stopped(train, tmp_path):
    model = fixed_chain()
    train(model)
    model.save(tmp_path / "model.keras")
    loaded = compiled(keras.models.load_model(tmp_path / "model.keras"))
    assert grids(loaded) == grids(model)
    for each in (model, loaded):
        keras.utils.set_random_seed(2)  # the order of the batches, if both are compiled anew: JAX draws one more then
        train(compiled(each), epochs=1)
    assert same(model, loaded)


def test_calibrated_models_keep_their_grids(train, data):
    model = fixed_chain()
    sp.calibrate(model, data[0] * 3)
    before = grids(model)
    train(model)
    assert grids(model) == before


@pytest.mark.parametrize("epochs, warned", [(1, True), (2, False)])
def test_training_that_ends_too_early_rounds_signals_and_warns(train, monkeypatch, epochs, warned):
    messages = []
    monkeypatch.setattr(
        sp.callbacks._fixed_point_training.logging, "warning", lambda text, *given: messages.append(text % given)
    )
    model = fixed_chain()
    train(model, epochs=epochs, signal_epoch=1)
    assert rounded(model) == (1.0, 1.0)
    assert [m[:35] for m in messages] == ["Training ended before epoch 1: the "] * warned


def test_grids_that_a_rollback_took_are_made_again(train):
    model = fixed_chain()
    history, seen = train(model, Unround(1))
    assert history["fixed_point_weights"] == [1.0, 0.0, 1.0]
    assert seen[4:] == [(1.0, 1.0)] * 2
    train(fresh := fixed_chain(), Unround(2))
    assert rounded(fresh) == (1.0, 1.0)


def test_float_weights_train_and_rounded_ones_are_words(train):
    model = fixed_chain()
    before = {name: np.array(layer.kernel_variable) for name, layer in quantized_layers(model).items()}
    train(model)
    for name, layer in quantized_layers(model).items():
        kernel = np.array(layer.kernel_variable)
        assert (kernel != before[name]).any()
        wanted = to_grid(kernel * layer.gain_value(), float(layer.step_values()), 4)
        assert np.array_equal(keras.ops.convert_to_numpy(layer.effective_kernel()), wanted.astype(np.float32))


def test_student_of_a_distiller_is_trained(data):
    x, y = data
    teacher, student = compiled(zoo.build("chain")), sp.to_fixed_point(zoo.build("batch_norm_chain"), RECIPE)
    distiller = keras.distillation.Distiller(
        teacher, student, keras.distillation.LogitsDistillation(temperature=2.0), student_loss_weight=0.5
    )
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    callback = sp.FixedPointTraining(calibration_data=x)
    history = distiller.fit(x, y, epochs=2, verbose=0, callbacks=[callback]).history
    assert rounded(student) == (1.0, 1.0)
    assert [history[figure] for figure in FIGURES] == [[1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    "granularity",
    ["feature_map", *(pytest.param(kind, marks=pytest.mark.sweep) for kind in ("kernel", "intra_kernel"))],
)
def test_pruned_and_rounded_in_one_fit(train, data, tmp_path, granularity):
    masked = compiled(sp.wrap(sp.to_fixed_point(zoo.build("residual_projection"), RECIPE)))
    pruning = sp.StructuredPruning(
        validation_data=data,
        search=sp.search.RandomMask(),
        sparsity=0.5,
        tolerance=1.0,
        verbose=0,
        granularity=granularity,
    )
    history, _ = train(masked, pruning)
    graph, masks = sp.trace(masked), sp.get_masks(masked)
    assert sp.sparsity_of(graph, masks) == history["prune_sparsity"][-1] >= 0.5
    assert rounded(masked) == (1.0, 1.0)
    masked.save(tmp_path / "masked.keras")
    loaded = keras.models.load_model(tmp_path / "masked.keras")
    assert zoo.largest_difference(masked, loaded, zoo.batch()) == 0
    assert grids(loaded) == grids(masked) and sp.get_masks(loaded).equals(masks)
    removed = 0
    for name, layer in quantized_layers(sp.unwrap(masked)).items():
        kernel = keras.ops.convert_to_numpy(layer.effective_kernel())
        gone = graph_weights(graph, name) - sp.kept_weights(graph, masks)[name]
        removed += gone
        assert (kernel == 0).sum() >= gone
    assert removed > 0


def graph_weights(graph, name):
    (layer,) = (layer for layer in graph.layers if layer.name == name)
    return layer.weights


def test_rolled_back_pruning_leaves_a_model_in_fixed_point(train, data):
    masked = compiled(sp.wrap(sp.to_fixed_point(zoo.build("chain"), RECIPE)))
    scores = iter([1.0] + [0.0] * 9)  # good before pruning, never again
    pruning = sp.StructuredPruning(
        validation_data=data,
        search=sp.search.RandomMask(),
        sparsity=0.5,
        score=lambda *_: next(scores),
        verbose=0,
    )
    train(masked, pruning, epochs=2)
    assert sp.sparsity_of(sp.trace(masked), sp.get_masks(masked)) == 0
    assert rounded(masked) == (1.0, 1.0)


@pytest.mark.parametrize("per_channel", [False, True], ids=["a step a layer", "a step a channel"])
def test_steps_suit_the_weights_that_masks_leave(data, per_channel):
    masked = sp.wrap(sp.to_fixed_point(zoo.build("chain"), sp.FixedPoint(3, 8, False, per_channel)))
    kernel = sp.get_masks(masked).kernel
    sp.set_masks(masked, sp.MaskSet(kernel={name: _loud_ones_gone(masked, name) for name in kernel}))
    plain = sp.unwrap(masked)
    whole = {name: layer.fit() for name, layer in quantized_layers(masked).items()}
    sp.calibrate(masked, data[0])
    sp.calibrate(plain, data[0])
    for name, layer in quantized_layers(masked).items():
        assert np.array_equal(layer.step_values(), quantized_layers(plain)[name].step_values())
        assert (name in kernel) == bool((layer.step_values() < whole[name] * 0.95).any())


def _loud_ones_gone(masked, name):
    """A kernel mask without the kernels that hold the largest weights."""
    kernel = np.abs(np.array(quantized_layers(masked)[name].kernel_variable))
    loudest = kernel.max(axis=tuple(range(kernel.ndim - 2)))
    return loudest < np.median(loudest, axis=0)


def test_plain_model_is_refused(train):
    with pytest.raises(ValueError, match=r"Model 'chain' has no quantizers. Received: a plain model. Train to_fixed_p"):
        train(compiled(zoo.build("chain")))


@pytest.mark.parametrize(
    "calibration_data, message",
    [
        (np.zeros((0, 8, 8, 2)), r"must be finite numbers. Received: shape=\(0, 8, 8, 2\)\."),
        (np.float32(3), r"Received: shape=\(\), "),
        (np.full((2, 8, 8, 2), np.nan), r"Received: shape=\(2, 8, 8, 2\), with NaN or infinite values"),
        (np.full((2, 8, 8, 2), -np.inf), r"with NaN or infinite values\. Pass some hundred"),
    ],
    ids=["no samples", "a number", "NaN", "infinite"],
)
def test_bad_calibration_data_are_refused(calibration_data, message):
    with pytest.raises(ValueError, match=message):
        sp.FixedPointTraining(calibration_data=calibration_data)


@pytest.mark.parametrize("name", ["signal_epoch", "refit_epochs"])
def test_negative_epochs_are_refused(data, name):
    with pytest.raises(ValueError, match=f"{name} must be 0 or more. Received: {name}=-1"):
        sp.FixedPointTraining(calibration_data=data[0], **{name: -1})


@functools.cache
def digits():
    """scikit-learn's digits, for training and for validation."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = (found.images[..., None] / 16).astype(np.float32), found.target
    return (x[:1300], y[:1300]), (x[1300:], y[1300:])


@functools.cache
def digits_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = _L.Conv2D(8, 3, padding="same", use_bias=False, name="first")(inputs)
    x = _L.ReLU()(_L.BatchNormalization()(x))
    x = _L.Conv2D(16, 3, padding="same", activation="relu", name="second")(x)
    x = _L.Flatten()(_L.MaxPooling2D(2)(x))
    model = keras.Model(inputs, _L.Dense(10, activation="softmax", name="scores")(x))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*digits()[0], batch_size=32, epochs=6, verbose=0)
    return model


def accuracy(model):
    x, y = digits()[1]
    return float((model.predict(x, verbose=0).argmax(1) == y).mean())


@pytest.mark.sweep
def test_training_brings_the_accuracy_back_at_three_bits():
    in_float = accuracy(digits_model())
    fixed = sp.to_fixed_point(digits_model(), sp.FixedPoint(3, 4))
    fixed.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callback = sp.FixedPointTraining(calibration_data=digits()[0][0][:300])
    keras.utils.set_random_seed(1)
    fixed.fit(*digits()[0], batch_size=32, epochs=6, verbose=0, callbacks=[callback])
    assert in_float > 0.9
    assert accuracy(fixed) > in_float - 0.03
