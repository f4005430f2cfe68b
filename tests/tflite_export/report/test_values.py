"""A report is JSON and back; what is no report is refused in one line."""

import functools
import json
import math
import operator

import pytest

from tests.tflite_export.report import reports
from tflite_export.report import Report, Row, points_of, to_markdown

REPORTS = {"empty": reports.EMPTY, "full": reports.FULL, "malicious": reports.MALICIOUS}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_report_is_the_same_after_json(report):
    text = report.to_json()
    assert Report.from_json(text) == report
    assert Report.from_json(text).to_json() == text


def with_numbers(values, number):
    """JSON values with a number in the place of every one that is no whole number."""
    if isinstance(values, dict):
        return {key: with_numbers(value, number) for key, value in values.items()}
    if isinstance(values, list):
        return [with_numbers(value, number) for value in values]
    return number if isinstance(values, float) else values


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e308, 5e-324, -0.0])
def test_report_is_read_whatever_was_measured(number):
    text = json.dumps(with_numbers(json.loads(reports.FULL.to_json()), number), indent=1) + "\n"
    assert text.count(json.dumps(number)) == 50
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
    "nested without end": ("[" * 100_000, "RecursionError"),
    "long": (
        lambda values: values.update(masks="x" * 10**6),
        r"Report.masks must be tuple. Received: 'x{99} and more.",
    ),
    "long names": (lambda values: values.update({"x" * 10**6: 1}), r"unknown: x{100} and more; missing: none"),
    "no Unicode": (
        lambda values: values.update(name="\ud800"),
        r"Report.name must be text in Unicode. Received: '\\ud",
    ),
    "no Unicode in a key": (
        lambda values: values["versions"].update({"\ud800": ""}),
        r"Report.versions\['\\ud800'\] must be text in Unicode",
    ),
    "digits below": (
        lambda values: values["figures"][0].update(digits=-1),
        r"Report.figures\[0\]: Figure 'accuracy.*': digits must be from 0 to 17. Received: digits=-1",
    ),
    "digits above": (
        lambda values: values["figures"][0].update(digits=10**9),
        "digits must be from 0 to 17. Received:",
    ),
    "huge": (
        lambda values: values["after"]["operators"][1].update(macs=10**30),
        r"Report.after.operators\[1\].macs must be a number of 64 bits. Received: 1000",
    ),
    "huge fraction": (
        lambda values: values["figures"][0].update(after=10**400),
        r"Report.figures\[0\].after must be a number of 64 bits. Received: 1000",
    ),
    "operator": (
        lambda values: values["after"]["operators"][0].update(live_bytes=-5),
        r"operators\[0\]: Operator 'CONV_2D' of layer 'conv': live_bytes must be at least 0. Received: live_bytes=-5",
    ),
    "step": (
        lambda values: values["steps"][1].update(macs=-1),
        r"Report.steps\[1\]: Step 'stage_1': macs must be at least 0. Received: macs=-1",
    ),
    "words": (
        lambda values: values["sensitivity"][0].update(bits=[2, 4]),
        r"Report.sensitivity\[0\]: Layer 'conv': each loss has a word of 1 to 64 bits. Received: bits=\(2, 4\) and 3",
    ),
    "long words": (lambda values: values["sensitivity"][0].update(bits=[2, 4, 65]), "a word of 1 to 64 bits. Received"),
}
MASKS = {
    "no block": ({"block": []}, r"block must be two counts from 1. Received: block=\(\)"),
    "half a block": ({"block": [1]}, r"block must be two counts from 1. Received: block=\(1,\)"),
    "empty block": ({"block": [0, 0]}, r"block must be two counts from 1. Received: block=\(0, 0\)"),
    "no outputs": ({"outputs": 0}, "outputs must be at least 1. Received: outputs=0"),
    "kept of others": ({"inputs_kept": 5}, "inputs_kept must be from 0 to 4. Received: inputs_kept=5"),
    "no rows": ({"rows": 0}, "rows must be from 1 to 24. Received: rows=0"),
    "rows below": ({"rows": -3}, "rows must be from 1 to 24. Received: rows=-3"),
    "rows above": ({"rows": 10**12}, "rows must be from 1 to 24. Received: rows=1000000000000"),
    "columns above": ({"columns": 13}, "columns must be from 1 to 12. Received: columns=13"),
    "large": (
        {"outputs": 10**12, "rows": 10**12},
        "bits must be 3000000000000 hexadecimal digits, for 1000000000000 x 12 points. Received: 72 letters",
    ),
    "few bits": (
        {"bits": "ff"},
        "bits must be 72 hexadecimal digits, for 24 x 12 points. Received: 2 letters, 'ff' at",
    ),
    "no bits": (
        {"bits": "zz" * 36},
        "bits must be 72 hexadecimal digits, .* Received: 72 letters, 'zzzzzzzz' at first",
    ),
}
BAD |= {
    f"mask with {name}": (
        lambda values, change=change: values["masks"][0].update(change),
        rf"Report.masks\[0\]: Mask of layer 'conv': {message}",
    )
    for name, (change, message) in MASKS.items()
}


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_what_is_no_report_is_refused(change, message):
    text = change
    if callable(change):
        values = json.loads(reports.FULL.to_json())
        change(values)
        text = json.dumps(values)
    with pytest.raises(
        ValueError,
        match=f"^That is no report of a run. Received: .*{message}.* Write it with Report.to.* compress again.$",
    ) as caught:
        Report.from_json(text)
    assert len(str(caught.value)) < 500


def leaves(values, place=()):
    """Where the plain values and the lists of JSON values are; of the entries of a list the first stands for all."""
    if isinstance(values, dict):
        return [found for key, value in values.items() for found in leaves(value, (*place, key))]
    inside = leaves(values[0], (*place, 0)) if isinstance(values, list) and values else []
    return [*inside, place]


ODD = (None, -1, 10**9, 10**400, math.nan, 1e308, "", "\ud800", [], [0], {})


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
def test_report_with_any_value_changed_is_refused_or_shown(value):
    text = reports.FULL.to_json()
    shown = 0
    for *folder, name in leaves(json.loads(text)):
        values = json.loads(text)
        functools.reduce(operator.getitem, folder, values)[name] = value
        try:
            report = Report.from_json(json.dumps(values))
        except ValueError as error:
            assert str(error).startswith("That is no report of a run. Received: ")
            continue
        assert to_markdown(report).encode()
        assert all(points_of(mask).size for mask in report.masks)
        shown += 1
    assert shown or isinstance(value, dict) or value == 10**400 or value == "\ud800"


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
