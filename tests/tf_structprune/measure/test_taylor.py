"""Taylor's importance is the squared slope of the loss along each unit, and nothing is changed by finding it."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import kernel_variable, kernel_view, named_layers, trace
from tf_structprune.masks import FEATURE_MAP, INTRA_KERNEL, KERNEL
from tf_structprune.measure import _taylor, taylor
from tf_structprune.task import as_score, check_validation

_L = keras.layers
STEP = 0.005


def noisy(x):
    """Layers that do something else in training, a penalty, and a layer that is not trained."""
    x = _L.Dropout(0.5)(_L.BatchNormalization()(zoo.conv(x, 6, name="pruned", kernel_regularizer="l2")))
    return zoo.conv(x, 5, name="after", trainable=False)


def net(builder=noisy):
    inputs = keras.Input(zoo.INPUT_SHAPE)
    x = _L.GlobalAveragePooling2D()(builder(zoo.conv(inputs, 4, name="stem")))
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, activation="softmax", name="classifier")(x)))


def labels(count=20, classes=3):
    return np.random.default_rng(1).integers(0, classes, count)


def slope(model, graph, units, x, y):
    """Slope of the mean loss when some weights grow, by a difference.

    Args:
        units: by layer, which weights, as its kernel is viewed.
    """
    layers, losses = named_layers(model), []
    kernels = {name: kernel_variable(layers[name]) for name in units}
    given = {name: np.array(kernel) for name, kernel in kernels.items()}
    for factor in (1 + STEP, 1 - STEP):
        for name, which in units.items():
            view = kernel_view(layers[name], graph.channels[name].positions)
            kernels[name].assign(view.restore(np.where(which, factor, 1) * view.view(given[name], np), np))
        (made,) = zoo.outputs_of(model, x)
        losses.append(float(np.mean(keras.ops.sparse_categorical_crossentropy(y, made.astype(np.float64)))))
        for name, kernel in kernels.items():
            kernel.assign(given[name])
    return (losses[0] - losses[1]) / (2 * STEP)


@pytest.mark.parametrize("name", ["residual_projection", "noisy", "shared_layer"])
def test_importance_of_maps_is_the_squared_slope_of_the_loss(name):
    model = net() if name == "noisy" else zoo.build(name)
    (made,) = zoo.outputs_of(model, x := zoo.batch(20))
    if np.abs(made.sum(axis=-1) - 1).max() > 1e-3:
        model = keras.Model(model.inputs, _L.Softmax()(model.outputs[0]))
    graph, y = trace(model), labels(classes=made.shape[-1])
    found = taylor(model, graph, FEATURE_MAP, x, y)
    assert {*found} == {group.name for group in graph.prunable_groups}
    for group in graph.prunable_groups:
        for at in (0, len(group.units) - 1):
            units = {}
            for producer in group.producers:
                view = kernel_view(named_layers(model)[producer], graph.channels[producer].positions)
                units[producer] = np.broadcast_to(graph.channels[producer].outputs == group.units[at], view.view_shape)
            expected = np.abs(slope(model, graph, units, x, y))
            np.testing.assert_allclose(found[group.name][at] ** 0.5, expected, rtol=0.05, atol=5e-4)


@pytest.mark.parametrize("granularity", [KERNEL, INTRA_KERNEL])
def test_importance_of_kernels_and_positions_is_the_squared_slope_of_the_loss(granularity):
    model, x, y = net(), zoo.batch(20), labels()
    graph = trace(model)
    found = taylor(model, graph, granularity, x, y)["after"]
    which = np.zeros((9, 6, 5), bool)
    which[(slice(None), 2, 1) if granularity == KERNEL else (4, 2)] = True
    expected = np.abs(slope(model, graph, {"after": which}, x, y))
    np.testing.assert_allclose(
        found[(2, 1) if granularity == KERNEL else (4, 2)] ** 0.5, expected, rtol=0.05, atol=5e-5
    )


def linear(outputs=2):
    inputs = keras.Input((3,))
    x = _L.Dense(4, name="hidden")(inputs)
    return zoo.randomize(keras.Model(inputs, _L.Dense(outputs, name="made")(x)))


def by_hand(model, x, y):
    """Of the hidden units of `linear` with the mean squared error."""
    (first, offset), (second, _) = (named_layers(model)[name].get_weights() for name in ("hidden", "made"))
    off = 2 * (zoo.outputs_of(model, x)[0] - y) / y.size
    return ((x.T @ (off @ second.T)) * first).sum(axis=0) ** 2


def test_linear_model_with_a_squared_error_is_as_by_hand_batch_by_batch(monkeypatch):
    monkeypatch.setattr(_taylor, "_BATCH", 8)
    model, rng = linear(), np.random.default_rng(0)
    model.compile("adam", "mse")
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=(20, 2)).astype(np.float32)
    found = taylor(model, trace(model), FEATURE_MAP, x, y)["hidden"]
    expected = np.mean([by_hand(model, x[part], y[part]) for part in (slice(0, 8), slice(8, 16))], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_several_outputs_add_their_losses():
    inputs = keras.Input((3,), name="in")
    x = _L.Dense(4, name="hidden")(inputs)
    model = zoo.randomize(keras.Model(inputs, [_L.Dense(2, name="one")(x), _L.Dense(2, name="two")(x)]))
    model.compile("sgd", {"one": "mse", "two": "mse"}, loss_weights={"one": 1.0, "two": 3.0})
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=(2, 20, 2)).astype(np.float32)
    found = taylor(model, trace(model), FEATURE_MAP, x, {"one": y[0], "two": y[1]})["hidden"]
    made = zoo.outputs_of(model, x)
    first = named_layers(model)["hidden"].get_weights()[0]
    back = sum(
        weight * 2 * (each - target) / target.size @ named_layers(model)[name].get_weights()[0].T
        for name, weight, each, target in zip(("one", "two"), (1, 3), made, y, strict=True)
    )
    np.testing.assert_allclose(found, ((x.T @ back) * first).sum(axis=0) ** 2, rtol=1e-4)


def test_model_optimizer_and_compile_state_stay():
    model, x, y = net(), zoo.batch(20), labels()
    model.compile(
        keras.optimizers.Adam(0.01), loss := keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"]
    )
    model.fit(x, y, verbose=0)
    optimizer, weights = model.optimizer, model.get_weights()
    slots = [np.array(variable) for variable in optimizer.variables]
    flags = [layer.trainable for layer in model.layers]
    taylor(model, trace(model), FEATURE_MAP, x, y)
    assert model.optimizer is optimizer and model.loss is loss
    assert [layer.trainable for layer in model.layers] == flags
    assert named_layers(model)["pruned"].kernel.regularizer is not None
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(slots, optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, np.array(other))
    model.fit(x, y, verbose=0)


def test_maps_without_effect_on_the_loss_go_first():
    model, x, y = net(lambda x: zoo.conv(zoo.conv(x, 6, name="pruned"), 5, name="after")), zoo.batch(40), labels(40)
    kernel, bias = named_layers(model)["after"].get_weights()
    kernel[:, :, [1, 4]] = 0
    named_layers(model)["after"].set_weights([kernel, bias])
    masked = sp.wrap(model, granularity=FEATURE_MAP)
    assert taylor(masked, trace(masked), FEATURE_MAP, x, y)["pruned"].argsort()[:2].tolist() == [1, 4]
    validation = check_validation((x, y), as_score("mcr"), 20)
    found = sp.find_masks(masked, FEATURE_MAP, 0.3, search=sp.search.Taylor(), validation=validation)
    assert not found.masks.feature_map["pruned"][[1, 4]].any()


def test_masked_weights_do_not_count():
    masked, x, y = sp.wrap(net(), granularity=FEATURE_MAP), zoo.batch(20), labels()
    sp.set_masks(masked, sp.MaskSet({"pruned": np.array([1, 0, 1, 1, 1, 1], bool)}))
    found = taylor(masked, trace(masked), FEATURE_MAP, x, y)["pruned"]
    assert found[1] == 0 < found[0]


def test_what_has_no_gradient_is_refused():
    model, x = net(), zoo.batch(20)
    with pytest.raises(ValueError, match="needs the gradient of a loss. Received: samples without labels. Give labels"):
        taylor(model, trace(model), FEATURE_MAP, x)
    with pytest.raises(ValueError, match="which is 0 for targets that the model gives. Received: the outputs of model"):
        taylor(model, trace(model), FEATURE_MAP, x, zoo.outputs_of(model, x)[0])
    with pytest.raises(ValueError, match="does not follow from its output and the targets. Received: outputs of shape"):
        taylor(model, trace(model), FEATURE_MAP, x, np.full((20, 7), 0.5))
