"""A report is JSON and back; what is no report is refused in one line."""

import json

import pytest

from tests.tflite_export.report import reports
from tflite_export.report import Report, Row

REPORTS = {"empty": reports.EMPTY, "full": reports.FULL, "malicious": reports.MALICIOUS}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_report_is_the_same_after_json(report):
    text = report.to_json()
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text


BAD = {
    "no text": ("", "JSONDecodeError"),
    "no object": ("[1]", "Report must be Report"),
    "unknown": (
        lambda values: values.update(extra=1),
        "Report has other fields. Received: unknown: extra; missing: none",
    ),
    "missing": (lambda values: values.pop("masks"), "unknown: none; missing: masks"),
    "kind": (lambda values: values.update(removed="half"), "Report.removed must be float. Received: 'half'"),
    "deep": (lambda values: values["steps"][1].pop("macs"), r"Report.steps\[1\] has other fields.*missing: macs"),
    "of another format": (lambda values: values.update(format=9), "Report.format must be 1. Received: 9"),
}


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_what_is_no_report_is_refused(change, message):
    text = change
    if callable(change):
        values = json.loads(reports.FULL.to_json())
        change(values)
        text = json.dumps(values)
    with pytest.raises(
        ValueError, match=f"^That is no report of a run. Received: .*{message}.* Write it with Report.to"
    ):
        Report.from_json(text)


@pytest.mark.parametrize(
    "row, ratio, text",
    [
        (Row("MACs", 3.0, 2.0), "1.50x", "3"),
        (Row("accuracy", 3.0, 2.0, 2, cost=False), "", "3.00"),
        (Row("arena", 3.0, None), "", "3"),
        (Row("arena", None, 2.0), "", "not measured"),
        (Row("none", 0.0, 0.0), "", "0"),
    ],
)
def test_ratio_is_told_of_costs_that_are_known(row, ratio, text):
    assert row.ratio == ratio
    assert row.text(row.before) == text


def test_peak_is_the_first_of_the_largest():
    assert reports.FULL.before.peak == 1
    assert reports.FULL.after.operators[reports.FULL.after.peak].name == "ADD"
