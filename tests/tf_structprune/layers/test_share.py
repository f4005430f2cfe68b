"""Models whose weights share values: outputs, training, files."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.fixed_point import SHARINGS
from tf_structprune.graph import kernel_of, named_layers
from tf_structprune.layers import SharedLayer, is_shared
from tf_structprune.masks import WEIGHT

Y = np.arange(24) % 3
X = zoo.batch(24)


def kernels(model):
    return {n: keras.ops.convert_to_numpy(kernel_of(layer)) for n, layer in named_layers(model).items() if _has(layer)}


def _has(layer):
    return hasattr(layer, "kernel") or isinstance(layer, SharedLayer)


def pruned(name="chain", sparsity=0.5, seed=0):
    """A model with zeros in its kernels."""
    masked = sp.wrap(zoo.build(name, seed=seed), granularity=WEIGHT)
    sp.set_masks(masked, sp.random_masks(masked, {WEIGHT: sparsity}, seed=seed))
    return sp.unwrap(masked)


@pytest.mark.every(3)
@pytest.mark.parametrize("method", SHARINGS)
@pytest.mark.parametrize("name", zoo.ZOO)
def test_kernels_are_the_shared_weights_and_nothing_else_changes(name, method):
    model = zoo.build(name)
    shared = sp.share(model, 8, method=method)
    plain = sp.unshare(shared)
    assert is_shared(shared) and not is_shared(plain)
    assert zoo.largest_difference(shared, plain, zoo.batch()) == 0
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]
    for path, layer in named_layers(plain).items():
        if isinstance(named_layers(shared)[path], SharedLayer):
            assert len(np.unique(keras.ops.convert_to_numpy(kernel_of(layer)))) <= 9
        else:
            for mine, theirs in zip(layer.get_weights(), named_layers(model)[path].get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("across, books", [("kind", 2), ("model", 1), ("layer", 4)])
def test_books_are_shared_by_those_of_a_scope(across, books):
    model = zoo.build("chain")
    shared = sp.share(model, 4, across=across)
    layers = [layer for layer in shared.layers if isinstance(layer, SharedLayer)]
    assert len({id(layer.book) for layer in layers}) == (books if across != "layer" else len(layers))
    assert sum(len(v.shape) == 1 and "values" in v.path for v in shared.trainable_variables) == len(
        {id(layer.book) for layer in layers}
    )


def test_gradient_of_a_value_is_the_sum_of_those_of_its_weights():
    model = pruned("residual_projection")
    shared = sp.share(model, 4, across="model", method="cws")
    plain, layers = sp.unshare(shared), {n: x for n, x in named_layers(shared).items() if isinstance(x, SharedLayer)}
    book = next(iter(layers.values())).book
    before = keras.ops.convert_to_numpy(book.values)
    old = kernels(plain)
    for each in (shared, plain):
        each.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy", auto_scale_loss=False)
        each.fit(X, Y, batch_size=24, epochs=1, verbose=0, shuffle=False)
    change = np.zeros(len(before))
    for name, layer in layers.items():
        index = keras.ops.convert_to_numpy(layer.index)
        np.add.at(change, index[index > 0] - 1, (kernels(plain)[name] - old[name])[index > 0])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(book.values) - before, change, rtol=1e-3, atol=1e-6)
    assert np.abs(change).max() > 1e-3


def test_training_keeps_zeros_and_the_number_of_values():
    model = pruned()
    shared = sp.share(model, {"convolution": 5, "dense": 3})
    shared.compile("adam", "sparse_categorical_crossentropy")
    before = kernels(shared)
    shared.fit(X, Y, epochs=3, verbose=0)
    after = kernels(sp.unshare(shared))
    values = {}
    for name, kernel in after.items():
        assert np.array_equal(kernel == 0, before[name] == 0)
        kind = "dense" if kernel.ndim == 2 else "convolution"
        values.setdefault(kind, set()).update(np.unique(kernel[kernel != 0]))
    assert len(values["convolution"]) <= 5 and len(values["dense"]) <= 3
    assert any((after[name] != before[name]).any() for name in after)


@pytest.mark.parametrize("across", ["kind", "layer", "model"])
def test_a_saved_model_is_the_same_and_still_shares(tmp_path, across):
    shared = sp.share(pruned("residual_twice"), 6, across=across)
    shared.compile("adam", "sparse_categorical_crossentropy")
    shared.fit(X, Y, epochs=1, verbose=0)
    shared.save(tmp_path / "shared.keras")
    again = keras.models.load_model(tmp_path / "shared.keras")
    assert zoo.largest_difference(shared, again, X) == 0
    assert len(again.trainable_variables) == len(shared.trainable_variables)
    for model in (shared, again):
        model.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    assert zoo.largest_difference(shared, again, X) < 1e-5


def test_named_layers_keep_their_weights():
    model = zoo.build("chain")
    shared = sp.share(model, 3, keep=["b"])
    np.testing.assert_array_equal(kernels(sp.unshare(shared))["b"], kernels(model)["b"])


def test_the_given_model_is_left_alone():
    model = zoo.build("chain")
    before = model.get_weights()
    sp.share(model, 3)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"values": 1}, r"share 2 values or more\. Received: count=1"),
        ({"method": "best"}, r"Unknown weight sharing\. Received: method='best'"),
        ({"across": "group"}, r"Unknown scope of sharing\. Received: across='group'\. Use one of: kind, layer, model"),
        ({"keep": ["nowhere"]}, r"No layer has that name\. Received: keep='nowhere'\. Use one of: a, b"),
        ({"keep": ["*"]}, r"no kernels to share values in"),
        ({"values": 10**6}, r"more shared values than weights that are not zero\. Received: 1000000 for"),
        ({"values": {"dense": 4}}, r"Layer 'a': no number of shared values"),
        ({"values": {"dense": 4, "x": 3}}, r"No layer has that name\. Received: values\['x'\]"),
    ],
    ids=str,
)
def test_what_cannot_be_shared_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        sp.share(zoo.build("chain"), **settings)


@pytest.mark.parametrize(
    "made", [sp.wrap, sp.to_fixed_point, lambda model: sp.share(model, 4)], ids=["masked", "fixed point", "shared"]
)
def test_models_in_wrappers_are_refused(made):
    with pytest.raises(ValueError, match=r"is masked, quantized or shared already\. Received: \w+Layer\. Give share"):
        sp.share(made(zoo.build("chain")), 4)


def test_plain_models_have_nothing_to_take_off():
    with pytest.raises(ValueError, match=r"shares no values\. Received: a plain model"):
        sp.unshare(zoo.build("chain"))


@pytest.mark.parametrize("change", [sp.share, sp.unshare])
def test_what_is_no_model_is_refused(change):
    with pytest.raises(TypeError, match=r"model must be a keras\.Model\. Received: str\. Load a file"):
        change("model.keras")


def test_biases_share_values_on_request():
    model = zoo.build("chain")
    for layer in model.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.random.default_rng(len(layer.name)).normal(size=layer.bias.shape))
    shared = sp.share(model, 8)
    plain, few = sp.unshare(shared), sp.unshare(shared, biases=3)
    before, after = (
        np.concatenate([np.asarray(m.get_layer(n).bias) for n in kernels(plain) if m.get_layer(n).bias is not None])
        for m in (plain, few)
    )
    book = np.unique(after)
    assert len(np.unique(before)) > 3 == len(book)
    np.testing.assert_allclose(after, book[np.abs(before[:, None] - book).argmin(axis=1)])
    for name, kernel in kernels(plain).items():
        np.testing.assert_array_equal(kernel, kernels(few)[name])
    with pytest.raises(ValueError, match=rf"More shared values than biases\. Received: biases=99 for {len(before)}"):
        sp.unshare(shared, biases=99)
    with pytest.raises(ValueError, match="Weights share 2 values or more. Received: count=1"):
        sp.unshare(shared, biases=1)
