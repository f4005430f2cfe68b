"""The whole run on a tiny model: every file is there, and every figure is measured again here."""

import csv
import dataclasses
import json
import re
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import ByMacs, Scripted
from tests.tflite_export.compress import tiny
from tf_structprune.stages import Judgement
from tflite_export.bench import estimate_npu
from tflite_export.compress import (
    CompressReport,
    CompressSettings,
    _hand_over,
    _job,
    _outcome,
    _run,
    check_data,
    compress,
    file_score,
)
from tflite_export.compress._hand_over import HandedOver
from tflite_export.file import MEMORY_NOTE, memory_table, open_file
from tflite_export.runtime import arena_bytes, run_litert
from tflite_export.verify import VerificationError

FILES = {
    "model.keras",
    "model_float32.tflite",
    "model_int8.tflite",
    "micro/model_data.cc",
    "micro/model_data.h",
    "micro/model_ops.h",
    "micro/model_settings.h",
    "micro/main.cc",
    "micro/README.md",
}
FIGURES = {
    "accuracy_float": float,
    "accuracy_int8": float,
    "score_float": float,
    "score_int8": float,
    "parameters": int,
    "macs": int,
    "float32_bytes": int,
    "int8_bytes": int,
    "latency_us_float32": float,
    "latency_us_int8": float,
    "arena_bytes": int,
}
REST = {
    "task": str,
    "figure": dict,
    "metric": dict,
    "sparsity": float,
    "tolerance": float,
    "seed": int,
    "stages": list,
    "skipped_layers": list,
    "memory": dict,
    "npu": dict,
    "lowered": list,
    "versions": dict,
}
STAGE = {
    "interval": dict,
    "layers": type(None),
    "granularity": str,
    "demands": dict,
    "search": str,
    "sparsity": float,
    "mcr_before_retraining": float,
    "mcr_after_retraining": float,
    "accepted": bool,
    "allocation": type(None),
}
SETTINGS = CompressSettings(
    sparsity=0.6,
    granularity=("feature_map", "kernel", "intra_kernel"),
    candidates=3,
    tolerance=0.05,
    epochs=2,
    finetune_batch=32,
    finetune_rate=5e-3,
    distill=0.3,
    augment=("flip",),
    seed=3,
)
SIDES = {"compressed": "", "baseline": "baseline"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of one run, what was returned, and the dense model with the weights it had before."""
    out = tmp_path_factory.mktemp("compress") / "out"
    dense = tiny.fresh()
    weights = dense.get_weights()
    return out, compress(dense, tiny.data(), out, settings=SETTINGS, device=ByMacs()), dense, weights


@pytest.fixture
def fast(monkeypatch):
    """Retraining that changes nothing, for tests of what happens around it."""
    monkeypatch.setattr(_job, "retrain", lambda *_, **__: {"loss": [0.5]})


@pytest.fixture(params=SIDES)
def side(request, run):
    """Key of the summary and folder of the dense or the compressed model."""
    return request.param, run[0] / SIDES[request.param]


def quick(out, **changes):
    settings = CompressSettings(candidates=1, epochs=1, distill=0.0, tolerance=1.0)
    return compress(tiny.trained(), tiny.data(), out, settings=settings, **changes)


def test_writes_every_file_and_no_other(run):
    out, *_ = run
    written = set(tiny.tree(out)) - {".tf_structprune.json"}
    assert written == FILES | {f"baseline/{name}" for name in FILES} | {"history.csv", "summary.json"}
    assert tiny.entries(out.parent) == ["out"]


def test_summary_file_is_what_was_returned(run):
    out, report, *_ = run
    text = (out / "summary.json").read_text()
    assert text == report.to_json()
    assert CompressReport.from_json(text) == report


def test_summary_has_the_promised_keys(run):
    summary = json.loads((run[0] / "summary.json").read_text())
    for name in SIDES:
        assert {key: type(value) for key, value in summary[name].items()} == FIGURES
    assert {key: type(summary[key]) for key in REST} == REST
    assert [{key: type(value) for key, value in stage.items()} for stage in summary["stages"]] == [STAGE] * 3
    assert [stage["demands"] for stage in summary["stages"]] == [
        {},
        {"groups": 2, "blocks": None},
        {"strides": "columns", "patterns": 2},
    ]
    settings = summary["settings"]
    assert [settings[name] for name in ("kernel_groups", "strides", "patterns")] == ["auto"] * 3
    assert (summary["tolerance"], summary["seed"]) == (0.05, 3)
    assert {item["name"] for item in summary["skipped_layers"]} == {"first", "classifier"}
    assert summary["versions"]["keras"] == keras.__version__


def test_accuracies_are_those_of_the_files_on_the_test_part(run, side):
    (name, folder), data = side, tiny.data()
    figures = getattr(run[1], name)
    model = keras.models.load_model(folder / "model.keras")
    assert figures.score_float == tiny.accuracy(model, data.x_test, data.y_test)
    scores = run_litert(folder / "model_int8.tflite", data.x_test)
    assert figures.score_int8 == np.mean(scores.argmax(axis=1) == data.y_test)


def test_memory_and_npu_are_those_of_the_int8_file(run, side):
    report, (name, folder) = run[1], side
    file = folder / "model_int8.tflite"
    expected = memory_table(open_file(file), tflm_arena_bytes=getattr(report, name).arena_bytes)
    assert getattr(report.memory, name) == expected
    assert report.memory.note == MEMORY_NOTE
    assert getattr(report.npu, name) == estimate_npu(file) and report.npu.reason is None


def test_sizes_and_counts_are_those_of_the_files(run, side):
    name, folder = side
    figures = getattr(run[1], name)
    model = keras.models.load_model(folder / "model.keras")
    assert figures.float32_bytes == (folder / "model_float32.tflite").stat().st_size
    assert figures.int8_bytes == (folder / "model_int8.tflite").stat().st_size
    assert figures.parameters == sum(int(np.prod(weight.shape)) for weight in model.weights)
    assert figures.macs == open_file(folder / "model_int8.tflite").description.macs == sp.trace(model).macs
    assert figures.arena_bytes == arena_bytes(folder / "model_int8.tflite")
    assert figures.latency_us_float32 == open_file(folder / "model_float32.tflite").description.macs
    assert figures.latency_us_int8 == figures.macs


def test_keras_file_computes_what_the_float_file_does(side):
    _, folder = side
    model, x = keras.models.load_model(folder / "model.keras"), tiny.data().x_test
    float_outputs = run_litert(folder / "model_float32.tflite", x)
    np.testing.assert_allclose(model.predict(x, verbose=0), float_outputs, rtol=0, atol=1e-5)


def test_baseline_is_the_dense_model(run):
    out, _, dense, _ = run
    reloaded = keras.models.load_model(out / "baseline" / "model.keras")
    for mine, theirs in zip(dense.get_weights(), reloaded.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_dense_model_is_not_changed(run):
    _, _, dense, weights = run
    for old, new in zip(weights, dense.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_compressed_is_smaller_and_within_the_tolerance(run):
    _, report, *_ = run
    for name in ("parameters", "macs", "float32_bytes", "int8_bytes"):
        assert getattr(report.compressed, name) < getattr(report.baseline, name)
    assert report.stages[-1].accepted
    assert report.validation.compressed_float <= report.validation.dense_float + 0.05


def test_sparsity_is_counted_on_the_written_model(run):
    out, report, dense, _ = run
    small = keras.models.load_model(out / "model.keras")
    kept, total = (
        sum(np.count_nonzero(model.get_layer(name).get_weights()[0]) for name in ("a", "b", "hidden"))
        for model in (small, dense)
    )
    assert report.sparsity == pytest.approx(1 - kept / total)
    assert report.sparsity >= 0.6


def test_validation_figures_are_measured_again(run):
    out, report, *_ = run
    data, figures = tiny.data(), dataclasses.asdict(report.validation)
    for name, key in (("baseline", "dense"), ("", "compressed")):
        model = keras.models.load_model(out / name / "model.keras")
        assert figures[f"{key}_float"] == pytest.approx(1 - tiny.accuracy(model, data.x_val, data.y_val))
        int8 = file_score(out / name / "model_int8.tflite", data.x_val, data.y_val)
        assert figures[f"{key}_int8"] == pytest.approx(-int8)
    assert figures["compressed_int8"] <= figures["dense_float"] + 0.05
    assert figures["int8_within_tolerance"] is True and report.validation.interval.samples == 60


def test_history_has_one_row_an_epoch(run):
    with (run[0] / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [(str(i + 1), kind, str(e + 1)) for i, kind in enumerate(SETTINGS.granularity) for e in range(2)]
    assert [(row["stage"], row["granularity"], row["epoch"]) for row in rows] == expected
    assert all(np.isfinite(float(row[key])) for row in rows for key in ("loss", "val_accuracy"))


def test_c_array_holds_the_int8_file(run):
    out, *_ = run
    source = (out / "micro" / "model_data.cc").read_text()
    written = bytes(int(text, 16) for text in re.findall(r"\b0x[0-9a-f]{2}\b", source))
    assert written == (out / "model_int8.tflite").read_bytes()


def test_existing_directory_is_refused_and_left_as_it_was(run):
    out, *_ = run
    before = tiny.tree(out)
    with pytest.raises(FileExistsError, match="exists. Choose another, or pass overwrite=True"):
        quick(out)
    assert tiny.tree(out) == before


def test_files_of_the_user_are_never_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds files that no export wrote: thesis.txt"):
        quick(out, overwrite=True)
    assert tiny.tree(tmp_path) == {"out/thesis.txt": b"mine"}


PARENTS = {
    "is a file": (("file", "out"), NotADirectoryError, "its parent '.*file' is a file"),
    "lies below a file": (("file", "deep", "out"), NotADirectoryError, "its parent '.*file' is a file"),
    "target is a file": (("file",), NotADirectoryError, "is a file. Give the path of a directory"),
}


@pytest.mark.parametrize("parts, error, message", PARENTS.values(), ids=PARENTS)
def test_unwritable_place_is_refused(tmp_path, parts, error, message):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(error, match=message):
        quick(tmp_path.joinpath(*parts))
    assert tiny.tree(tmp_path) == {"file": b"mine"}


FAILURES = {
    "Ctrl-C in retraining": (_job, "retrain", KeyboardInterrupt()),
    "no memory in retraining": (_job, "retrain", MemoryError()),
    "disagreement of the files": (_hand_over, "write_source", VerificationError("wrong")),
    "a full disk": (_run, "write_history", OSError(28, "No space left on device")),
    "Ctrl-C in measuring": (Scripted, "latencies_us", KeyboardInterrupt()),
}


def _failures():
    """Each failure with nothing there and with a former run there; in the gate one of both in turn."""
    for at, (told, parts) in enumerate(FAILURES.items()):
        for existing in (False, True):
            marks = () if existing == (at % 2 == 1) else pytest.mark.sweep
            where = "a former run there" if existing else "nothing there"
            yield pytest.param(*parts, existing, id=f"{told}-{where}", marks=marks)


@pytest.mark.parametrize("place, name, error, existing", _failures())
def test_failure_in_the_middle_leaves_all_as_it_was(run, tmp_path, monkeypatch, fast, place, name, error, existing):
    out = run[0] if existing else tmp_path / "deep" / "out"
    watched = out.parent if existing else tmp_path
    before, names = tiny.tree(watched), tiny.entries(watched)
    if name != "write_source":  # quick: what was exported does not matter here
        exported = SimpleNamespace(
            verification=SETTINGS,
            versions={},
            lowered=(),
            multiplications=(),
            float32=SimpleNamespace(file="model_float32.tflite"),
            int8=None,
            exact={},
            npu=None,
            npu_reason=None,
            micro_reason=None,
            bundle_notes=(),
            packed=None,
            packing=None,
        )
        files = HandedOver(tiny.trained(), exported, Judgement(0.0, accepted=True, interval=None), ())
        monkeypatch.setattr(_run, "hand_over", lambda *_, **__: files)
        monkeypatch.setattr(_outcome, "_figures", lambda *_: {})
        monkeypatch.setattr(_outcome, "_validation", lambda *_: {})
        monkeypatch.setattr(_outcome, "_files", lambda *_: (None, None))

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(place, name, fail)
    with pytest.raises(type(error)):
        quick(out, overwrite=existing, device=Scripted((1, 1, 1, 1)))
    work = out.with_name(".out.work")
    assert work.exists() == (not isinstance(error, VerificationError))  # kept unless it would say the same again
    shutil.rmtree(work, ignore_errors=True)
    if not existing and out.parent.exists():
        out.parent.rmdir()  # which only held the work
    assert tiny.tree(watched) == before
    assert tiny.entries(watched) == names


def test_dense_model_is_exported_and_judged_before_any_search(tmp_path, monkeypatch, caplog):
    """A loss that only training can mend is told before the search; nothing mends it here, and nothing is written."""
    lossy = Judgement(-0.5, accepted=False, interval=None)
    ways = _hand_over._ways
    monkeypatch.setattr(_hand_over, "judge_file", lambda *_: lossy)
    monkeypatch.setattr(_hand_over, "_ways", lambda *a, **k: list(ways(*a, **k))[:1])
    monkeypatch.setattr(_run, "run_job", lambda job: pytest.fail("stop"))
    with pytest.raises(pytest.fail.Exception, match="stop"):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", settings=CompressSettings(lower="none", micro="none"))
    (record,) = [record for record in caplog.records if "own int8 file" in record.getMessage()]
    assert record.getMessage().startswith(
        "The given model's own int8 file is not within the tolerance of 1.00 points of the given model's validation MCR"
    )
    assert record.getMessage().endswith("Received: int8: 50.00 %. Pruning goes on: training in int8 may mend it.")


@pytest.mark.parametrize("count, fine", [(8, False), (15, False), (16, True)])
def test_few_validation_samples_are_refused(count, fine):
    data = tiny.data()
    few = dataclasses.replace(data, x_val=data.x_val[:count], y_val=data.y_val[:count])
    if fine:
        check_data(few, tiny.trained(), CompressSettings())
        return
    with pytest.raises(
        ValueError, match=rf"Too few validation samples .* Received: {count}, least 16\. Give more as x"
    ):
        check_data(few, tiny.trained(), CompressSettings())
    check_data(few, tiny.trained(), CompressSettings(min_validation=count))


def test_data_are_checked_before_anything_is_made(tmp_path):
    data = tiny.data()
    wrong = type(data)(data.x_train[..., 0], data.y_train, data.x_val, data.y_val, data.x_test, data.y_test)
    with pytest.raises(ValueError, match="x_train does not fit the model's input"):
        compress(tiny.trained(), wrong, tmp_path / "deep" / "out", settings=SETTINGS)
    assert tiny.entries(tmp_path) == []


@pytest.mark.sweep
def test_equal_runs_write_equal_summaries_apart_from_timings(tmp_path, monkeypatch):
    """Nothing of one process gets into them, such as the address of an object."""
    settings = CompressSettings(search="magnitude", epochs=1, tolerance=1.0, finetune_batch=64)
    texts = []
    for name in ("one", "other"):
        keras.utils.set_random_seed(len(texts))
        compress(tiny.fresh(), tiny.data(), tmp_path / name, settings=settings, device=ByMacs())
        texts.append((tmp_path / name / "summary.json").read_text())
    assert texts[0] == texts[1]
    assert not re.search(r"0x[0-9a-f]{6,}|<\w", texts[0])
