"""Reconstruction makes up for what can be made up for, changes nothing else, and says what it could not do."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.graph import kernel_of, list_calls, named_layers
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, mask_space
from tf_structprune.observe import MomentsInTurn
from tf_structprune.shrink import shrink

_L = keras.layers


def twins(x, filters, size=3, **settings):
    """A convolution whose second half of maps repeats the first."""
    half = {"padding": "same", "activation": "relu", **settings}
    one = _L.Conv2D(filters // 2, size, **half)(x)
    return _L.Concatenate()([one, one])


def doubled(model, *names):
    """Give the second half of some layers' maps the weights of the first: what they make, depthwise what they read."""
    layers = named_layers(model)
    for name in names:
        layer = layers[name].layer if isinstance(layers[name], _L.TimeDistributed) else layers[name]
        weights = []
        for variable, weight in zip(layer.weights, layer.get_weights(), strict=True):
            axis = -2 if "Transpose" in type(layer).__name__ and variable.name == "kernel" else -1
            separable = "Separable" in type(layer).__name__
            if separable == (variable.name == "depthwise_kernel"):
                first = np.split(weight, 2, axis=-2 if separable else axis)[0]
                weight = np.concatenate([first, first], axis=-2 if separable else axis)
            weights.append(weight)
        layer.set_weights(weights)
    return model


def _block(x, name):
    inputs = keras.Input(x.shape[1:])
    made = zoo.conv(zoo.conv(inputs, 6, name="one"), 6, name="two")
    return keras.Model(inputs, made, name=name)


def plain(x):
    return zoo.conv(zoo.conv(x, 6, name="pruned"), 5, name="after")


def normalized(x):
    x = zoo.conv(x, 6, name="pruned", activation=None, use_bias=False)
    return zoo.conv(_L.ReLU()(_L.BatchNormalization(name="norm")(x)), 5, name="after")


def strided_and_dilated(x):
    x = zoo.conv(x, 6, name="pruned")
    return _L.Conv2D(5, 3, dilation_rate=2, padding="same", name="after")(
        _L.Conv2D(6, 3, strides=2, padding="same", name="mid")(x)
    )


def transposed(x):
    x = _L.Conv2DTranspose(6, 3, strides=2, padding="same", activation="relu", name="pruned")(x)
    return _L.Conv2DTranspose(5, 3, padding="same", name="after")(x)


def separable(x):
    return _L.SeparableConv2D(5, 3, padding="same", name="after")(zoo.conv(x, 6, name="pruned"))


def flattened(x):
    return _L.Dense(5, name="after")(_L.Flatten()(_L.MaxPooling2D(2)(zoo.conv(x, 6, name="pruned"))))


def two_consumers(x):
    x = zoo.conv(x, 6, name="pruned")
    return _L.Add()([zoo.conv(x, 5, name="after"), zoo.conv(x, 5, 1, name="other")])


def concatenated(x):
    x = zoo.conv(x, 6, name="pruned")
    return zoo.conv(_L.Concatenate()([zoo.conv(x, 4, name="side"), x]), 5, name="after")


def called_twice(x):
    x = zoo.conv(x, 6, name="pruned")
    shared = _L.Conv2D(5, 3, padding="same", activation="relu", name="after")
    return _L.Add()([shared(x), shared(_L.AveragePooling2D(3, 1, padding="same")(x))])


def channels_first(x):
    first = {"padding": "same", "activation": "relu", "data_format": "channels_first"}
    x = _L.Conv2D(6, 3, name="pruned", **first)(_L.Permute((3, 1, 2))(x))
    return _L.Permute((2, 3, 1))(_L.Conv2D(5, 3, name="after", **first)(x))


def nested(x):
    inputs = keras.Input(x.shape[1:])
    made = zoo.conv(zoo.conv(inputs, 6, name="pruned"), 5, name="after")
    return keras.Model(inputs, made, name="block")(x)


TWINS = {
    builder.__name__: builder
    for builder in (
        plain,
        normalized,
        strided_and_dilated,
        transposed,
        separable,
        flattened,
        two_consumers,
        concatenated,
        called_twice,
        channels_first,
        nested,
    )
}


def net(builder, seed=0):
    inputs = keras.Input(zoo.INPUT_SHAPE, name="image")
    x = builder(zoo.conv(inputs, 4, name="stem"))
    x = x if len(x.shape) == 2 else _L.GlobalAveragePooling2D()(x)
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)), seed)


def masked_at_random(model, granularity=FEATURE_MAP, sparsity=0.4, seed=0, **settings):
    masked = sp.wrap(model, granularity=granularity, **settings)
    handle = MaskedModel.of(masked)
    space = mask_space(handle.graph, granularity, sparsity)
    handle.set_masks(space.sample(np.random.default_rng(seed)))
    return masked


@pytest.mark.parametrize("name", TWINS)
def test_network_whose_maps_are_there_twice_loses_nothing(name):
    path = "block/pruned" if name == "nested" else "pruned"
    also = {"normalized": ["norm"], "separable": ["after"]}.get(name, [])
    model = doubled(net(TWINS[name]), path, *also)
    x = zoo.batch(60)
    masked = sp.wrap(model, granularity=FEATURE_MAP)
    sp.set_masks(masked, sp.MaskSet({path: np.array([1, 1, 1, 0, 0, 0], bool)}))
    assert zoo.largest_difference(model, masked, x) > 0.02
    report = sp.reconstruct(masked, x, ridge=1e-6)
    assert zoo.largest_difference(model, masked, x) < 2e-3
    assert not report.kept
    after = {layer.name: layer.after for layer in report.layers}
    assert max(after.values()) < 1e-4


@pytest.mark.every(3)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_errors_fall_and_masks_stay(name, granularity):
    masked = masked_at_random(zoo.build(name), granularity)
    masks, x = sp.get_masks(masked), zoo.batch(40)
    report = sp.reconstruct(masked, x)
    assert report.layers
    for layer in report.layers:
        assert layer.after <= layer.before + 1e-6, str(layer)
    assert sp.get_masks(masked).equals(masks)


@pytest.mark.parametrize("name", ["batch_norm_chain", "residual_projection", "flatten_head", "shared_layer"])
def test_shrunk_network_is_the_reconstructed_one(name):
    masked = masked_at_random(zoo.build(name))
    x = zoo.batch(40)
    sp.reconstruct(masked, x)
    assert zoo.largest_difference(masked, shrink(masked).model, x) < 1e-4


def test_nothing_removed_changes_nothing():
    masked, x = sp.wrap(zoo.build("residual_projection"), granularity=FEATURE_MAP), zoo.batch(20)
    before = masked.get_weights()
    report = sp.reconstruct(masked, x)
    assert report.layers == report.statistics == ()
    for one, other in zip(before, masked.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_removed_weights_and_the_optimizer_stay():
    model = zoo.build("chain")
    model.compile("adam", "sparse_categorical_crossentropy")
    masked = masked_at_random(model)
    x, y = zoo.lit_rows(30)
    masked.fit(x, y, verbose=0)
    slots = [np.array(variable) for variable in masked.optimizer.variables]
    kernels = {name: np.array(layer.kernel_variable) for name, layer in _masked(masked)}
    sp.reconstruct(masked, x)
    for one, other in zip(slots, masked.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, np.array(other))
    for name, layer in _masked(masked):
        gone = np.array(kernel_of(layer)) == 0
        np.testing.assert_array_equal(np.array(layer.kernel_variable)[gone], kernels[name][gone])
    masked.fit(x, y, verbose=0)


def _masked(model):
    return [(name, layer) for name, layer in named_layers(model).items() if isinstance(layer, sp.MaskedLayer)]


def test_branch_of_a_sum_makes_up_for_the_other():
    def lossy(x):
        x = zoo.conv(x, 6, name="body")
        one, two = (_L.Conv2D(4, 1, name=name)(x) for name in ("one", "two"))
        return _L.Add(name="sum")([one, two])

    model, x = net(lossy), zoo.batch(60)
    masked = sp.wrap(model, granularity="kernel")
    kept = np.ones((6, 4), bool)
    kept[2:] = False
    sp.set_masks(masked, sp.MaskSet(kernel={"one": kept}))
    report = sp.reconstruct(masked, x, ridge=1e-6)
    assert {layer.name: layer.after > 0.02 for layer in report.layers}["one"]
    assert zoo.largest_difference(model, masked, x) < 1e-3


def test_statistics_are_those_of_the_samples_and_weights_stay():
    masked = masked_at_random(zoo.build("batch_norm_chain"))
    x, kernels = zoo.batch(130), {name: np.array(layer.kernel_variable) for name, layer in _masked(masked)}
    report = sp.reconstruct(masked, x, mode="statistics")
    assert report.layers == () and report.statistics
    for name, layer in _masked(masked):
        np.testing.assert_array_equal(np.array(layer.kernel_variable), kernels[name])
    found = {call.name: call for call in list_calls(masked).calls}
    for name in report.statistics:
        before = _reads(masked, found[name], x)
        norm = named_layers(masked)[name]
        np.testing.assert_allclose(np.array(norm.moving_mean), before.mean(axis=(0, 1, 2)), atol=1e-4)
        np.testing.assert_allclose(np.array(norm.moving_variance), before.var(axis=(0, 1, 2)), rtol=1e-3, atol=1e-6)


def _reads(model, call, x):
    from tf_structprune.graph import layer_inputs

    (read,) = layer_inputs(model, [call.name], x)[call.name]
    return keras.ops.convert_to_numpy(read)


def test_same_seed_gives_the_same_weights():
    x = zoo.batch(40)
    first, second = (masked_at_random(zoo.build("residual_projection")) for _ in range(2))
    for masked in (first, second):
        sp.reconstruct(masked, x)
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_mode_none_does_nothing():
    masked = masked_at_random(zoo.build("chain"))
    before = masked.get_weights()
    assert sp.reconstruct(masked, zoo.batch(5), mode="none").layers == ()
    for one, other in zip(before, masked.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_few_samples_are_told():
    masked = masked_at_random(net(flattened))
    report = sp.reconstruct(masked, zoo.batch(2))
    assert "2 pixels for 96 weights: the ridge decides" in str(report)


def test_layer_without_a_solution_is_named_and_keeps_its_weights():
    masked = masked_at_random(net(flattened))
    kernel = np.array(named_layers(masked)["after"].kernel_variable)
    report = sp.reconstruct(masked, zoo.batch(2), ridge=0)
    (kept,) = (layer for layer in report.kept if layer.name == "after")
    assert "no single solution: give more samples or a larger ridge" in str(kept)
    np.testing.assert_array_equal(np.array(named_layers(masked)["after"].kernel_variable), kernel)


def test_layer_that_reads_too_much_is_named_and_keeps_its_weights(monkeypatch):
    monkeypatch.setattr("tf_structprune.stages._reconstructing.MOST_BYTES", 8 * 95**2)
    masked = masked_at_random(net(flattened))
    kernel = np.array(named_layers(masked)["after"].kernel_variable)
    report = sp.reconstruct(masked, zoo.batch(25))
    assert "after: kept as it is, an output reads 96 values, too many to be known from 25 pixels" in str(report)
    np.testing.assert_array_equal(np.array(named_layers(masked)["after"].kernel_variable), kernel)


def test_layer_that_reads_more_than_there_are_samples_is_solved(monkeypatch):
    monkeypatch.setattr("tf_structprune.stages._reconstructing.MOST_BYTES", 8 * 95**2)
    report = sp.reconstruct(masked_at_random(net(flattened)), zoo.batch(24))
    (after,) = (layer for layer in report.layers if layer.name == "after")
    assert not after.reason and after.after < 0.1 * after.before


@pytest.mark.parametrize("granularity", [FEATURE_MAP, "kernel"])
def test_shared_layers_are_the_same_in_many_passes(granularity, monkeypatch):
    x = zoo.batch(40)
    one, many = (masked_at_random(net(called_twice), granularity) for _ in range(2))
    sp.reconstruct(one, x)
    monkeypatch.setattr(MomentsInTurn.__init__, "__kwdefaults__", {"most_bytes": 0})
    sp.reconstruct(many, x)
    for first, second in zip(one.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


def test_layer_that_reads_maps_of_zeros_is_solved():
    model = net(lambda x: zoo.conv(_L.DepthwiseConv2D(3, name="depthwise")(zoo.conv(x, 6, name="pruned")), 5, name="z"))
    kernel, bias = named_layers(model)["pruned"].get_weights()
    named_layers(model)["pruned"].set_weights([kernel * [1, 0, 1, 1, 1, 1], bias * [1, 0, 1, 1, 1, 1]])
    report = sp.reconstruct(masked_at_random(model, "intra_kernel"), zoo.batch(40))
    assert "depthwise" in {layer.name for layer in report.layers} and not report.kept, str(report)


def test_own_layer_is_named_and_keeps_its_weights():
    class Odd(_L.Conv2D):
        pass

    sp.register_rule(
        Odd, sp.LayerRule(sp.Flow.PRODUCE, "kernel", {"kernel": ("", "", "in", "out")}, "filters", spatial=True)
    )
    masked = masked_at_random(net(lambda x: Odd(5, 3, name="odd")(zoo.conv(x, 6, name="pruned"))))
    report = sp.reconstruct(masked, zoo.batch(20))
    assert [layer.name for layer in report.kept] == ["odd"]
    assert "what it computes is not known" in str(report)


def test_model_is_as_it_was_when_it_fails(monkeypatch):
    masked = masked_at_random(zoo.build("batch_norm_chain"))
    before = masked.get_weights()

    def fail(*_):
        raise MemoryError("no more")

    monkeypatch.setattr("tf_structprune.stages._reconstructing.mean_and_variance", fail)
    with pytest.raises(MemoryError, match="no more"):
        sp.reconstruct(masked, zoo.batch(20))
    for one, other in zip(before, masked.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


NAN = np.full((4, *zoo.INPUT_SHAPE), np.nan, np.float32)


@pytest.mark.parametrize(
    "samples, settings, message",
    [
        (zoo.batch(4), {"mode": "all"}, "Unknown reconstruction. Received: reconstruct='all'. Use one of: none, stat"),
        (zoo.batch(4), {"ridge": -1}, "ridge must be a number of at least 0. Received: ridge=-1. Use e.g. 0.001"),
        (zoo.batch(4), {"ridge": np.nan}, "ridge must be a number of at least 0. Received: ridge=nan"),
        (zoo.batch(0), {}, r"must be finite numbers. Received: shape=\(0, 8, 8, 2\)"),
        (NAN, {}, "with NaN or infinite values"),
        ([zoo.batch(4)] * 2, {}, r"The data does not fit model 'chain'. Received: samples of shape \(4, 8, 8, 2\)"),
        (zoo.batch(4, shape=(8, 8, 3)), {}, r"Received: samples of shape \(8, 8, 3\). Use shape \(8, 8, 2\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(samples, settings, message):
    masked = masked_at_random(zoo.build("chain"))
    with pytest.raises(ValueError, match=message):
        sp.reconstruct(masked, samples, **settings)


def test_models_without_masks_or_in_fixed_point_are_refused():
    with pytest.raises(ValueError, match="has no masks. Received: a plain model"):
        sp.reconstruct(zoo.build("chain"), zoo.batch(4))
    masked = sp.wrap(sp.to_fixed_point(zoo.build("chain")), granularity=FEATURE_MAP)
    with pytest.raises(ValueError, match="is in fixed point, .* Reconstruct the float model before"):
        sp.reconstruct(masked, zoo.batch(4))


def learned():
    """A model that knows lit rows, and its samples."""
    model = zoo.build("batch_norm_chain")
    x, y = zoo.lit_rows(90)
    for layer in model.layers:
        if isinstance(layer, _L.BatchNormalization):
            layer.momentum = 0.5
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=6, batch_size=16, verbose=0)
    return model, x, y


@pytest.mark.parametrize("mode", [True, "statistics"])
def test_callback_reconstructs_right_behind_the_search(mode):
    model, x, y = learned()
    masked = sp.wrap(model, granularity=FEATURE_MAP)
    settings = {"validation_data": (x, y), "score": "sparse_categorical_crossentropy", "sparsity": 0.5, "verbose": 0}
    search = sp.search.RandomMask()
    plain, mended = (
        sp.StructuredPruning(search=search, tolerance=9.0, reconstruct=each, samples=x, **settings)
        for each in (False, mode)
    )
    scores = []
    for callback in (plain, mended):
        copy = keras.models.clone_model(masked)
        copy.set_weights(masked.get_weights())
        copy.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        copy.fit(x, y, epochs=1, callbacks=[callback], verbose=0)
        scores.append(callback.reports[0].score_before)
        assert callback.reports[0].accepted
    assert scores[1] > scores[0]


def test_callback_refuses_an_unknown_reconstruction():
    x, y = zoo.lit_rows(6)
    with pytest.raises(ValueError, match="Unknown reconstruction. Received: reconstruct='all'"):
        sp.StructuredPruning(validation_data=(x, y), sparsity=0.5, reconstruct="all")
