"""The sweep finds the layer that was spoilt, and what mends it mends it."""

import json

import keras
import numpy as np
import pytest

import tf_structprune as sp
import tflite_export as te
from tests.tflite_export.compress import tiny
from tests.tflite_export.sensitivity.int8_models import spread
from tflite_export.quantize import equalize
from tflite_export.sensitivity import _measure, _scorer

DATA = tiny.data()


FILES = {}


@pytest.fixture(scope="module", autouse=True)
def converted_once():
    """To convert takes longest: of the same weights the file is made once."""
    convert = _measure.convert

    def kept(model, **how):
        key = (how.get("quantize"), b"".join(weight.tobytes() for weight in model.get_weights()))
        if key not in FILES:
            FILES[key] = convert(model, **how)
        return FILES[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_measure, "convert", kept)
        yield


def measured(model, **settings):
    given = {"validation_data": (DATA.x_val, DATA.y_val), "calibration_data": DATA.x_train[:64]}
    return te.int8_sensitivity(model, **(given | settings))


@pytest.fixture(scope="module")
def spoilt(converted_once):
    """A report of a network in which one channel of layer `b` is 1000 times as large as the others."""
    return measured(spread(tiny.fresh()))


def test_layer_with_channels_of_other_ranges_is_named_first_to_be_equalized(spoilt):
    worst, *rest = spoilt.ranked
    assert (worst.layer, worst.remedy) == ("b", "equalize")
    assert worst.largest_channel > 100 * worst.median_channel
    assert not any(row.remedy for row in rest)


def test_spoilt_layer_alone_loses_what_the_file_loses_and_without_it_nothing_is_lost(spoilt):
    worst = spoilt.ranked[0]
    assert spoilt.loss > 0.3
    assert spoilt.score - worst.score_alone == pytest.approx(spoilt.loss, abs=0.1)
    assert worst.score_without == pytest.approx(spoilt.score, abs=0.02)
    assert worst.output_db < 10 < min(row.output_db for row in spoilt.layers if row is not worst)


def test_all_layers_rounded_are_the_int8_file(spoilt):
    assert spoilt.agreement > 0.98 and spoilt.error < 0.01
    assert spoilt.simulated_score == pytest.approx(spoilt.int8_score, abs=0.02)


def test_remedy_that_is_named_mends_it(spoilt):
    report = measured(equalize(spread(tiny.fresh()), DATA.x_train[:64]))
    assert report.loss < 0.02 < spoilt.loss
    assert not any(row.remedy for row in report.layers)
    assert "no layer needs a remedy" in report.summary()[-1]


def test_layers_have_what_the_file_has(spoilt):
    rows = {row.layer: row for row in spoilt.layers}
    assert {name: rows[name].weights for name in ("first", "a", "b", "hidden")} == {
        "first": 54,
        "a": 432,
        "b": 576,
        "hidden": 1536,
    }
    assert {name: len(rows[name].weight_scales) for name in ("first", "a", "b")} == {"first": 6, "a": 8, "b": 8}
    for row in spoilt.layers:
        assert (row.low, row.high) == (row.scale * (-128 - row.zero_point), row.scale * (127 - row.zero_point))


def test_regression_is_measured_by_its_own_score():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    y = model.predict(x, verbose=0)
    report = measured(model, validation_data=(x, y), calibration_data=x, score="mse", tolerance=1e9)
    assert (report.metric.name, report.agreement) == ("mse", None)
    assert report.score == pytest.approx(0, abs=1e-6) and report.loss > 0
    assert all(np.isfinite([row.score_alone, row.score_without, row.output_db]).all() for row in report.layers)


def test_sweep_goes_on_where_it_was_stopped(spoilt, tmp_path, monkeypatch):
    score, calls = _scorer.Int8Scorer.score, []

    def stopped(self, outputs):
        calls.append(outputs)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return score(self, outputs)

    monkeypatch.setattr(_scorer.Int8Scorer, "score", stopped)
    with pytest.raises(KeyboardInterrupt):
        measured(spread(tiny.fresh()), cache=tmp_path / "cache")
    kept = len((tmp_path / "cache").read_text().splitlines())
    assert measured(spread(tiny.fresh()), cache=tmp_path / "cache") == spoilt
    assert len(calls) == 6 + 3 + 2 * len(spoilt.layers) - 5  # 5 were kept; the file and all layers are run again
    assert kept > 5
    first = json.loads((tmp_path / "cache").read_text().splitlines()[0])["sensitivity"]
    assert first["kind"] == "int8 file"
    with pytest.raises(ValueError, match="is the cache of another sweep. Received: another model"):
        measured(tiny.fresh(), cache=tmp_path / "cache")


def fixed():
    return sp.to_fixed_point(tiny.trained(), sp.FixedPoint(8, 8))


BAD = {
    "no model": (lambda: "model.keras", {}, TypeError, "model must be a keras.Model. Received: str."),
    "fixed point": (fixed, {}, ValueError, "Model 'tiny' is in fixed point already"),
    "no samples": (tiny.fresh, {"calibration_data": None}, ValueError, "Received: calibration_data=None. Pass some"),
    "samples of another shape": (
        tiny.fresh,
        {"calibration_data": np.zeros((3, 8, 8))},
        ValueError,
        "calibration_data must have shape",
    ),
    "tolerance negative": (tiny.fresh, {"tolerance": -0.1}, ValueError, "tolerance must be 0 or more. Received"),
    "tolerance nan": (tiny.fresh, {"tolerance": float("nan")}, ValueError, "tolerance must be 0 or more. Received"),
}


@pytest.mark.parametrize("make, settings, error, message", BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_the_sweep(make, settings, error, message):
    with pytest.raises(error, match=message):
        measured(make(), **settings)


def test_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="The score in float is not finite. Received: nan"):
        measured(tiny.fresh(), score=lambda targets, outputs: np.full(len(outputs), np.nan))
