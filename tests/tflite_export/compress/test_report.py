"""The report of a run is JSON and back; what is no report is refused in one line."""

import dataclasses
import json

import pytest

from tests.tflite_export.compress import reports
from tf_structprune.search import Metric
from tflite_export.compress import CompressReport

REPORTS = {
    "nothing measured": reports.EMPTY,
    "all measured": reports.FULL,
    "other scores": dataclasses.replace(reports.FULL, metric=Metric("mean error", falls=True), figure=Metric("R2")),
}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_report_is_the_same_after_json(report):
    text = report.to_json()
    assert CompressReport.from_json(text) == report
    assert CompressReport.from_json(text).to_json() == text


def test_json_names_the_scores():
    values = json.loads(REPORTS["other scores"].to_json())
    assert list(values["baseline"])[:3] == ["score_float", "score_int8", "parameters"]
    both = json.loads(REPORTS["all measured"].to_json())["compressed"]
    assert (both["accuracy_float"], both["accuracy_int8"]) == (both["score_float"], both["score_int8"])
    assert values["fixed_point"]["mean_error_before_retraining"] == 0.25
    assert values["stages"][0]["mean_error_after_retraining"] == 0.1
    assert values["validation"] == {
        "mean_error_dense_float": 0.125,
        "mean_error_compressed_float": 0.25,
        "mean_error_dense_int8": 0.5,
        "mean_error_compressed_int8": 0.75,
        "int8_within_tolerance": False,
        "interval": {"low": -0.01, "high": 0.03, "samples": 400},
        "samples_to_tell": 1600,
        "attempts": [
            {"name": "int8", "mean_error": None, "reason": "it [disagrees]"},
            {"name": "trained", "mean_error": 0.75, "reason": None},
        ],
    }


def test_json_has_what_is_derived():
    values = json.loads(reports.FULL.to_json())
    assert (values["tolerance"], values["seed"]) == (0.01, 0)
    assert values["multiplications"]["layers"][0]["cheapest"] == "direct"
    assert list(values["memory"]) == ["note", "baseline", "compressed"]
    assert values["fixed_point"]["int4"] == {"bytes": 12_345, "arena_bytes": 6_789}


BAD = {
    "unknown": (
        lambda values: values.update(extra=1),
        "CompressReport has other fields. Received: unknown: extra; miss",
    ),
    "missing": (
        lambda values: values.pop("npu"),
        "CompressReport has other fields. Received: unknown: none; missing: npu",
    ),
    "no metric": (lambda values: values.pop("metric"), "KeyError: 'metric'"),
    "deep": (
        lambda values: values["stages"][1].pop("search"),
        r"CompressReport.stages\[1\] has other fields.*: search",
    ),
    "kind": (lambda values: values.update(sparsity="half"), "CompressReport.sparsity must be float. Received: 'half'"),
    "truth for a count": (
        lambda values: values["baseline"].update(macs=True),
        "CompressReport.baseline.macs must be int. Received: True",
    ),
    "derived": (lambda values: values.update(seed=9), "CompressReport.seed must be 0. Received: 9"),
    "told twice": (
        lambda values: values["compressed"].update(accuracy_int8=0.125),
        "compressed.accuracy_int8 must be .* Received: 0.125",
    ),
    "optional part": (lambda values: values["fixed_point"].pop("lut"), "CompressReport.fixed_point has other fields"),
    "refused by a part": (lambda values: values["settings"].update(epochs=-1), "epochs must be at least 0. Received"),
    "optional list": (lambda values: values.update(lowered={}), "CompressReport.lowered must be tuple"),
}


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_what_is_no_report_is_refused(change, message):
    values = json.loads(reports.FULL.to_json())
    change(values)
    with pytest.raises(ValueError, match=f"^That is no report of compress. Received: .*{message}"):
        CompressReport.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", "null"])
def test_other_texts_are_refused(text):
    with pytest.raises(
        ValueError, match="That is no report of compress. Received: .* Write it with CompressReport.to_js"
    ):
        CompressReport.from_json(text)
