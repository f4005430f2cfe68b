"""A report lies whole beside the files of its run, is read back, and is replaced by a later one."""

import dataclasses
import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.tflite_export.report import reports
from tf_structprune.search import Metric
from tf_structprune.sensitivity import Measurement, SensitivityReport
from tflite_export.report import _write as writing
from tflite_export.report import read_report, read_sensitivity, to_html, to_markdown, with_sensitivity, write_report
from tflite_export.sensitivity import Int8Layer, Int8Sensitivity
from tflite_export.write import MANIFEST, staged_directory

SMALL = dataclasses.replace(reports.EMPTY, after=reports.FULL.after)
FILES = {"report.json", "report.md", "report.html", "model_explorer"}


def entries(folder):
    return {path.name for path in folder.iterdir()}


def test_report_is_written_and_read(tmp_path):
    assert write_report(SMALL, tmp_path) == tmp_path / "report.html"
    assert entries(tmp_path) == FILES
    assert entries(tmp_path / "model_explorer") == {
        "bytes.json",
        "macs.json",
        "memory.json",
        "sparsity.json",
        "time.json",
    }
    assert read_report(tmp_path) == SMALL
    assert (tmp_path / "report.md").read_text() == to_markdown(SMALL)


def test_later_report_takes_the_place_of_the_first(tmp_path):
    write_report(SMALL, tmp_path)
    write_report(dataclasses.replace(SMALL, name="other"), tmp_path)
    assert entries(tmp_path) == FILES
    assert read_report(tmp_path).name == "other"
    assert "<h1>other" in (tmp_path / "report.html").read_text()


def test_without_libraries_there_is_all_but_html(tmp_path, monkeypatch, caplog):
    write_report(SMALL, tmp_path)
    monkeypatch.setattr(writing, "html_lacks", lambda: "jinja2 not installed. Install tf-structprune[report].")
    assert write_report(SMALL, tmp_path) == tmp_path / "report.md"
    assert entries(tmp_path) == FILES - {"report.html"}  # the old one would tell other figures
    assert [record.getMessage() for record in caplog.records] == [
        "No HTML report: jinja2 not installed. Install tf-structprune[report]."
    ]


def test_report_added_to_a_run_does_not_keep_it_from_being_replaced(tmp_path):
    out = tmp_path / "out"
    with staged_directory(out) as folder:
        (folder / "model.keras").write_text("model")
    write_report(SMALL, out)
    assert set(json.loads((out / MANIFEST).read_text())["files"]) >= FILES
    with staged_directory(out, overwrite=True) as again:
        (again / "model.keras").write_text("another")
    assert entries(out) == {"model.keras", MANIFEST}


def test_directory_without_a_report_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="No report there. Received: .* without report.json. Name the OUT of a"):
        read_report(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "null"])
def test_damaged_report_is_refused_by_its_path(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match="report.json: That is no report of a run. Received: .* compress again.$"):
        read_report(tmp_path)


def test_binary_file_is_refused_by_its_path(tmp_path):
    (tmp_path / "report.json").write_bytes(b"\xff\x00")
    message = r"report.json cannot be read as a report of a run. Received: UnicodeDecodeError: .* Take the one that"
    with pytest.raises(ValueError, match=message):
        read_report(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("call", ["write_bytes", "mkdir"])
def test_disk_that_takes_nothing_is_told_with_the_directory(tmp_path, monkeypatch, call, number):
    def refused(path, *_, **__):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, call, refused)
    with pytest.raises(OSError, match=rf"^{tmp_path}\S* cannot be written. Received: {os.strerror(number)}. [MC].*\.$"):
        write_report(SMALL, tmp_path)


def test_sensitivity_is_read(tmp_path):
    rows = [
        Measurement("a", "weights", 2, -0.5),
        Measurement("a", "weights", 8, -0.125),
        Measurement("a", "signal", 4, -0.25, tied=("b",)),
    ]
    found = SensitivityReport(Metric("MCR", falls=True), -0.125, tuple(rows), {"a": 10})
    (tmp_path / "sensitivity.json").write_text(found.to_json())
    weights, signal = read_sensitivity(tmp_path)
    assert (weights.layer, weights.part, weights.bits, weights.losses) == ("a", "weights", (2, 8), (0.375, 0.0))
    assert (signal.part, signal.bits, signal.losses) == ("signal", (4,), (0.125,))
    shutil.rmtree(tmp_path)
    assert read_sensitivity(tmp_path) == ()


def int8_layer(name, alone, without, remedy=""):
    """A layer of an int8 file."""
    signal = (0.0, 1.0, 1 / 255, -128, 255.0, 200.0, 250, 0.0)
    return Int8Layer(name, "CONV_2D", 9, (0.1,), 1.0, *signal, alone, without, 30.0, 25.0, remedy)


def test_sensitivity_to_int8_is_added_and_added_anew(tmp_path):
    layers = (int8_layer("a", -0.5, -0.25, "equalize"), int8_layer("b", -0.125, -0.5))
    found = Int8Sensitivity(Metric("MCR", falls=True), -0.125, -0.5, -0.5, 1.0, 0.0, 0.01, layers)
    (tmp_path / "sensitivity_int8.json").write_text(found.to_json())
    rows = read_sensitivity(tmp_path)
    assert [(row.layer, row.part, row.bits, row.losses) for row in rows] == [
        ("a", "int8", (8,), (0.375,)),
        ("b", "int8", (8,), (0.0,)),
        ("a", "int8, all but it", (8,), (0.125,)),
        ("b", "int8, all but it", (8,), (0.375,)),
    ]
    report = with_sensitivity(reports.FULL, [tmp_path])
    assert report.sensitivity == (*reports.FULL.sensitivity, *rows)  # those in fixed point stay
    (note,) = report.notes[len(reports.FULL.notes) :]
    assert note.about == "a" and note.told.startswith("in int8: channels of very different ranges share one step")
    assert with_sensitivity(report, [tmp_path]) == report
    assert "| b | int8, all but it |  |  | +37.50 |" in to_markdown(report)
    assert '"int8, all but it": all other layers are.' in to_markdown(report)
    assert '"int8, all but it"' not in to_markdown(reports.FULL)
    assert "<svg" not in to_html(with_sensitivity(reports.EMPTY, [tmp_path]))  # one word length makes no line


@pytest.mark.parametrize("name", ["sensitivity.json", "sensitivity_int8.json"])
@pytest.mark.parametrize("data", [b"{}", b"\xff\x00"], ids=["empty", "binary"])
def test_damaged_sensitivity_is_refused_by_its_path(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"{name}.* Received: .*\\.$"):
        read_sensitivity(tmp_path)
