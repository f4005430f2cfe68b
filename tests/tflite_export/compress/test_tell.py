"""A run writes its report: of its own figures, models and files; one that fails costs nothing else."""

import dataclasses
import json
import shlex

import pytest

from tests.devices import ByMacs
from tests.tflite_export.compress import reports, tiny
from tf_structprune.allocation import Budget
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.masks import MaskSet
from tf_structprune_cli._device import device_from
from tf_structprune_cli._main import _settings
from tf_structprune_cli._parser import make_parser
from tflite_export.compress import CompressSettings, compress
from tflite_export.compress import _tell as telling
from tflite_export.compress._command import commands_of
from tflite_export.devices import Android, Host, Measurement, Qemu, _named, operator_times
from tflite_export.file import open_file
from tflite_export.report import points_of, read_report

SETTINGS = CompressSettings(
    sparsity=0.6,
    granularity=("feature_map", "intra_kernel"),
    candidates=2,
    epochs=2,
    distill=0.0,
    tolerance=1.0,
    lower="none",
)


@pytest.fixture(scope="module")
def without_reports():
    """Here they are written."""


class Timed(ByMacs):
    """A device that tells a microsecond an operator."""

    description = "a stopwatch"

    def measure(self, files, *, runs, operators=False):
        times = [list(range(1, 1 + len(file.description.operators))) for file in files]
        return tuple(
            Measurement((1.0,), operator_times(file.description, each)) for file, each in zip(files, times, strict=True)
        )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run, what was returned, and the report that it wrote."""
    out = tmp_path_factory.mktemp("told") / "out"
    found = compress(tiny.fresh(), tiny.data(), out, settings=SETTINGS, device=Timed())
    return out, found, read_report(out)


def test_report_lies_beside_the_files(run):
    out, *_ = run
    assert {"report.html", "report.md", "report.json", "model_explorer", "summary.json"} <= set(tiny.entries(out))
    assert {"report.html", "model_explorer/time.json"} <= set(
        json.loads((out / ".tf_structprune.json").read_text())["files"]
    )


def test_figures_are_those_of_the_summary(run):
    _, found, report = run
    rows = {row.title: row for row in report.figures}
    assert (rows["MACs"].before, rows["MACs"].after) == (found.baseline.macs, found.compressed.macs)
    assert rows["accuracy, int8 (%)"].after == pytest.approx(100 * found.compressed.score_int8)
    assert [score.value for score in report.verdict.scores][::3] == [
        found.validation.dense_float,
        found.validation.compressed_int8,
    ]
    assert report.verdict.limit == pytest.approx(found.validation.dense_float + 1.0)
    assert report.removed == found.sparsity


def test_operators_are_those_of_the_files_and_have_their_layers(run):
    _, found, report = run
    for profile, side in ((report.before, found.baseline), (report.after, found.compressed)):
        assert sum(operator.macs for operator in profile.operators) == side.macs
        assert {"first", "a", "b", "hidden", "classifier"} <= {operator.layer for operator in profile.operators}
        assert {operator.time_us for operator in profile.operators} == {1.0}
    assert report.device == "a stopwatch"


def test_masks_show_what_is_left(run):
    _, _, report = run
    masks = {mask.layer: mask for mask in report.masks}
    assert (masks["b"].outputs, masks["b"].inputs) == (8, 8)
    assert masks["b"].outputs_kept < 8
    assert points_of(masks["b"]).mean() == pytest.approx(masks["b"].kept)
    assert "classifier" not in masks or masks["classifier"].outputs_kept == 3


def test_curves_are_those_of_the_history(run):
    out, _, report = run
    assert [(curve.stage, curve.what) for curve in report.curves] == [(1, "feature_map"), (2, "intra_kernel")]
    assert all(len(curve.figures["loss"]) == 2 for curve in report.curves)
    assert f"{report.curves[0].figures['loss'][0]}" in (out / "history.csv").read_text()


def parts_of(run):
    """What a report is made of, of figures alone."""
    dense = tiny.trained()
    file = open_file(run[0] / "model_float32.tflite")
    return {
        "dense": dense,
        "small": dense,
        "masks": MaskSet(),
        "before": file,
        "after": file,
        "history": (),
        "limit": 0.5,
    }


@pytest.mark.parametrize("report", [reports.EMPTY, reports.FULL], ids=["empty", "full"])
def test_any_figures_make_a_report(run, report):
    told = telling.report_of(report, **parts_of(run))
    assert told.from_json(told.to_json()) == told
    assert told.masks == ()  # nothing is gone
    assert told.curves == () and told.steps == ()
    assert told.device == ""


def test_what_cannot_be_shown_costs_nothing_else(run, tmp_path, monkeypatch, caplog):
    def fails(*_, **__):
        raise ValueError("no [picture]")

    monkeypatch.setattr(telling, "write_report", fails)
    telling.tell(reports.EMPTY, tmp_path, **parts_of(run))
    assert "No report. Received: ValueError: no [picture]. The files and summary.json are whole." in caplog.text
    assert tiny.entries(tmp_path) == []


def test_operators_that_would_take_long_are_not_timed(run):
    slow = dataclasses.replace(reports.NOTHING, latency_us_int8=5e5)
    report = dataclasses.replace(reports.EMPTY, compressed=slow)
    told = telling.report_of(report, **parts_of(run), device=Timed())
    assert told.device == ""
    assert {operator.time_us for operator in told.after.operators} == {None}


@pytest.mark.usefixtures("given_once")
def test_no_report_is_written_where_none_is_asked_for(tmp_path):
    quick = CompressSettings(sparsity=0.2, search="random", reconstruct="none", epochs=0, tolerance=1.0, micro="none")
    compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=quick, device=ByMacs(), report=False)
    assert "summary.json" in tiny.entries(tmp_path / "out")
    assert not [name for name in tiny.entries(tmp_path / "out") if "report" in name or "explorer" in name]


ASKED = {
    "default": CompressSettings(),
    "many": CompressSettings(
        sparsity=0.7,
        granularity=("feature_map", "kernel"),
        kernel_groups=4,
        tolerance="10%",
        keep=("a b", "c*"),
        keep_first=False,
        keep_last=False,
        augment=("flip", "rotation=0.1"),
        finetune_rate="auto",
        early_end=True,
        epochs=3,
    ),
    "strides": CompressSettings(granularity=("intra_kernel",), strides=(1, 3), patterns="any"),
    "budgets": CompressSettings(
        sparsity=(Budget("macs", 0.5), Budget("flash", limit=20_480.0), Budget("latency", limit=3000.0)), floor=0.1
    ),
    "counts": CompressSettings(sparsity=Budget("parameters", limit=50.0)),
    "smallest": CompressSettings(smallest=True, sparsity=Budget("macs", 0.5)),
}


@pytest.mark.parametrize("settings", ASKED.values(), ids=ASKED)
def test_command_asks_for_the_same(settings):

    _, *words = shlex.split(commands_of(settings)[0])
    assert _settings(make_parser().parse_args(words)) == settings


@pytest.mark.parametrize(
    "device",
    [
        Host(),
        Android(serial="A1", binary="tools/benchmark_model", rounds=3),
        Android(app=True, delegate="gpu"),
        Qemu("m7", "lib.a", ("tflite-micro", "flatbuffers/include")),
    ],
    ids=["host", "phone", "app", "core"],
)
def test_command_measures_on_the_same_device(device, monkeypatch):
    monkeypatch.setattr(_named, "ready", lambda made: made)
    _, *words = shlex.split(commands_of(CompressSettings(), device)[0])
    assert device_from(make_parser().parse_args(words)) == device


def test_fixed_point_comes_from_the_recipe_that_the_run_wrote():
    run, _, seen = commands_of(CompressSettings(fixed_point=FixedPoint(4, 6)))
    assert run.endswith("--out OUT --recipe OUT/model_recipe.json")
    assert seen.startswith("model-explorer OUT/model_fixed.tflite ")
