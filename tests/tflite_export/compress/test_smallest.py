"""The smallest model within the tolerance: steps, half steps, what is handed over and what is kept of each."""

import json

import keras
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tests.tflite_export.compress import tiny
from tf_structprune.allocation import Budget, OutOfReachError
from tf_structprune.search import Metric
from tflite_export.compress import (
    FIRST_STEP,
    CompressReport,
    CompressSettings,
    Job,
    RefusedError,
    StepFigures,
    _job,
    _run,
    _smallest,
    compress,
)
from tflite_export.compress._allocate import with_first_convolution
from tflite_export.compress._progress import Progress
from tflite_export.compress._steps import steps_table, write_steps
from tflite_export.file import open_file

pytestmark = pytest.mark.usefixtures("given_once")
QUICK = {"epochs": 1, "distill": 0.0, "search": "magnitude", "allocation": "uniform", "reconstruct": "none"}


@pytest.fixture
def fates(monkeypatch):
    """Replaces retraining: what becomes of each step in turn; those behind the last are refused."""

    def install(*fates):
        left = list(fates)

        def retrain(model, teacher, data, settings, **_):
            if not (left and left.pop(0)):
                tiny.forget(model)
            return {"loss": [0.5]}

        monkeypatch.setattr(_job, "retrain", retrain)

    return install


@pytest.fixture
def few_steps(monkeypatch):
    """The first refusal is the last."""
    monkeypatch.setattr(_smallest, "LEAST_STEP", FIRST_STEP)


def run(**settings):
    return tiny.run(
        tiny.trained(), tiny.data(), CompressSettings(smallest=True, **(QUICK | {"tolerance": 0.6} | settings))
    )


def macs_of(step):
    return sp.trace(step.reached.small.model).macs


def test_steps_go_on_from_what_was_accepted_and_are_halved_where_one_is_refused(fates, monkeypatch):
    monkeypatch.setattr(_smallest, "LEAST_STEP", 0.1)
    fates(True, False, True, False)
    dense = sp.trace(tiny.trained()).macs
    done = run()
    accepted = [step.report.accepted for step in done.steps]
    assert accepted == [True, False, True, False]
    macs, base, share = [], dense, FIRST_STEP
    for step in done.steps:
        assert 0.6 * (1 - share) * base < macs_of(step) <= (1 - share) * base
        macs.append(macs_of(step))
        base, share = (macs[-1], share) if step.report.accepted else (base, share / 2)
    assert share < 0.1 <= 2 * share
    assert done.step == "stage_3" and sp.trace(done.model).macs == macs[2]
    assert [step.name for step in done.steps] == [f"stage_{number}" for number in range(1, 5)]


def test_model_before_is_one_step_larger(fates, few_steps):
    fates(True, True, False)
    done = run()
    before = done.before()
    assert (done.step, before.step) == ("stage_2", "stage_1")
    assert sp.trace(before.model).macs == macs_of(done.steps[0]) > sp.trace(done.model).macs
    assert before.sparsity == done.steps[0].reached.sparsity and before.before() is None


def test_steps_end_where_nothing_is_left_to_remove(fates, few_steps):
    fates(*[True] * 99)
    done = run(min_channels=4)
    graph = sp.trace(done.model, min_channels=4)
    assert all(group.size * group.unit_channels <= 4 for group in graph.prunable_groups)
    assert all(step.report.accepted for step in done.steps)


def test_steps_go_on_below_the_floor(fates, few_steps):
    fates(True, True, False)
    done = run(floor=0.9)
    allocations = [step.report.allocation for step in done.steps]
    assert [step.report.accepted for step in done.steps] == [True, True, False]
    assert all(0 < allocation.floor < 0.9 for allocation in allocations)
    assert all(min(found.kept[name] / found.units[name] for name in found.kept) < 0.9 for found in allocations)


def test_floor_is_that_of_what_each_step_finds(fates, few_steps):
    fates(True, True, True, True, False)
    done = run(floor=0.6)
    dense, last = done.steps[0].report.allocation, done.steps[-1].report.allocation
    for step in done.steps:
        found = step.report.allocation
        assert found.floor == 0.6 and all(count >= 0.6 * found.units[name] for name, count in found.kept.items())
    assert any(last.kept[name] < 0.6 * dense.units[name] for name in last.kept)


def test_first_step_meets_the_budget_and_its_kind_falls(fates, few_steps):
    fates(True, True)
    done = run(sparsity=Budget("parameters", 0.5))
    (first, second, *_) = done.steps
    whole = tiny.trained().count_params()
    sizes = [step.reached.small.model.count_params() for step in (first, second)]
    assert 0.4 * whole < sizes[0] <= 0.5 * whole
    assert sizes[1] <= (1 - FIRST_STEP) * sizes[0]
    assert second.report.allocation.budget.kind == "parameters"


def test_budget_beyond_the_tolerance_is_refused_at_once(fates):
    fates(False, True)
    with pytest.raises(RefusedError, match=r"No stage stayed within .* Use a larger --budget"):
        run(sparsity=Budget("macs", 0.5))


def test_nothing_within_the_tolerance_is_refused_and_no_sparsity_is_blamed(fates, few_steps):
    fates()
    with pytest.raises(RefusedError, match=r"No stage stayed within the tolerance.* Use more --epochs"):
        run()


def test_directory_has_every_step_its_figures_and_a_plot(fates, few_steps, tmp_path):
    fates(True, False)
    options = QUICK | {"tolerance": 0.6, "smallest": True, "micro": "none"}
    report = compress(tiny.trained(), tiny.data(), tmp_path / "out", device=ByMacs(), **options)
    folder = tmp_path / "out" / "steps"
    assert tiny.entries(folder) == ["stage_1.keras", "stage_2.keras", "steps.md", "steps.png"]
    given, first, second = report.steps
    assert given.macs == report.baseline.macs and given.flash_bytes == report.baseline.int8_bytes
    assert first.handed_over and first.accepted and not second.accepted
    assert first.macs == report.compressed.macs == sp.trace(keras.models.load_model(folder / "stage_1.keras")).macs
    assert first.flash_bytes == len((tmp_path / "out" / "model_int8.tflite").read_bytes())
    assert first.latency_us == open_file(tmp_path / "out" / "model_int8.tflite").description.macs
    assert CompressReport.from_json((tmp_path / "out" / "summary.json").read_text()) == report
    assert (folder / "steps.md").read_text().count("taken back") == 1


def test_smaller_step_whose_file_loses_too_much_gives_way_to_the_one_before(fates, few_steps, tmp_path, monkeypatch):
    fates(True, True, False)
    made, refused = _run.hand_over, []

    def hand_over(model, folder, job, **options):
        if sp.trace(model).macs < 0.6 * sp.trace(job.dense).macs:
            refused.append(sp.trace(model).macs)
            raise RefusedError("Its file loses too much.")
        return made(model, folder, job, **options)

    monkeypatch.setattr(_run, "hand_over", hand_over)
    options = QUICK | {"tolerance": 0.6, "smallest": True, "micro": "none"}
    report = compress(tiny.trained(), tiny.data(), tmp_path / "out", device=ByMacs(), **options)
    assert [step.name for step in report.steps if step.handed_over] == ["stage_1"]
    assert [step.accepted for step in report.steps] == [True, True, False, False]
    assert [report.steps[2].macs] == refused
    assert report.compressed.macs == report.steps[1].macs
    assert report.sparsity == report.steps[1].sparsity


STEPS = (
    StepFigures("given", 0.0, 1000, 90, 4096, 2048, 10.0, 0.1, accepted=True, handed_over=False),
    StepFigures("stage_1", 0.4, 750, 50, 2048, None, 7.5, 0.12, accepted=True, handed_over=True),
    StepFigures("stage_2", 0.6, 500, 30, 1024, None, 5.0, 0.4, accepted=False, handed_over=False),
)


def test_table_has_a_row_a_step():
    rows = steps_table(STEPS, Metric("MCR", falls=True, percent=True)).splitlines()
    assert rows[2] == "| given | 0.0 % | 1,000 | 90 | 4,096 | 2,048 | 10.0 | 10.00 % |  |"
    assert rows[3].endswith("| 12.00 % | handed over |") and rows[4].endswith("| 40.00 % | taken back |")


def test_without_matplotlib_there_is_a_table_alone(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "steps").mkdir()
    write_steps(STEPS, Metric("MCR", falls=True, percent=True), tmp_path, limit=0.2)
    assert tiny.entries(tmp_path / "steps") == ["steps.md"]


# Budgets of files, in a whole run.


def test_budgets_of_flash_and_arena_are_met_by_the_file(fates, tmp_path, capsys):
    pytest.importorskip("tflite_micro")
    fates(True)
    options = QUICK | {"tolerance": 1.0, "budget": ["flash=75%", "arena=90%"]}
    report = compress(tiny.trained(), tiny.data(), tmp_path / "out", device=ByMacs(), verbose=1, **options)
    baseline, compressed = report.baseline, report.compressed
    assert compressed.int8_bytes <= 0.75 * baseline.int8_bytes
    assert compressed.arena_bytes <= 0.9 * baseline.arena_bytes
    (stage,) = report.stages
    assert [spent.budget.kind for spent in stage.allocation.spent] == ["flash", "arena"]
    assert [spent.after for spent in stage.allocation.spent] == [compressed.int8_bytes, compressed.arena_bytes]
    assert report.settings.keep_first and "The first convolution" not in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["stages"][0]["allocation"]["others"]


def test_first_convolution_is_opened_where_only_it_stands_in_the_way(capsys):
    def opened(limit):
        with Progress(shown=True) as progress:
            settings = CompressSettings(sparsity=Budget("macs", limit=limit))
            job = with_first_convolution(Job.of(tiny.trained(), tiny.data(), settings, progress=progress))
        told = "The first convolution is pruned too. Budget 'macs': removing" in capsys.readouterr().err
        assert told is not job.settings.keep_first
        return told

    with pytest.raises(OutOfReachError, match=r"Use at least [\d,]+ MACs") as refused:
        opened(1)
    least = int(str(refused.value).split("at least ")[1].split(" ")[0].replace(",", ""))
    assert opened(least - 1) and not opened(least)
