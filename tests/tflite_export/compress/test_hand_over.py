"""The integer file is judged against the model that was given, and mended as far as that helps."""

import json

import keras
import numpy as np
import pytest

from tests.devices import ByMacs
from tests.tflite_export.compress import tiny
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.layers import is_fixed_point, quantized_layers, to_fixed_point
from tf_structprune.stages import Judgement, calibrate
from tflite_export.compress import CompressSettings, Job, RefusedError, _hand_over, _job, compress, file_score
from tflite_export.compress._hand_over import hand_over
from tflite_export.verify import VerificationError

RANGES = "least-squares ranges and a weight step for each channel"


def job_for(model, **changes):
    settings = CompressSettings(**({"tolerance": 0.02, "epochs": 1, "finetune_batch": 32, "lower": "none"} | changes))
    return Job.of(model, tiny.data(), settings, device=ByMacs())


def one_loud_channel(activation="relu"):
    """A trained network with a channel much larger than the others, which says nothing and is hardly read."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, padding="same", activation=activation, name="loud")(inputs)
    x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x))
    x = keras.layers.Dense(3, activation="softmax", name="classifier")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x, name="loud")
    keras.utils.set_random_seed(0)
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(*tiny.arrays(), epochs=4, verbose=0)
    loud, reader = model.layers[1], model.layers[2]
    first = np.arange(6) == 0
    loud.kernel.assign(np.where(first, 0.0, loud.kernel))
    loud.bias.assign(np.where(first, 1000.0, loud.bias))
    reader.kernel.assign(np.where(first[:, None], 1e-7, reader.kernel))
    return model


@pytest.fixture(scope="module")
def loud():
    return one_loud_channel()


def test_good_file_is_made_once(tmp_path):
    files = hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()))
    assert [attempt.name for attempt in files.attempts] == ["int8"]
    assert files.judgement.accepted and files.summary.quantize == "int8" and not files.figures
    data = tiny.data()
    assert files.judgement.score == file_score(tmp_path / "model_int8.tflite", data.x_val, data.y_val)
    assert files.judgement.interval.samples == len(data.x_val)


def test_loud_channel_is_mended_by_equalizing(loud, tmp_path):
    """The usual file cannot tell the other channels from zero; the mended one is within the tolerance."""
    job = job_for(loud)
    files = hand_over(loud, tmp_path, job, given=True)
    *lossy, last = files.attempts
    assert [attempt.name for attempt in lossy][:2] == GIVEN_WAYS[:2] == ["int8", "calibrated on 320 samples"]
    assert not any(attempt.judgement is not None and attempt.judgement.accepted for attempt in lossy)
    assert last.name.startswith("channels equalized") and last.judgement == files.judgement
    assert files.judgement.accepted
    assert {path.name for path in tmp_path.glob("*.tflite")} == {"model_float32.tflite", "model_int8.tflite"}
    data = tiny.data()
    assert files.judgement.score == file_score(tmp_path / "model_int8.tflite", data.x_val, data.y_val)
    assert files.summary.verification.int8_top1 >= 0.9


def test_what_nothing_else_mends_is_trained(tmp_path, monkeypatch):
    """In 8 bits, on grids of its own; the figures of its epochs are told."""
    rejected = iter([Judgement(-0.5, accepted=False, interval=None)] * 3)
    judge_file = _hand_over.judge_file
    monkeypatch.setattr(_hand_over, "equalize", lambda model, _: model)
    monkeypatch.setattr(_hand_over, "judge_file", lambda *a: next(rejected, None) or judge_file(*a))
    files = hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()))
    assert files.attempts[-1].name.startswith("quantization-aware training on least-squares ranges and a weight step")
    assert is_fixed_point(files.model) and len(files.figures["loss"]) == 1
    assert files.summary.quantize == "int8" and (tmp_path / "model_int8.tflite").exists()
    assert not (tmp_path / "model_recipe.json").exists()
    assert files.summary.exact["model_int8.tflite"].numpy_litert == 0
    assert is_fixed_point(keras.models.load_model(tmp_path / "model.keras"))
    data = tiny.data()
    assert files.judgement.score == file_score(tmp_path / "model_int8.tflite", data.x_val, data.y_val)


@pytest.fixture
def made(monkeypatch):
    """Nothing is converted or written: the files are what was made, and their scores those that a test gives."""
    written = []

    def install(*scores):
        left = iter(scores)
        monkeypatch.setattr(_hand_over, "converted_integers", lambda source, *_: source)
        monkeypatch.setattr(_hand_over, "write_source", lambda source, *_: written.append(source) or "summary")
        monkeypatch.setattr(_hand_over, "integer_files", lambda *_: [written[-1]])
        monkeypatch.setattr(
            _hand_over, "judge_file", lambda _, job: Judgement(score := next(left), job.judge.accepts(score), None)
        )
        monkeypatch.setattr(_job, "retrain", lambda *_, **__: {"loss": [0.5]})
        return written

    return install


GIVEN_WAYS = ["int8", "calibrated on 320 samples", f"{RANGES}", "channels equalized", f"channels equalized, {RANGES}"]


def test_best_file_of_the_given_model_is_written_where_none_is_good_enough(tmp_path, made):
    written = made(-0.5, -0.3, -0.4, -0.2, -0.4)
    files = hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()), given=True)
    assert [attempt.name for attempt in files.attempts] == GIVEN_WAYS
    assert files.judgement.score == -0.2 and not files.judgement.accepted
    assert written[-1] is not written[0] and written[-1].fixed is None and len(written) == 2


def test_no_file_within_the_tolerance_is_refused_with_all_that_was_tried(tmp_path, made):
    made(-0.5, -0.3, -0.4, -0.2, -0.4, -0.1)
    with pytest.raises(RefusedError, match="The integer file is not within the tolerance of 2.00 points") as refused:
        hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()))
    told = str(refused.value)
    assert "int8: 50.00 %; calibrated on 320 samples: 30.00 %; least-squares ranges and a weight step" in told
    assert f"quantization-aware training on {RANGES}: 10.00 %. Use a lower --sparsity, more --epochs" in told
    assert told.endswith("more --epochs, or a larger --tolerance.")
    assert refused.value.reached.score == -0.1 and refused.value.reached.stage == "int8"


def test_lowered_layers_share_a_weight_step(tmp_path, made):
    written = made(-0.5, -0.5, 0.0)
    files = hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()), lowered=True)
    assert files.attempts[-1].name == "least-squares ranges"
    assert not any(layer.per_channel for layer in quantized_layers(written[-1].fixed).values())


def test_first_way_that_is_accepted_is_taken(tmp_path, made):
    written = made(-0.5, 0.0)
    files = hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()))
    assert [attempt.name for attempt in files.attempts] == GIVEN_WAYS[:2]
    assert files.judgement == Judgement(0.0, accepted=True, interval=None) and len(written) == 2


def test_file_that_disagrees_with_its_model_is_mended_too(tmp_path, made, monkeypatch):
    made(0.0)
    calls = []

    def disagree_at_first(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise VerificationError("it names other classes.")
        return "summary"

    monkeypatch.setattr(_hand_over, "write_source", disagree_at_first)
    files = hand_over(tiny.trained(), tmp_path, job_for(tiny.trained()))
    first, second = files.attempts
    assert (first.judgement, first.reason) == (None, "it names other classes.")
    assert second.judgement.accepted and len(calls) == 2


def test_layers_without_a_form_on_grids_are_named(tmp_path, made):
    model = one_loud_channel("leaky_relu")
    made(-0.5, -0.5, -0.5)
    files = hand_over(model, tmp_path, job_for(model), given=True)
    reasons = {attempt.name: attempt.reason for attempt in files.attempts if attempt.judgement is None}
    assert len(reasons) == 2
    assert all("leaky_relu" in reason for reason in reasons.values())


def test_grids_of_a_model_in_fixed_point_are_kept(tmp_path, made):
    data = tiny.data()
    fixed = to_fixed_point(tiny.trained(), FixedPoint(8, 8))
    calibrate(fixed, data.x_train[:64])
    written = made(-0.5)
    files = hand_over(fixed, tmp_path, job_for(tiny.trained()), given=True)
    assert [attempt.name for attempt in files.attempts] == ["int8"]
    assert [source.quantize for source in written] == ["fixed"] * 2


@pytest.mark.sweep
def test_compress_hands_over_a_mended_file(loud, tmp_path, monkeypatch):
    """The whole run: within the tolerance of the given model, and the summary says what it took."""
    monkeypatch.setattr(_job, "retrain", lambda *_, **__: {"loss": [0.5]})
    settings = CompressSettings(sparsity=0.05, search="magnitude", tolerance=0.02, epochs=1, lower="none")
    report = compress(loud, tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    found = report.validation
    assert found.int8_within_tolerance and found.compressed_int8 <= found.dense_float + 0.02
    assert len(found.attempts) > 1 and found.attempts[-1].value == found.compressed_int8
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["validation"]["attempts"][0]["name"] == "int8"


def test_packed_file_is_judged_too(tmp_path, made, monkeypatch):
    """Its biases are coarser: it may lose more than the int8 file beside it."""
    made(0.0, -0.5)
    monkeypatch.setattr(_hand_over, "integer_files", lambda *_: ["int8", "int4"])
    fixed = to_fixed_point(tiny.trained(), FixedPoint(4, 8))
    calibrate(fixed, tiny.data().x_train[:64])
    with pytest.raises(RefusedError, match="int8: 50.00 %. Use a lower --sparsity"):
        hand_over(fixed, tmp_path, job_for(tiny.trained()))
