import dataclasses

import keras
import numpy as np
import pytest

from tflite_export.quantize import convert
from tflite_export.runtime import run_litert, tflm_available
from tflite_export.verify import VerificationError, _verify, check_verification, verify


def test_verify_records_every_figure_of_a_classifier(exported, samples):
    pytest.importorskip("tflite_micro")
    result = verify(*exported, samples=samples, runtime_samples=12)
    assert (result.samples, result.runtime_samples) == (40, 12)
    assert result.float_error <= 1e-6
    assert result.int8_top1 >= 0.9
    assert 0 < result.int8_error < 0.05
    assert result.xnnpack_steps <= 1
    assert result.xnnpack_top1 >= 0.9
    assert result.tflm_steps <= 1
    assert (result.tflm_float_error, result.tflm_skipped) == (None, None)


def test_verify_of_a_float_file_alone(exported, samples):
    pytest.importorskip("tflite_micro")
    result = verify(*exported[:2], samples=samples)
    assert result.tflm_float_error <= 1e-5
    unmeasured = (result.int8_top1, result.int8_error, result.xnnpack_steps, result.xnnpack_top1, result.tflm_steps)
    assert unmeasured == (None,) * 5


def test_verify_judges_other_outputs_by_their_error(regressor, samples):
    result = verify(*regressor, samples=samples, top1_agreement=1.0)
    assert result.int8_top1 is None and result.xnnpack_top1 is None
    assert 0 < result.int8_error < 0.05


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_verify_compares_a_mixed_precision_model_in_float32(build, samples, policy):
    model = build(policy=policy)
    assert verify(model, convert(model), samples=samples).float_error <= 1e-6


def test_wrong_float_file_is_an_error(exported, other, samples):
    message = (
        r"disagrees, compared on 40 samples: Float file against Keras: relative error must be at most 0.0001. "
        r"Received: 0\.\d+"
    )
    with pytest.raises(VerificationError, match=message):
        verify(exported[0], other[0], samples=samples)


def test_wrong_int8_file_is_an_error_unless_the_bound_allows_it(exported, other, samples):
    message = r"Int8 file against Keras: top-1 agreement .* must be at least 0.9. Received: 0"
    with pytest.raises(VerificationError, match=message):
        verify(exported[0], exported[1], other[1], samples=samples)
    assert verify(exported[0], exported[1], other[1], samples=samples, top1_agreement=0.0).int8_top1 < 0.9


def test_int8_file_calibrated_on_other_data_is_an_error(regressor, samples):
    saturated = convert(regressor[0], quantize="int8", representative_data=samples * 0.01)
    with pytest.raises(VerificationError, match="error must be at most 0.1 of the output range. Received: 0"):
        verify(*regressor[:2], saturated, samples=samples)


@pytest.mark.parametrize("steps", [1, 2])
def test_tflm_may_differ_by_one_step(exported, samples, monkeypatch, steps):
    def shifted(model, inputs):
        outputs = run_litert(model, inputs, kernels="reference")
        return np.where(outputs < 100, outputs + steps, outputs - steps).astype(np.int8)

    monkeypatch.setattr(_verify, "tflm_available", lambda: True)
    monkeypatch.setattr(_verify, "run_tflm", shifted)
    if steps == 1:
        assert verify(*exported, samples=samples).tflm_steps == 1
    else:
        with pytest.raises(VerificationError, match="must differ by at most 1 step in the scores. Received: 2 steps"):
            verify(*exported, samples=samples)
        assert verify(*exported, samples=samples, tflm_steps=2).tflm_output_steps == 2


def test_missing_tflm_is_recorded_with_the_reason(exported, samples, monkeypatch):
    monkeypatch.setattr(_verify, "tflm_available", lambda: False)
    result = verify(*exported, samples=samples)
    assert result.tflm_steps is None
    assert result.tflm_skipped == "tflite-micro is not installed (pip install 'tf-structprune[micro]')"


def test_tflm_runs_only_when_asked_for(exported, samples):
    result = verify(*exported, samples=samples, micro=False)
    assert (result.tflm_steps, result.tflm_skipped) == (None, "not asked for, or it lacks an operator")


BEYOND = {
    "float_error": (2e-4, "Float file against Keras: .* at most 0.0001. Received: 0.0002"),
    "int8_top1": (0.89, "top-1 agreement .* must be at least 0.9. Received: 0.89.*lower top1_agreement"),
    "tflm_steps": (3, "TFLite Micro against LiteRT's reference kernels: .* Received: 3 steps. Raise tflm_steps"),
    "tflm_float_error": (1e-2, "TFLite Micro against LiteRT's reference kernels: relative error .* Received: 0.01"),
}


@pytest.mark.parametrize("field", BEYOND)
def test_each_bound_is_held_alone_and_nan_is_beyond_it(exported, samples, field):
    good = verify(*exported, samples=samples, micro=tflm_available())
    value, message = BEYOND[field]
    with pytest.raises(VerificationError, match=message):
        check_verification(dataclasses.replace(good, **{field: value}))
    if field != "tflm_steps":
        with pytest.raises(VerificationError, match="Received: nan"):
            check_verification(dataclasses.replace(good, **{field: float("nan")}))


def test_all_failures_are_named_at_once(exported, samples):
    good = verify(*exported, samples=samples, micro=False)
    bad = dataclasses.replace(good, float_error=1.0, int8_top1=0.5)
    with pytest.raises(VerificationError, match="Float file .* Int8 file"):
        check_verification(bad)


@pytest.mark.parametrize("bound", [-0.1, 1.1, 90, float("nan")])
def test_bound_that_is_no_fraction_is_refused(exported, samples, bound):
    with pytest.raises(ValueError, match=r"top1_agreement must be in \[0, 1\]. Received: top1_agreement="):
        verify(*exported, samples=samples, top1_agreement=bound)


def test_no_runtime_samples_are_refused(exported, samples):
    with pytest.raises(ValueError, match="runtime_samples must be at least 1. Received: runtime_samples=0"):
        verify(*exported, samples=samples, runtime_samples=0)


def test_samples_of_another_shape_are_refused(exported):
    with pytest.raises(ValueError, match=r"verification samples must have shape \(n, 8, 8, 2\)"):
        verify(*exported, samples=np.zeros((3, 8, 8, 1)))


def test_scores_that_vanish_beside_boxes_in_pixels_are_refused():
    """Their error is small against the range of all outputs, and all of their own."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    inputs = keras.Input((6,))
    boxes = keras.layers.Rescaling(300.0)(keras.layers.Dense(4, activation="sigmoid")(inputs))
    scores = keras.layers.Dense(1, activation="sigmoid")(inputs)
    model = keras.Model(inputs, keras.layers.Concatenate()([boxes, scores]))
    model.compile("sgd", "mse")
    files = [convert(model, quantize=kind, representative_data=x) for kind in ("none", "int8")]
    with pytest.raises(VerificationError, match="error of each component must be at most 0.3 of its own range"):
        verify(model, *files, samples=x, micro=False)
