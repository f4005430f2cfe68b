"""`tf-structprune report`: again, side by side, with a sensitivity; bad input in one line."""

import dataclasses

import pytest

from tests.tflite_export.report import reports
from tf_structprune.search import Metric
from tf_structprune.sensitivity import Measurement, SensitivityReport
from tf_structprune_cli import main
from tf_structprune_cli._parser import make_parser
from tflite_export.report import read_report, write_report
from tflite_export.sensitivity import Int8Layer, Int8Sensitivity

SMALL = dataclasses.replace(reports.EMPTY, figures=reports.FULL.figures, verdict=reports.FULL.verdict)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two runs, what `sensitivity` wrote, and directories without a report; the working directory."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(dataclasses.replace(SMALL, name=name), tmp_path / name)
    for name in ("bits", "empty", "broken", "odd", "binary"):
        (tmp_path / name).mkdir()
    rows = (Measurement("a", "weights", 4, -0.5),)
    found = SensitivityReport(Metric("MCR", falls=True, percent=True), -0.25, rows, {"a": 10})
    (tmp_path / "bits" / "sensitivity.json").write_text(found.to_json())
    (tmp_path / "broken" / "report.json").write_text("{}")
    (tmp_path / "binary" / "report.json").write_bytes(b"\xff")
    whole = (tmp_path / "one" / "report.json").read_text()
    (tmp_path / "odd" / "report.json").write_text(whole.replace('"digits": 2', '"digits": 1000000000', 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(*arguments):
    return main(["report", *arguments])


def test_report_is_rendered_again_from_its_json(folder, capsys):
    (folder / "one" / "report.html").unlink()
    assert report("one") == 0
    assert "<h1>one" in (folder / "one" / "report.html").read_text()
    out = capsys.readouterr().out
    assert "before / after" in out and "12,000" in out
    assert out.endswith("Written to one/report.html\n")


def test_quiet_tells_where_it_is(folder, capsys):
    assert report("one", "--quiet", "--out", "one.md") == 0
    assert capsys.readouterr().out == "Written to one.md\n"
    assert (folder / "one.md").read_text() == (folder / "one" / "report.md").read_text()


def test_runs_come_side_by_side(folder, capsys):
    assert report("one", "two", "--out", "both.html") == 0
    page = (folder / "both.html").read_text()
    assert "2 runs of one, two" in page and page.count("<svg") == 3
    assert "given" in capsys.readouterr().out
    assert report("one", "two", "--out", "both.md") == 0
    assert "|  | given | one | two |" in (folder / "both.md").read_text()


def test_run_that_is_named_twice_counts_once(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder / "two")
    assert report("../one", "../one/", "../two/../one", "--out", "../one.md") == 0
    assert (folder / "one.md").read_text() == (folder / "one" / "report.md").read_text()
    others = ("../one/", "../two/../one")
    assert capsys.readouterr().err == "".join(f"{other} is the same as ../one. It counts once.\n" for other in others)


def test_sensitivity_to_int8_joins_its_run(folder):
    layer = Int8Layer("a", "INPUT", 0, (), 1.0, 0.0, 1.0, 0.1, 0, 9.0, 9.0, 9, 0.0, -0.5, -0.25, 30.0, 20.0, "clip")
    found = Int8Sensitivity(Metric("MCR", falls=True, percent=True), -0.25, -0.5, -0.5, None, 0.0, 0.01, (layer,))
    (folder / "empty" / "sensitivity_int8.json").write_text(found.to_json())
    assert report("one", "bits", "empty") == 0
    made = read_report(folder / "one")
    assert [(row.part, row.losses) for row in made.sensitivity] == [
        ("weights", (0.25,)),
        ("int8", (0.25,)),
        ("int8, all but it", (0.0,)),
    ]
    assert "in int8: few outliers take most of the range" in (folder / "one" / "report.html").read_text()
    assert report("one", "bits", "empty") == 0
    assert read_report(folder / "one") == made


def test_sensitivity_joins_its_run(folder):
    assert report("one", "bits") == 0
    (row,) = read_report(folder / "one").sensitivity
    assert (row.layer, row.losses) == ("a", (0.25,))
    assert "Sensitivity to few bits" in (folder / "one" / "report.html").read_text()


BAD = {
    "nothing there": (("none",), "No report there. Received: none without report.json. Name the OUT of a run of"),
    "no report": (("empty",), "No report there. Received: empty without report.json."),
    "broken": (("broken",), "broken/report.json: That is no report of a run. Received: ValueError: Report has other"),
    "damaged": (
        ("odd",),
        "odd/report.json: That is no report of a run. Received: ValueError: Report.figures[0]: Figure",
    ),
    "binary": (("binary",), "binary/report.json cannot be read as a report of a run. Received: UnicodeDecodeError: "),
    "several without out": (
        ("one", "two"),
        "Several runs come in a file of their own. Received: 2 runs without --out.",
    ),
    "other kind": (
        ("one", "--out", "one.pdf"),
        "A report is .html or .md. Received: --out one.pdf. Use e.g. --out rep",
    ),
    "there already": (("one", "--out", "one/report.html"), "one/report.html exists. Received: overwrite=False. Use an"),
    "no folder": (("one", "--out", "none/one.html"), "none/one.html cannot be written. Received: No such file or dire"),
    "sensitivity of two": (
        ("one", "two", "bits", "--out", "a.md"),
        "A sensitivity belongs to one run. Received: 2 runs",
    ),
    "sensitivity alone": (("bits",), "A sensitivity belongs to one run. Received: 0 runs with it. Name one run beside"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_nothing_is_lost(folder, capsys, arguments, message):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert report(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"tf-structprune: {message}")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_overwrite_replaces_a_file(folder):
    (folder / "old.html").write_text("old")
    assert report("one", "--out", "old.html", "--overwrite") == 0
    assert "<h1>one" in (folder / "old.html").read_text()


@pytest.mark.parametrize("options, asked", [([], True), (["--report"], True), (["--no-report"], False)])
@pytest.mark.parametrize(
    "command", [["demo"], ["compress", "model.keras", "--data", "data.npz"]], ids=["demo", "compress"]
)
def test_report_is_on_unless_it_is_not_wanted(command, options, asked):
    assert make_parser().parse_args([*command, "--out", "out", *options]).report is asked
