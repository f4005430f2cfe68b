"""Runtimes compared value by value: the figures, and what is an error."""

import dataclasses

import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tflite_export.runtime import int8_models
from tflite_export.file import open_file
from tflite_export.quantize import convert, fixed_point_files
from tflite_export.runtime import run_litert, run_reference, run_tflm
from tflite_export.verify import VerificationError, _exact, verify_exact

X = 1.2 * zoo.batch(200, 7)


@pytest.fixture(scope="module")
def good():
    """A fixed-point file, which all runtimes compute alike."""
    model = sp.to_fixed_point(zoo.build("residual_projection"), sp.FixedPoint(4, 6))
    sp.calibrate(model, zoo.batch(64))
    return fixed_point_files(model).int8


@pytest.fixture(scope="module")
def dense():
    """An ordinary int8 file, whose FULLY_CONNECTED LiteRT and TFLite Micro round differently."""
    return int8_models.network("flatten_head")


@pytest.fixture(scope="module")
def unknown():
    """An int8 file with an operator that NumPy has no kernel for."""
    return int8_models.convert_function(lambda x: x - x[:, ::-1])


def test_good_file_has_no_mismatch(good):
    pytest.importorskip("tflite_micro")
    result = verify_exact(good, X)
    assert (result.samples, result.values) == (200, 600)
    assert (result.numpy_litert, result.numpy_tflm, result.litert_tflm, result.output_mismatches) == (0, 0, 0, 0)
    assert result.skipped is None


def test_figures_of_xnnpack_are_recorded(good):
    result = verify_exact(good, X, micro=False)
    scores = open_file(good).scores
    reference, xnnpack = run_litert(scores, X, kernels="reference"), run_litert(scores, X)
    assert result.xnnpack_steps == np.abs(reference.astype(int) - xnnpack).max()
    assert result.xnnpack_top1 == (reference.argmax(1) == xnnpack.argmax(1)).mean()


def test_files_are_read_from_disk(good, tmp_path):
    (tmp_path / "model.tflite").write_bytes(good.data)
    assert verify_exact(tmp_path / "model.tflite", X[:9], micro=False) == verify_exact(good, X[:9], micro=False)


def test_runtimes_that_differ_are_an_error_where_they_have_to_agree(dense):
    pytest.importorskip("tflite_micro")
    message = (
        r"not computed bit for bit alike on 200 samples: LiteRT's reference kernels and TFLite Micro differ on \d+ of "
        r"600 scores\. Report"
    )
    with pytest.raises(VerificationError, match=message):
        verify_exact(dense, X)


def test_runtimes_that_differ_are_recorded_where_they_may(dense):
    pytest.importorskip("tflite_micro")
    result = verify_exact(dense, X, alike=False)
    scores = open_file(dense).scores
    assert result.litert_tflm == (run_litert(scores, X, kernels="reference") != run_tflm(scores, X)).sum() > 0
    assert result.output_mismatches == (run_litert(dense, X, kernels="reference") != run_tflm(dense, X)).sum()
    assert (result.numpy_litert, result.numpy_tflm, result.skipped) == (0, 0, None)


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize(
    "runtime, pair",
    [
        ("litert", "LiteRT's reference kernels and the NumPy reference differ on 1 of 600 scores"),
        ("tflm", "TFLite Micro and the NumPy reference differ on 1 of 600 scores"),
    ],
)
def test_numpy_has_to_agree_always(good, monkeypatch, runtime, pair, alike):
    pytest.importorskip("tflite_micro")

    def wrong(model, inputs, *, runtime="litert"):
        outputs = run_reference(model, inputs, runtime=runtime).copy()
        outputs[3, 1] ^= int(runtime == wanted)
        return outputs

    wanted = runtime
    monkeypatch.setattr(_exact, "run_reference", wrong)
    with pytest.raises(VerificationError, match=pair):
        verify_exact(good, X, alike=alike)


def test_operator_without_numpy_kernel_is_an_error_where_all_has_to_agree(unknown):
    message = "fixed-point file cannot be checked: the NumPy reference has no SUB.* Use quantize='int8'"
    with pytest.raises(VerificationError, match=message):
        verify_exact(unknown, X[:5])


def test_operator_without_numpy_kernel_is_recorded_else(unknown):
    pytest.importorskip("tflite_micro")
    result = verify_exact(unknown, X[:5], alike=False)
    assert (result.numpy_litert, result.numpy_tflm) == (None, None)
    assert result.litert_tflm is not None
    assert result.skipped == "the NumPy reference has no SUB"


@pytest.mark.parametrize("asked", [True, False], ids=["not installed", "not asked for"])
def test_missing_tflm_is_recorded_and_numpy_compared(good, monkeypatch, asked):
    monkeypatch.setattr(_exact, "tflm_available", lambda: not asked)
    result = verify_exact(good, X[:20], micro=asked)
    assert (result.numpy_tflm, result.litert_tflm, result.output_mismatches) == (None, None, None)
    assert (result.numpy_litert, result.skipped) == (0, "TFLite Micro did not run")


def test_all_reasons_are_recorded(unknown):
    result = verify_exact(unknown, X[:5], alike=False, micro=False)
    assert result.skipped == "the NumPy reference has no SUB; TFLite Micro did not run"


@pytest.mark.parametrize(
    "samples_worth, compared", [(10**9, 200), (50.5, 50), (1, 16)], ids=["small", "large", "very large"]
)
def test_large_models_are_compared_on_fewer_samples(good, monkeypatch, samples_worth, compared):
    monkeypatch.setattr(_exact, "_MACS", samples_worth * open_file(good).scores.description.macs)
    result = verify_exact(good, X, micro=False)
    assert (result.samples, result.values) == (compared, 3 * compared)


def test_at_most_a_thousand_samples_are_compared(good):
    result = verify_exact(good, np.repeat(X, 6, axis=0), micro=False)
    assert result.samples == 1000


def test_outputs_that_are_no_classes_have_no_top1():
    data = int8_models.function("mean_of_channels")
    assert verify_exact(data, X[:20], micro=False).xnnpack_top1 is None


def test_figures_are_plain_numbers(good):
    kinds = {type(value) for value in dataclasses.asdict(verify_exact(good, X[:20])).values()}
    assert kinds <= {int, float, str, type(None)}


def test_samples_of_another_shape_are_refused(good):
    with pytest.raises(ValueError, match="samples must have shape"):
        verify_exact(good, X[:, :4])


def test_float_file_is_refused():
    with pytest.raises(ValueError, match="must be int8 with one scale"):
        verify_exact(convert(zoo.build("chain")), X[:5], micro=False)
