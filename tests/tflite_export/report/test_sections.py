"""All that is known is shown, and what is not known has no section; Markdown reads nothing as its own marks."""

import dataclasses
import re

import pytest

from tests.tflite_export.report import reports
from tflite_export.report import joined, sections_of, to_markdown

KEYS = ["figures", "verdict", "layers", "memory", "masks", "curves", "steps", "sensitivity", "agreement", "notes"]
PARTS = {
    "figures": {"figures": ()},
    "verdict": {"verdict": None},
    "layers": {"before": None, "after": None},
    "memory": {"before": None, "after": None, "memory": ()},
    "masks": {"masks": ()},
    "curves": {"curves": ()},
    "steps": {"steps": ()},
    "sensitivity": {"sensitivity": ()},
    "agreement": {"agreement": ()},
    "notes": {"notes": ()},
    "again": {"commands": (), "versions": {}},
}


def test_full_report_has_all_sections():
    assert [section.key for section in sections_of(reports.FULL)] == [*KEYS, "again"]


@pytest.mark.parametrize("key", PARTS)
def test_section_without_content_is_left_out(key):
    keys = [section.key for section in sections_of(dataclasses.replace(reports.FULL, **PARTS[key]))]
    assert key not in keys
    assert set(keys) >= {*KEYS, "again"} - {"layers", "memory", key}


def test_empty_report_has_no_section():
    assert sections_of(reports.EMPTY) == ()
    assert to_markdown(reports.EMPTY) == "# tiny: 0.0 % of the prunable weights removed\n\nnone\n"


@pytest.mark.parametrize("report", [reports.FULL, reports.MALICIOUS], ids=["full", "malicious"])
def test_rows_are_as_long_as_their_heads(report):
    for section in sections_of(report):
        assert all(len(row) == len(table.heads) for table in section.tables for row in table.rows)
        assert section.tables or section.lines


@pytest.mark.parametrize("report", [reports.FULL, reports.MALICIOUS], ids=["full", "malicious"])
def test_markdown_has_whole_tables(report):
    tables = re.split(r"\n(?!\|)", to_markdown(report))
    for table in (part for part in tables if part.startswith("|")):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1
    assert "<script>" not in to_markdown(report).replace("\\<", "").replace("    <", "")


def test_verdict_tells_what_the_samples_tell():
    (section,) = [each for each in sections_of(reports.FULL) if each.key == "verdict"]
    assert section.lines == (
        "The integer file is within the tolerance of 1.00 points, which ends at a validation MCR of 11.00 %.",
        "MCR rise in points: -0.20 to +1.20 with 95 % confidence, from 400 samples. "
        "About 1,600 would tell this tolerance.",
    )
    refused = dataclasses.replace(reports.FULL.verdict, accepted=False, low=None, high=None)
    (section,) = [
        each for each in sections_of(dataclasses.replace(reports.FULL, verdict=refused)) if each.key == "verdict"
    ]
    assert section.lines[0].startswith("The integer file is NOT within the tolerance")
    assert len(section.lines) == 1


def test_memory_names_the_operator_of_the_peak():
    (section,) = [each for each in sections_of(reports.FULL) if each.key == "memory"]
    assert section.lines[0] == (
        "Peak before: 768 bytes of live signals, set by operator 2 of 3, add behind conv (1x8x8x4)."
    )


def test_layers_are_joined_by_name_and_the_rest_stands_alone():
    first, second = reports.FULL.before, reports.FULL.after
    assert [pair.title for pair in joined(first, second)] == ["conv", "add behind conv", "dense"]
    extra = dataclasses.replace(second.operators[1], name="PAD")
    second = dataclasses.replace(second, operators=(extra, *second.operators[:1], extra, *second.operators[2:]))
    pairs = joined(first, second)
    assert [pair.title for pair in pairs] == ["pad", "conv", "pad behind conv", "add behind conv", "dense"]
    assert [pair.before is None for pair in pairs] == [True, False, True, False, False]
    assert [pair.after is None for pair in pairs] == [False, False, False, True, False]


def test_operators_of_one_kind_are_numbered():
    operator = reports.FULL.before.operators[1]
    profile = dataclasses.replace(reports.FULL.before, operators=(operator, operator, operator))
    assert [pair.title for pair in joined(profile, None)] == ["add", "add (2)", "add (3)"]
