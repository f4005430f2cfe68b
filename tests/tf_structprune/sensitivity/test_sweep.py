"""A sweep measures what one rounds by hand, leaves the model alone, and goes on where it was stopped."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.marks import sweep_but
from tf_structprune.layers import quantized_layers, signal_quantizers
from tf_structprune.stages import calibrate_signals
from tf_structprune.task import Validation

_L = keras.layers
X, CALIBRATION = zoo.batch(24), zoo.batch(16, seed=2)
Y = np.random.default_rng(3).uniform(0, 1, (24, 3)).astype(np.float32)
SWEEP = {"weight_bits": (2, 4), "signal_bits": (3,)}


def fidelity(labels, outputs):
    """A score that every rounding changes."""
    return -float(np.mean((labels - outputs) ** 2))


def sweep(model, **settings):
    given = {"validation_data": (X, Y), "calibration_data": CALIBRATION, "score": fidelity, **SWEEP, **settings}
    return sp.measure_sensitivity(model, **given)


def concatenation(x):
    """Two rectified signals that are joined: they share a grid, and so do their word lengths."""
    left, right = zoo.conv(x, 3, name="left"), zoo.conv(x, 2, name="right")
    return zoo._head(zoo.conv(_L.Concatenate()([left, right]), 4, name="after"))


def separable(x):
    x = _L.SeparableConv2D(5, 3, name="sep", activation="relu")(zoo.conv(x, 4, name="a"))
    return zoo._head(_L.BatchNormalization(name="norm")(_L.MaxPooling2D(2)(x)))


def joined_twice(x):
    """Three signals with one grid: the first is joined with each of the others."""
    first = zoo.conv(x, 2, name="first")
    joined = _L.Concatenate()([first, zoo.conv(x, 3, name="other")])
    return zoo._head(_L.Concatenate()([first, zoo.conv(joined, 2, name="end")]))


def make(build):
    inputs = keras.Input(zoo.INPUT_SHAPE, name="image")
    return zoo.randomize(keras.Model(inputs, build(inputs), name=build.__name__))


MODELS = {
    "residual_identity": lambda: zoo.build("residual_identity"),
    "concatenation": lambda: make(concatenation),
    "separable": lambda: make(separable),
}


def scored(model):
    return fidelity(Y, zoo.outputs_of(model, X)[0])


def by_hand(model, row, kind):
    """The score with one thing switched on in a copy that has quantizers everywhere."""
    rounded = sp.to_fixed_point(
        model, sp.FixedPoint(*((row.bits, 8) if row.part == "weights" else (8, row.bits)), *kind)
    )
    if row.part == "weights":
        layer = quantized_layers(rounded)[row.layer]
        assert layer.weight_bits == row.bits
        layer.set_calibration(layer.fit())
        return scored(rounded)
    calibrate_signals(rounded, CALIBRATION)  # of the float signals: no weight is rounded
    for name, quantizer in signal_quantizers(rounded).items():
        if any(name in (f"{owner}_signal", f"{owner}_signal_2") for owner in row.layers):
            assert quantizer.bits == row.bits
        else:
            quantizer.set_calibration(0)
    return scored(rounded)


@pytest.mark.parametrize(
    "name, kind",
    sweep_but(
        ("powers of two", "a step a channel"),
        {
            "powers of two": ("residual_identity", (True, False)),
            "free steps": ("concatenation", (False, False)),
            "a step a channel": ("separable", (False, True)),
        },
    ),
)
def test_every_row_is_what_one_rounds_by_hand(name, kind):
    model = MODELS[name]()
    before = [np.array(weight) for weight in model.get_weights()]
    report = sweep(model, weight_bits=(3,), power_of_two=kind[0], per_channel=kind[1])
    assert report.score == pytest.approx(scored(model), abs=1e-6)
    for row in report.rows:
        assert row.score == pytest.approx(by_hand(model, row, kind), abs=1e-6)
    assert any(abs(row.score - report.score) > 1e-4 for row in report.rows)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_rows_are_complete_and_in_order():
    model = make(concatenation)
    report = sweep(model)
    weights = [(row.layer, row.bits) for row in report.rows if row.part == "weights"]
    assert weights == [(layer, bits) for layer in ("left", "right", "after", "classifier") for bits in (2, 4)]
    signals = [(row.layers, row.bits) for row in report.rows if row.part == "signal"]
    (mean,) = [layer.name for layer in model.layers if isinstance(layer, _L.GlobalAveragePooling2D)]
    tied = [(("image",), 8), (("left", "right"), 3), (("after",), 3), ((mean,), 3), (("classifier",), 8)]
    assert signals == tied
    assert report.weights == {"left": 54, "right": 36, "after": 180, "classifier": 12}


def test_signals_that_are_tied_are_one_row():
    model = make(joined_twice)
    report = sweep(model, weight_bits=())
    tied = [row for row in report.rows if row.tied]
    assert [(set(row.layers), row.bits) for row in tied] == [({"first", "other", "end"}, 3)]
    recipe = report.allocate(tolerance=1.0)
    assert [recipe.bits_of(name).signal_bits for name in ("first", "other", "end")] == [3] * 3
    grids = {name: quantizer.bits for name, quantizer in signal_quantizers(sp.to_fixed_point(model, recipe)).items()}
    assert [grids[f"{name}_signal"] for name in ("first", "other", "end")] == [3] * 3


def test_scale_that_stands_alone_has_8_bits_only():
    report = sweep(make(separable), weight_bits=(2,), signal_bits=())
    assert {row.layer: row.bits for row in report.rows} == {
        "a": 2,
        "sep_depthwise": 2,
        "sep": 2,
        "norm": 8,
        "classifier": 2,
    }


@pytest.mark.parametrize("name", ["separable", pytest.param("concatenation", marks=pytest.mark.sweep)])
def test_recipe_of_a_report_fits_the_model_and_is_scored_as_a_whole(name):
    model = MODELS[name]()
    report = sweep(model)
    recipe = report.allocate(tolerance=10.0)
    data = {"validation_data": (X, Y), "calibration_data": CALIBRATION}
    rounded = sp.to_fixed_point(model, recipe)
    sp.calibrate(rounded, CALIBRATION)
    assert sp.score_recipe(model, recipe, **data, score=fidelity) == pytest.approx(scored(rounded), abs=1e-6)
    free = [row for row in report.rows if row.part == "weights" and row.layer != "norm"]
    assert {recipe.bits_of(row.layer).weight_bits for row in free} <= {2, 4}


def test_weights_on_the_grid_already_are_not_scored(monkeypatch):
    model = zoo.build("chain")
    kernel, bias = model.get_layer("b").get_weights()
    model.get_layer("b").set_weights([0.25 * np.sign(kernel), bias])
    calls = []
    monkeypatch.setattr(Validation, "of", lambda self, model: calls.append(model) or -1.0 / len(calls))
    report = sweep(model, signal_bits=())
    scores = {(row.layer, row.bits): row.score for row in report.rows}
    assert scores["b", 2] == scores["b", 4] == report.score == -1.0
    assert len(calls) == 1 + len(report.rows) - 2


def test_stopped_sweep_goes_on_and_gives_the_same(tmp_path, monkeypatch):
    model, cache = zoo.build("chain"), tmp_path / "cache.jsonl"
    whole = sweep(model)
    score, calls = Validation.of, []

    def sweep_until(last, **settings):
        def stopped(self, scored):
            calls.append(scored)
            if len(calls) > last:
                raise KeyboardInterrupt
            return score(self, scored)

        calls.clear()
        monkeypatch.setattr(Validation, "of", stopped)
        return sweep(model, cache=cache, **settings)

    for last in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            sweep_until(last)
        cache.write_bytes(cache.read_bytes()[:-5])  # torn by the kill
    assert 1 < cache.read_bytes().count(b"\n") < len(whole.rows)
    assert sweep_until(99) == whole
    assert len(calls) < len(whole.rows)
    assert sweep_until(0) == whole  # nothing is scored again
    more = sweep_until(99, weight_bits=(2, 3, 4))
    assert [row for row in more.rows if row.bits != 3 or row.part == "signal"] == list(whole.rows)
    assert len(calls) == 4  # the weights of four layers in the new word


def test_same_model_in_a_file_goes_on_with_the_cache(tmp_path):
    model = zoo.build("batch_norm_chain")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.compile("sgd", "mse")  # says nothing about outputs
    cache = tmp_path / "cache"
    assert sweep(model, cache=cache, signal_bits=()) == sweep(loaded, cache=cache, signal_bits=())


OTHERS = {
    "weights": ({}, lambda: zoo.build("chain", seed=1), "another model"),
    "architecture": ({}, lambda: zoo.build("dropouts"), "another model"),
    "labels": ({"validation_data": (X, Y[::-1])}, None, "another validation data"),
    "calibration": ({"calibration_data": CALIBRATION[1:]}, None, "another calibration data"),
    "score": ({"score": "mse"}, None, "another score"),
    "loss": ({"score": keras.losses.MeanSquaredError()}, None, "another score"),
    "free steps": ({"power_of_two": False}, None, "another power_of_two"),
    "channels": ({"per_channel": True}, None, "another per_channel"),
}


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A model and the cache of a sweep over it."""
    path, model = tmp_path_factory.mktemp("used") / "cache", zoo.build("chain")
    sweep(model, cache=path, weight_bits=(8,), signal_bits=())
    return model, path


@pytest.mark.parametrize("settings, build, named", OTHERS.values(), ids=OTHERS)
def test_cache_of_another_sweep_is_refused(used, settings, build, named):
    model, cache = used
    with pytest.raises(ValueError, match=rf"is the cache of another sweep. Received: {named}\. Go on"):
        sweep(build() if build else model, cache=cache, **settings)


def test_scores_have_names():
    model = zoo.build("chain")
    only = {"weight_bits": (8,), "signal_bits": ()}
    labels = {"validation_data": (X, Y.argmax(axis=1))}
    report = sweep(model, **only, **labels, score="mcr")
    assert (report.metric.name, sweep(model, **only).metric.name) == ("MCR", "fidelity")
    assert sweep(model, **only, score=keras.losses.MeanSquaredError()).metric.name == "mean_squared_error"
    assert -1 <= report.score <= 0


BAD = {
    "words": ({"weight_bits": (1, 4)}, ValueError, "weight_bits: bits of a signed word .* Received: bits=1"),
    "signal words": ({"signal_bits": (2,)}, ValueError, "signal_bits: bits of an unsigned word"),
    "no words": ({"weight_bits": (), "signal_bits": ()}, ValueError, "nothing to measure. Received: no weight_bits"),
    "no pair": ({"validation_data": X}, TypeError, "validation_data must be a pair"),
    "no samples": ({"calibration_data": X[:0]}, ValueError, "The data must be finite numbers"),
    "score unknown": ({"score": "luck"}, ValueError, "Unknown score. Received: score='luck'"),
    "score nan": ({"score": lambda y, p: float("nan")}, ValueError, "The score in float is not finite. Received: nan"),
}


@pytest.mark.parametrize("settings, error, message", BAD.values(), ids=BAD)
def test_bad_input_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        sweep(zoo.build("chain"), **settings)


def test_score_that_is_not_finite_names_the_layer():
    scores = iter([-0.5, float("inf")])
    with pytest.raises(ValueError, match=r"with the weights of layer 'a' in 2 bits is not finite\. Received: inf"):
        sweep(zoo.build("chain"), score=lambda y, p: next(scores), signal_bits=())


def test_masked_and_quantized_models_are_refused():
    for model in (sp.wrap(zoo.build("chain")), sp.to_fixed_point(zoo.build("chain"))):
        with pytest.raises(ValueError, match="is masked or quantized already"):
            sweep(model)
