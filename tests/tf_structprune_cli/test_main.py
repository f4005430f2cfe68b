"""The command line: exit statuses, one line for each bad input, what is printed."""

import argparse
import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.table import Table

from tests.devices import ByMacs
from tests.tflite_export.compress import reports, tiny
from tests.tflite_export.pack import files as packing
from tf_structprune.allocation import Budget
from tf_structprune.fixed_point import FixedPoint, LayerBits
from tf_structprune_cli import _main, _print, main
from tf_structprune_cli._console import plain_console
from tf_structprune_cli._parser import compress_fields, make_parser
from tflite_export.compress import CompressSettings, MemoryFigures, NpuFigures, _job
from tflite_export.devices import Host
from tflite_export.write import staged_directory

pytestmark = pytest.mark.usefixtures("given_once")
ROOT = Path(__file__).parents[2]


@keras.saving.register_keras_serializable(package="test_cli")
class Subclassed(keras.Model):
    """A model that Keras loads and that has no graph to trace."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


@keras.saving.register_keras_serializable(package="test_cli")
class Doubled(keras.layers.Layer):
    """A layer without a rule."""

    def call(self, inputs):
        return inputs * 2.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a good model and data, and bad ones."""
    folder = tmp_path_factory.mktemp("cli")
    good = tiny.files(80)
    tiny.trained().save(folder / "good.keras")
    np.savez(folder / "good.npz", **tiny.files())
    (folder / "broken.keras").write_bytes((folder / "good.keras").read_bytes()[:2000])
    (folder / "text.npz").write_text("x_train, y_train")
    (folder / "model.h5").write_bytes(b"\x89HDF")
    (folder / "file").write_text("mine")
    for name, changes in {
        "flat": {"x_train": good["x_train"][..., 0]},
        "labels": {"y_test": good["y_test"] + 5},
        "nan": {"x_train": good["x_train"] * np.nan},
        "float": {"y_train": good["y_train"] + 0.5},
        "short": {"y_train": good["y_train"][1:]},
        "half": {"x_val": good["x_train"]},
    }.items():
        np.savez(folder / f"{name}.npz", **(good | changes))
    subclassed = Subclassed()
    subclassed(np.zeros((1, 8, 8, 1), np.float32))
    subclassed.save(folder / "subclassed.keras")
    return folder


@pytest.fixture
def compress(files, tmp_path, capsys):
    """Runs `compress` and gives the exit status, stdout and stderr; nothing may be left in the folder."""

    def run(*options, model="good.keras", data="good.npz", out=tmp_path / "out"):
        capsys.readouterr()  # what was printed before
        arguments = [
            "compress",
            str(files / model),
            "--data",
            str(files / data),
            "--out",
            str(out),
            "--min-validation=8",
        ]
        arguments += options if "--verbose" in options else ["--quiet", *options]
        return (main(arguments), *capsys.readouterr())

    return run


def only_told_before(out):
    """Whether nothing is printed but what a run tells before anything starts."""
    return not out or (out.startswith("Task: 3 classes, ") and out.count("\n") == 1)


def refusal(result):
    """The message of a run that was refused with one line."""
    status, out, err = result
    assert status == 1
    assert only_told_before(out)
    assert err.startswith("tf-structprune: ") and err.endswith("\n") and err.count("\n") == 1
    return err.removeprefix("tf-structprune: ").strip()


OPTIONS = {
    "sparsity one": ("--sparsity=1.0", "sparsity must be in [0, 1). Received: sparsity=1.0."),
    "sparsity negative": ("--sparsity=-0.1", "sparsity must be in [0, 1). Received: sparsity=-0.1."),
    "sparsity nan": ("--sparsity=nan", "sparsity must be in [0, 1). Received: sparsity=nan."),
    "sparsity out of reach": ("--sparsity=0.999", "Granularity 'feature_map' cannot remove that much here."),
    "budget of another form": (
        "--budget=half",
        "A budget is a kind and a share or an amount. Received: 'half'. Use e.g. macs=",
    ),
    "budget unknown": ("--budget=flops=0.5", "Unknown kind of budget. Received: kind='flops'. Use one of: macs, "),
    "budget in percent": ("--budget=macs=50", "Budget 'macs': fraction must be in (0, 1]. Received: fraction=50.0."),
    "budget out of reach": ("--budget=macs=0.01", "Budget 'macs': removing feature maps does not make the network"),
    "budget in another unit": ("--budget=macs=6KiB", "Budget 'macs': unknown unit. Received: '6KiB'. Use one of k, M"),
    "budget below one channel": ("--budget=macs=1k", "Budget 'macs': removing feature maps does not make the netw"),
    "allocation of nothing": ("--allocation=greedy", "--allocation says how a budget is allocated. Received: --all"),
    "floor of nothing": ("--floor=0.1", "--floor says how a budget is allocated. Received: --floor 0.1 without --budg"),
    "granularity unknown": ("--granularity=kernel,filters", "Unknown granularity. Received: granularity='filters'."),
    "granularity twice": ("--granularity=kernel,kernel", "granularity names each kind once."),
    "granularity none": ("--granularity=", "granularity names each kind once. Received: ''."),
    "search unknown": ("--search=luck", "Unknown search. Received: search='luck'. Use one of: best_of_n,"),
    "augment unknown": ("--augment=rotate", "Unknown augment. Received: augment='rotate'. Use some of: flip, shift,"),
    "tolerance in percent": ("--tolerance=2", "tolerance must be in [0, 1] for the MCR. Received: tolerance=2.0."),
    "epochs below zero": ("--epochs=-1", "epochs must be at least 0. Received: epochs=-1."),
    "no candidates": ("--candidates=0", "candidates must be at least 1. Received: candidates=0."),
    "no finalists": ("--finalists=0", "finalists must be at least 1. Received: finalists=0."),
    "lower unknown": ("--lower=yes", "Unknown lower. Received: lower='yes'. Use one of: auto, none."),
    "groups unknown": ("--kernel-groups=few", "kernel_groups must be at least 2. Received: kernel_groups='few'."),
    "one group": ("--kernel-groups=1", "kernel_groups must be at least 2. Received: kernel_groups=1."),
    "weights unknown": ("--weights=some", "Unknown weights. Received: weights='some'. Use layer, model, or e.g. 2:4."),
    "weights too many": ("--weights=4:4", "Weight: n of m keeps 1 to m - 1. Received: n=4, m=4."),
    "no patterns": ("--patterns=0", "patterns must be at least 1. Received: patterns=0."),
    "strides unknown": ("--strides=1,rows", "Unknown strides. Received: strides='1,rows'. Use e.g. 1,3, or auto,"),
    "stride zero": ("--strides=0,3", "Intra-kernel strides must be positive. Received: strides=(0, 3)."),
    "no strides": ("--strides=", "Intra-kernel strides must be positive. Received: strides=()."),
    "workers without ray": ("--workers=4", "workers must be at least 1, and are Ray's. Received: workers=4 with"),
    "ecosystem unknown": ("--bundle=mbed", "bundle names ecosystems in a tuple, each once. Received: 'mbed'. Use some"),
    "target unknown": ("--target=phone", "Unknown target. Received: target='phone'. Use one of: cpu, micro."),
    "rounding to nothing": ("--round-to=0", "round_to must be at least 1. Received: round_to=0."),
    "no channels": ("--min-channels=0", "min_channels must be at least 1. Received: min_channels=0."),
    "rate not finite": ("--finetune-rate=inf", "finetune_rate must be positive and finite."),
    "seed negative": ("--seed=-1", "seed must be in [0, 2**32). Received: seed=-1."),
    "loss unknown": ("--loss=lozz", "Unknown loss. Received: loss='lozz'. Use a Keras loss, its name, or a fun"),
    "score unknown": (
        "--score=skore",
        "Unknown score. Received: score='skore'. Use 'mcr', 'kl', the name of a Keras l",
    ),
    "score nowhere": ("--score=none_there:x", "No function for the score there. Received: none_there:x: No module n"),
    "loss of other targets": ("--loss=categorical_crossentropy", "does not take the targets and outputs. Received: "),
    "layer to keep unknown": ("--keep=a,nothing", "has no layer to keep by that name. Received: keep='nothing'."),
}


@pytest.mark.parametrize("option, message", OPTIONS.values(), ids=OPTIONS)
def test_bad_option_is_refused_in_one_line(compress, tmp_path, option, message):
    assert message in refusal(compress(option))
    assert tiny.entries(tmp_path) == []


CONTRADICTIONS = {
    "allocation unknown": (
        ("--budget=macs=0.5", "--allocation=luck"),
        "Unknown allocation. Received: allocation='luck'",
    ),
    "floor in percent": (("--budget=macs=0.5", "--floor=25"), "floor must be in [0, 1). Received: floor=25.0."),
    "budgets of one kind": (("--budget=macs=0.5", "--budget=macs=6M"), "Budgets contradict: each kind is named once."),
    "smallest of a sparsity": (("--smallest", "--sparsity=0.5"), "The smallest model has the sparsity that the toler"),
    "project without its files": (
        ("--bundle=zephyr", "--micro=none"),
        "Projects are for microcontrollers. Received: b",
    ),
    "arena that nothing measures": (("--budget=arena=9KiB", "--micro=none"), "The arena is what TFLite Micro uses. Re"),
    "budget of kernels": (
        ("--budget=macs=0.5", "--granularity=kernel"),
        "A budget is allocated to feature maps, or to layers",
    ),
    "budget and sparsity": (
        ("--budget=macs=0.5", "--sparsity=0.5"),
        "A run has a sparsity or a budget. Received: sparsity=0.5 beside budget=",
    ),
    "pull of another method": (
        ("--rho=0.01",),
        "rho is read by method='admm' alone. Received: rho=0.01 with method='search'. Use method='admm', or leave",
    ),
}


@pytest.mark.parametrize("options, message", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradicting_options_are_refused_in_one_line(compress, tmp_path, options, message):
    assert message in refusal(compress(*options))
    assert tiny.entries(tmp_path) == []


@pytest.mark.parametrize("command", ["compress", "sensitivity", "demo", "pack", "unpack"])
def test_out_without_a_name_is_refused_in_one_line(files, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    model, data = [str(files / "good.keras")], ["--data", str(files / "good.npz")]
    given = {"demo": [], "pack": model, "unpack": model}.get(command, model + data)
    assert main([command, *given, "--out", ""]) == 1
    told = "tf-structprune: --out has no name. Received: --out ''. Give the path of what is to be made.\n"
    assert capsys.readouterr() == ("", told)
    assert tiny.entries(tmp_path) == []


INPUTS = {
    "model missing": ({"model": "none.keras"}, "No model file there. Received: "),
    "model truncated": ({"model": "broken.keras"}, "broken.keras is damaged or no Keras 3 model file. Received: 2000"),
    "model of another kind": ({"model": "model.h5"}, "model.h5' is not an HDF5 file."),
    "model subclassed": ({"model": "subclassed.keras"}, "is subclassed (Subclassed): its layers are Python code"),
    "data missing": ({"data": "none.npz"}, "No data file there. Received: "),
    "data text": (
        {"data": "text.npz"},
        "text.npz cannot be read as .npz. Received: BadZipFile: File is not a zip file.",
    ),
    "data a model": ({"data": "good.keras"}, "good.keras lacks x_train, y_train, x_test, y_test."),
    "channel axis missing": ({"data": "flat.npz"}, "Use shape (8, 8, 1) (add the channel axis)."),
    "labels out of range": ({"data": "labels.npz"}, "y_test has labels that the model does not know."),
    "NaN": ({"data": "nan.npz"}, "x_train has 5120 values that are not finite."),
    "labels no classes": (
        {"data": "float.npz"},
        "The task of model 'tiny' does not follow from its output and the targets.",
    ),
    "lengths differ": ({"data": "short.npz"}, "x_train and y_train need the same length, at least 2."),
    "half a validation part": ({"data": "half.npz"}, "half.npz lacks y_val."),
}


@pytest.mark.parametrize("names, message", INPUTS.values(), ids=INPUTS)
def test_bad_input_is_refused_in_one_line(compress, tmp_path, names, message):
    assert message in refusal(compress(**names))
    assert tiny.entries(tmp_path) == []


@pytest.mark.parametrize("place", ["file/out", "file/deep/out"])
def test_unwritable_parent_is_refused(compress, files, place):
    before = tiny.tree(files)
    assert "file' is a file. Choose another directory." in refusal(compress(out=files / place))
    assert tiny.tree(files) == before


@pytest.mark.parametrize(
    "options, message",
    [((), "exists. Choose another, or pass overwrite=True (--overwrite)"), (("--overwrite",), "holds files that no")],
    ids=["plain", "overwrite"],
)
def test_directory_of_the_user_is_left_as_it_was(compress, tmp_path, options, message):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert message in refusal(compress(*options))
    assert tiny.tree(tmp_path) == {"out/thesis.txt": b"mine"}


def test_markup_in_a_message_is_printed_as_it_is(compress):
    assert "[bold]x[/bold].keras" in refusal(compress(model="[bold]x[/bold].keras"))


def test_refusal_names_the_figures_and_keeps_what_was_reached(compress, tmp_path, monkeypatch):
    def retrain(model, *_, **__):
        tiny.forget(model)
        return {"loss": [0.5]}

    monkeypatch.setattr(_job, "retrain", retrain)
    message = refusal(compress("--candidates=1"))
    assert message.startswith("No stage stayed within the tolerance of 1.00 points. Received: validation MCR ")
    assert "feature_map at sparsity 0.5" in message
    assert tiny.entries(tmp_path) == ["out.refused"]


def test_interruption_exits_with_130_and_leaves_only_what_goes_on(compress, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        assert [name for name in tiny.entries(tmp_path) if name.endswith(".partial")]  # it is in the middle
        raise KeyboardInterrupt

    monkeypatch.setattr(_job, "retrain", interrupted)
    status, out, err = compress("--candidates=1")
    assert status == 130 and only_told_before(out)
    assert err == ("tf-structprune: interrupted. What was done so far is kept; the same command goes on from there.\n")
    assert tiny.entries(tmp_path) == [".out.work"]


def test_interruption_that_became_an_error_of_other_code_is_one(compress, tmp_path, monkeypatch):
    def wrapped(*_, **__):
        try:
            signal.raise_signal(signal.SIGTERM)  # a test run in the background is deaf to the other one
        except KeyboardInterrupt:
            raise ValueError("in user code: a shape is None") from None

    monkeypatch.setattr(_job, "retrain", wrapped)
    status, _, err = compress("--candidates=1")
    assert status == 143
    assert err == ("tf-structprune: interrupted. What was done so far is kept; the same command goes on from there.\n")
    assert tiny.entries(tmp_path) == [".out.work"]


def test_error_of_native_code_behind_a_signal_is_an_interruption(capsys, monkeypatch):
    class NativeError(Exception):
        """What has no line of its own."""

    def interrupted(_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise NativeError

    monkeypatch.setitem(_main._COMMANDS, "inspect", interrupted)
    assert main(["inspect", "model.keras"]) == 143
    assert capsys.readouterr().err.startswith("tf-structprune: interrupted. ")


@pytest.mark.sweep
def test_sigterm_leaves_what_an_interruption_leaves_and_exits_with_143(compress, tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(_job, "retrain", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    status, out, err = compress("--candidates=1")
    assert status == 143 and only_told_before(out)
    assert err == ("tf-structprune: interrupted. What was done so far is kept; the same command goes on from there.\n")
    assert tiny.entries(tmp_path) == [".out.work"]
    assert signal.getsignal(signal.SIGTERM) is handler


def test_second_run_on_one_directory_is_refused_in_one_line(compress, tmp_path):
    with staged_directory(tmp_path / "out"):
        assert "out' is being written by another process. Received: a lock on" in refusal(compress())
    assert tiny.entries(tmp_path) == ["out"]


@pytest.fixture(scope="module")
def done(files, tmp_path_factory):
    """The directory of one successful run."""
    return tmp_path_factory.mktemp("done") / "out"


def test_compress_writes_and_prints(compress, done, monkeypatch):
    monkeypatch.setattr(Host, "latencies_us", ByMacs().latencies_us)
    options = "--granularity intra_kernel,kernel --search magnitude --sparsity 0.6 --tolerance 1 --epochs 1 --keep b"
    masks = ("--strides=1,3,9", "--patterns=3", "--kernel-groups=4")
    status, out, _ = compress(
        *options.split(), "--finetune-batch=16", "--augment=flip,shift", "--seed=4", *masks, out=done
    )
    summary = json.loads((done / "summary.json").read_text())
    assert status == 0
    assert [stage["granularity"] for stage in summary["stages"]] == ["intra_kernel", "kernel"]
    assert [stage["search"] for stage in summary["stages"]] == ["magnitude"] * 2
    assert [stage["demands"] for stage in summary["stages"]] == [
        {"strides": [1, 3, 9], "patterns": 3},
        {"groups": 4, "blocks": None},
    ]
    settings = summary["settings"]
    assert (settings["strides"], settings["patterns"], settings["kernel_groups"]) == ([1, 3, 9], 3, 4)
    assert (settings["keep"], settings["augment"], settings["seed"]) == (["b"], ["flip", "shift"], 4)
    assert (settings["epochs"], settings["finetune_batch"], settings["tolerance"]) == (1, 16, 1.0)
    assert (
        "Task: 3 classes, sparse categorical crossentropy, judged by the MCR. Retraining after each stage: 1 " in out
        and " batches of 16." in out
    )
    assert f"{100 * summary['sparsity']:.1f} % of the prunable weights removed" in out
    for side in ("baseline", "compressed"):
        for key in ("parameters", "macs", "float32_bytes", "int8_bytes", "arena_bytes"):
            assert f"{summary[side][key]:,}" in out
        for key in ("accuracy_float", "accuracy_int8"):
            assert f"{100 * summary[side][key]:.2f}" in out
    for table in (summary["memory"]["baseline"], summary["memory"]["compressed"]):
        assert all(f"{table[key]:,}" in out for key in _print._MEMORY_ROWS)
    assert "Memory of the int8 file (bytes)" in out
    if summary["npu"]["compressed"] is None:
        assert f"No NPU estimate: {summary['npu']['reason']}" in out
    else:
        cycles = (summary["npu"][name]["total_cycles"] for name in ("baseline", "compressed"))
        assert "ethos-u55-128, estimated by Vela " in out and " -> ".join(f"{n:,}" for n in cycles) in out
    assert f"Written to {done}\n" in out
    section = summary["multiplications"]
    assert section["note"] in out and "direct / im2col / FFT" in out
    for layer in section["layers"]:
        assert all(f"{layer[way]:,}" in out for way in ("direct", "im2col", "fft"))
    kernel = keras.models.load_model(done / "model.keras").get_layer("b").get_weights()[0]
    assert np.all(kernel != 0)


def test_console_writes_names_as_they_are(capsys):
    name = "[b]conv[/b]:x:[1/2] 'w'"
    console, table = plain_console(), Table("group")
    table.add_row(name)
    console.print(name, table)
    assert capsys.readouterr().out.count(name) == 2


@pytest.mark.sweep
def test_without_labels_the_run_has_the_task_that_is_told(compress, tmp_path):
    np.savez(tmp_path / "unlabelled.npz", **{key: x for key, x in tiny.files().items() if key.startswith("x_")})
    options = "--search magnitude --sparsity 0.3 --tolerance 1 --epochs 1 --finetune-batch 32 --micro none"
    status, out, _ = compress(*options.split(), data=tmp_path / "unlabelled.npz", out=tmp_path / "out")
    assert status == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["task"].startswith("the given model's 3 classes") and f"Task: {summary['task']}." in out
    assert summary["baseline"]["score_float"] == 1


@pytest.mark.sweep
def test_budget_is_told_in_summary_and_print(compress, tmp_path, monkeypatch):
    monkeypatch.setattr(_job, "retrain", lambda *_, **__: {"loss": [0.5]})
    options = "--budget macs=0.6 --allocation greedy --search magnitude --tolerance 1 --epochs 1"
    status, out, _ = compress(*options.split())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    (stage,) = summary["stages"]
    allocation = stage["allocation"]
    assert status == 0
    assert allocation["method"] == "greedy"
    assert allocation["budget"] == {"kind": "macs", "fraction": 0.6, "weight_bits": 8, "limit": None}
    assert summary["settings"]["sparsity"] == allocation["budget"]
    assert allocation["cost_after"] == summary["compressed"]["macs"] <= 0.6 * summary["baseline"]["macs"]
    assert allocation["cost_before"] == summary["baseline"]["macs"]
    assert "macs of at most 60 %, greedy" in out
    for name, kept in allocation["kept"].items():
        (row,) = [line for line in out.splitlines() if line.startswith(f"│ {name} ")]
        assert [cell.strip() for cell in row.split("│")[2:4]] == [str(allocation["units"][name]), str(kept)]


def printed(capsys, **changes):
    """What is printed of a report in which nothing was measured but this."""
    _main._print(dataclasses.replace(reports.EMPTY, **changes), "out")
    return capsys.readouterr().out


def test_floor_that_gave_way_is_printed(capsys):
    stage = reports.FULL.stages[0]
    told = "The budget is not met where every group keeps 25 % of its units: 12.5 % is the floor here."
    for floor in (0.25, 0.125):
        allocation = dataclasses.replace(stage.allocation, floor=floor)
        out = printed(capsys, stages=(dataclasses.replace(stage, allocation=allocation),))
        assert (told in out) == (floor < CompressSettings().floor)


def test_fixed_point_is_printed_with_the_agreement_of_its_files(capsys):
    out = printed(capsys, fixed_point=reports.FIXED_POINT, exact=reports.EXACT)
    assert "4-bit weights, 6-bit signals; validation MCR 25.00 % before retraining, 2.00 % after" in out
    assert "model_fixed.tflite: LiteRT, TFLite Micro and NumPy bit for bit alike on 100 samples" in out
    assert "XNNPACK at most 2 steps apart, the same class on 99.5 %" in out
    assert "Two weights in a byte: 12,345 bytes, TFLM arena 6,789 bytes." in out
    assert "TFLM only: 1,234 bytes, TFLM arena not measured." in out


@pytest.mark.parametrize("tolerance, told", [(0.01, "1.00 points."), ("10%", "10%.")])
def test_tolerance_is_told_as_it_was_given(capsys, tolerance, told):
    settings = dataclasses.replace(reports.FULL.settings, tolerance=tolerance)
    _main._print(dataclasses.replace(reports.FULL, settings=settings), "out")
    assert f"about 1,600 would tell a tolerance of {told}" in capsys.readouterr().out


def test_files_of_no_classifier_are_printed_without_its_class(capsys):
    agreement = dataclasses.replace(reports.EXACT["model_fixed.tflite"], xnnpack_top1=None)
    out = printed(capsys, fixed_point=reports.FIXED_POINT, exact={"model_fixed.tflite": agreement})
    assert "XNNPACK at most 2 steps apart.\n" in out


def test_fixed_point_beyond_the_tolerance_is_told(capsys):
    out = printed(capsys, fixed_point=dataclasses.replace(reports.FIXED_POINT, accepted=False, after=0.5))
    assert "Not reached: fixed point (4-bit weights, 6-bit signals) left a validation MCR of 50.00 %" in out


def test_exceptions_of_a_recipe_are_counted(capsys):
    recipe = FixedPoint(4, 6, layers={"a": LayerBits(), "b*": LayerBits()})
    out = printed(capsys, fixed_point=dataclasses.replace(reports.FIXED_POINT, recipe=recipe))
    assert "4-bit weights, 6-bit signals, exceptions for 2 names;" in out


def options(**changes):
    nothing = dict.fromkeys(("weight_bits", "signal_bits", "shared", "sharing", "entropy", "recipe"))
    return argparse.Namespace(**(nothing | {"power_of_two": False, "per_channel": False} | changes))


def test_recipe_is_that_of_the_options_or_of_the_file(tmp_path):
    assert _main._recipe(options()) is None
    assert _main._recipe(options(signal_bits=5)) == FixedPoint(8, 5, power_of_two=False)
    assert _main._recipe(options(power_of_two=True)) == FixedPoint(8, 8, power_of_two=True)
    few = FixedPoint(8, 8, power_of_two=False, shared=16, sharing="ecsq")
    assert _main._recipe(options(shared=16, sharing="ecsq")) == few
    assert _main._recipe(options(entropy=0.5)) == FixedPoint(8, 8, power_of_two=False, entropy=0.5)
    recipe = FixedPoint(4, 6, layers={"a": LayerBits(2, 8)})
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert _main._recipe(options(recipe=tmp_path / "recipe.json")) == recipe
    with pytest.raises(ValueError, match="--recipe says all about fixed point"):
        _main._recipe(options(recipe=tmp_path / "recipe.json", weight_bits=4))
    with pytest.raises(FileNotFoundError, match="No recipe there. Received: .*missing.json. Write one with"):
        _main._recipe(options(recipe=tmp_path / "missing.json"))
    (tmp_path / "noise.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match="noise.json is no JSON text"):
        _main._recipe(options(recipe=tmp_path / "noise.json"))


def test_memory_and_npu_are_printed_with_both_sides(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    after = dataclasses.replace(reports.MEMORY, weights_bytes=77_777, tflm_arena_bytes=None)
    npu = dataclasses.replace(reports.NPU, total_cycles=1000, cpu_operators={"PACK": 2, "SIN": 1})
    out = printed(capsys, memory=MemoryFigures(reports.MEMORY, after), npu=NpuFigures(reports.NPU, npu, None))
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.count("│") == 4}
    assert "1,000" in rows["flash: weights"] and "77,777" in rows["flash: weights"]
    assert "5,000" in rows["RAM: TFLM arena, measured"] and "not measured" in rows["RAM: TFLM arena, measured"]
    assert "ethos-u55-128, estimated by Vela 5.9: 123,456 -> 1,000 cycles, 246.9 -> 246.9 us at 500 MHz" in out
    assert "operators left on the CPU: 2 PACK, 1 SIN" in out


def test_memory_that_is_not_known_is_left_out_and_a_missing_npu_explained(capsys):
    out = printed(capsys)
    assert "Memory" not in out and "No NPU estimate: a [reason]" in out


def test_packing_is_told(capsys):
    assert "Packed weights: Packed file 1,200 bytes [as" in printed(
        capsys, packing="Packed file 1,200 bytes [as it is]."
    )
    assert "Packed weights" not in printed(capsys)


def test_what_the_libraries_of_projects_lack_is_told(capsys):
    assert "Project for arduino: it has no [DECODE]" in printed(capsys, bundle_notes=("arduino: it has no [DECODE]",))
    assert "Project for" not in printed(capsys)


def test_multiplications_are_printed_only_where_kernels_were_removed(capsys):
    assert "ultiplications" not in printed(capsys)
    out = printed(capsys, multiplications=reports.MULTIPLICATIONS)
    assert "Multiplications of kernel-pruned layers: direct / im2col / FFT" in out and "a [model]" in out
    assert all(text in out for text in ("conv", "1,200 of 2,000", "3,000", "4,000", "5,000"))


def test_former_run_is_replaced_with_overwrite_only_and_an_undone_stage_told(compress, tmp_path, monkeypatch):
    former = tmp_path / "out"
    with staged_directory(former) as staged:
        (staged / "summary.json").write_text("{}")
    fates = iter([lambda model: None, tiny.forget])

    def retrain(model, *_, **__):
        next(fates)(model)
        return {"loss": [0.5]}

    monkeypatch.setattr(_job, "retrain", retrain)
    before = tiny.tree(former)
    assert "exists. Choose another" in refusal(compress(out=former))
    assert tiny.tree(former) == before
    options = "--overwrite --granularity kernel,intra_kernel --tolerance 0.3 --sparsity 0.1 --search magnitude"
    status, out, _ = compress(*options.split(), out=former)
    assert status == 0
    summary = json.loads((former / "summary.json").read_text())
    assert [stage["accepted"] for stage in summary["stages"]] == [True, False]
    assert tiny.entries(former.parent) == ["out"]
    undone = summary["stages"][1]
    assert f"Not reached: intra_kernel at sparsity {undone['sparsity']:.3f} left a validation MCR of " in out
    assert f"{100 * undone['mcr_after_retraining']:.2f} %, beyond the tolerance; it was undone." in out


def inspect(capsys, path, *options):
    capsys.readouterr()
    return (main(["inspect", str(path), *options]), *capsys.readouterr())


def test_inspect_names_layers_groups_and_reasons(files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # so that no cell of the table is wrapped
    status, out, err = inspect(capsys, files / "good.keras")
    assert (status, err) == (0, "")
    model = tiny.trained()
    assert f"tiny: {model.count_params():,} parameters" in out
    for layer, shape in {"first": "3x3x1x6", "a": "3x3x6x8", "b": "3x3x8x8", "hidden": "128x12"}.items():
        assert any(layer in line and shape in line for line in out.splitlines())
    assert "no: it is the first convolution" in out
    assert "no: it is the last layer with a kernel" in out
    assert "group a: 8 channels of a -> b (may go)" in out
    assert "group classifier: 3 channels of classifier -> no kernel (kept: " in out


def test_inspect_shows_what_was_asked_to_stay_or_go(files, capsys):
    status, out, _ = inspect(capsys, files / "good.keras", "--keep=hid*", "--prune-first")
    assert status == 0
    assert "group first: 6 channels of first -> a (may go)" in out
    (line,) = [line for line in out.splitlines() if line.startswith("  hidden: ")]
    assert "hidden was named in keep" in line


def test_inspect_tells_what_weights_take_in_each_format(files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = inspect(capsys, files / "good.keras", "--storage")
    assert status == 0
    title, rows = out[out.index("Bytes of the weights") :], keras.models.load_model(files / "good.keras").weights
    assert all(name in title for name in ("entropy", "csc", "sham", "gaps", "bound of gaps"))
    for variable in rows:
        shown = [line for line in title.splitlines() if line.startswith(f"│ {variable.path} ")]
        assert len(shown) == (len(variable.shape) > 1)
        if shown:
            cells = [cell.strip().replace(",", "") for cell in shown[0].split("│")[3:-1]]
            assert int(cells[0]) == 4 * np.prod(variable.shape)
            assert int(cells[1]) <= int(cells[-2]) <= int(cells[-1])


def test_pack_and_unpack_inside_a_tflite(tmp_path, capsys):
    whole, packed, back = (tmp_path / f"{name}.tflite" for name in ("whole", "packed", "back"))
    whole.write_bytes(packing.drawn("pruned").data)
    assert main(["pack", str(whole), "--out", str(packed), "--pack", "bitmap"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"Packed file {packed.stat().st_size:,} bytes" in told and "8,500" in told
    assert main(["unpack", str(packed), "--out", str(back)]) == 0
    assert back.read_bytes() == whole.read_bytes()
    assert main(["pack", str(whole), "--out", str(back), "--pack", "bitmap"]) == 1
    assert "back.tflite exists" in " ".join(capsys.readouterr().err.split())
    assert main(["pack", str(whole), "--out", str(tmp_path / "other.tflite"), "--pack", "zip"]) == 1
    assert "pack must be 'auto', 'huffman', 'bitmap', 'lut', 'own'. Received: pack='zip'" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.tflite", "packed.tflite", "whole.tflite"]


def test_pack_and_unpack(files, tmp_path, capsys):
    packed, back = tmp_path / "m.sham", tmp_path / "back.keras"
    assert main(["pack", str(files / "good.keras"), "--out", str(packed)]) == 0
    told = capsys.readouterr().out.replace("\n", "")
    assert told.startswith(f"{packed}: {packed.stat().st_size:,} bytes, ")
    assert main(["unpack", str(packed), "--out", str(back)]) == 0
    one, other = (keras.models.load_model(file) for file in (files / "good.keras", back))
    for weight, again in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, again)
    assert main(["unpack", str(packed), "--out", str(back)]) == 1
    assert "back.keras exists. Received: overwrite=False." in " ".join(capsys.readouterr().err.split())
    assert main(["unpack", str(packed), "--out", str(back), "--overwrite"]) == 0


def test_inspect_names_a_layer_it_does_not_know(tmp_path, capsys):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, name="stem")(inputs)
    x = Doubled(name="doubled")(keras.layers.Conv2D(5, 3, name="body")(x))
    keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)), name="odd").save(tmp_path / "odd.keras")
    status, out, _ = inspect(capsys, tmp_path / "odd.keras")
    assert status == 0
    (line,) = [line for line in out.splitlines() if line.startswith("  doubled: ")]
    assert "Doubled" in line


def test_inspect_says_the_same_of_a_layer_and_of_its_channels(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(5, 3, name="body")(keras.layers.Conv2D(4, 3, name="stem")(inputs))
    x = keras.layers.DepthwiseConv2D(3, name="each")(x)
    x = keras.layers.Conv2D(6, 1, activation="softmax", name="mixed")(x)
    outputs = keras.layers.Conv2D(2, 1, name="image")(x)
    keras.Model(inputs, outputs, name="dense_task").save(tmp_path / "task.keras")
    status, out, _ = inspect(capsys, tmp_path / "task.keras")
    table = {line.split()[1]: line for line in out.splitlines() if "Conv2D" in line}
    assert status == 0 and "classifier" not in out
    assert table["body"].rstrip(" |\u2502").endswith("yes")
    assert "not its channels, only kernels: the activation 'softmax' of mixed mixes channels" in table["mixed"]
    assert "no: it is the last layer with a kernel" in table["image"]
    assert "keep_first=False (--prune-first on the command line)" in out


BAD_MODELS = {
    "missing": ("none.keras", "No model file there. Received: "),
    "truncated": ("broken.keras", "is damaged or no Keras 3 model file."),
    "another kind": ("model.h5", "model.h5' is not an HDF5 file."),
    "subclassed": ("subclassed.keras", "is subclassed (Subclassed): its layers are Python code"),
    "data": ("good.npz", "is not a .keras or .h5 file. Received: suffix '.npz'."),
}


@pytest.mark.parametrize("name, message", BAD_MODELS.values(), ids=BAD_MODELS)
def test_inspect_refuses_in_one_line(files, capsys, name, message):
    assert message in refusal(inspect(capsys, files / name))


@pytest.mark.parametrize("options, message", [(["--seed=-1"], "seed must be in [0, 2**32)."), ([], "exists.")])
def test_demo_refuses_before_it_trains(tmp_path, capsys, options, message):
    if not options:
        (tmp_path / "out").mkdir()
    before = tiny.entries(tmp_path)
    status = main(["demo", "--out", str(tmp_path / "out"), *options])
    assert message in refusal((status, *capsys.readouterr()))
    assert tiny.entries(tmp_path) == before


USAGE = {
    "no command": ([], "the following arguments are required: COMMAND"),
    "unknown command": (["prune"], "invalid choice: 'prune'"),
    "demo without a place": (["demo"], "the following arguments are required: --out"),
    "compress without data": (["compress", "m.keras", "--out", "o"], "the following arguments are required: --data"),
    "compress without a place": (["compress", "m.keras", "--data", "d.npz"], "arguments are required: --out"),
    "inspect without a model": (["inspect"], "the following arguments are required: MODEL"),
    "sparsity no number": (
        ["compress", "m", "--data", "d", "--out", "o", "--sparsity", "half"],
        "argument --sparsity: invalid float value: 'half'",
    ),
    "epochs no whole number": (
        ["compress", "m", "--data", "d", "--out", "o", "--epochs", "1.5"],
        "argument --epochs: invalid int value: '1.5'",
    ),
    "unknown option": (["inspect", "m.keras", "--colour"], "unrecognized arguments: --colour"),
    "shortened option": (
        ["compress", "m.keras", "--data=d", "--out=o", "--epoch=3"],
        "unrecognized arguments: --epoch=3",
    ),
}


@pytest.mark.parametrize("arguments, message", USAGE.values(), ids=USAGE)
def test_wrong_usage_exits_with_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


DEMANDS = {
    "by default": ([], ("auto", "auto", "auto")),
    "counts": (["--kernel-groups=4", "--strides", "1, 3", "--patterns", "2"], (4, (1, 3), 2)),
    "one stride": (["--strides=3"], ("auto", (3,), "auto")),
    "words": (["--kernel-groups=any", "--strides=columns", "--patterns=any"], ("any", "columns", "any")),
    "left to the settings to refuse": (["--kernel-groups=-4", "--strides=1,x", "--patterns=2.5"], (-4, "1,x", "2.5")),
}


def parsed(*options):
    return make_parser().parse_args(["compress", "m.keras", "--data=d.npz", "--out=o", *options])


@pytest.mark.parametrize("options, values", DEMANDS.values(), ids=DEMANDS)
def test_demands_of_masks_are_counts_or_words(options, values):
    given = {"kernel_groups": "auto", "strides": "auto", "patterns": "auto"} | vars(parsed(*options))
    assert (given["kernel_groups"], given["strides"], given["patterns"]) == values


def test_options_are_read_as_the_settings_declare_them():
    declared = dataclasses.fields(CompressSettings)
    assert [(field.name, field.default) for field in compress_fields()] == [
        (field.name, field.default) for field in declared
    ]
    assert all(field.told for field in compress_fields())


def test_no_options_are_the_settings_by_default():
    assert _main._settings(parsed()) == CompressSettings()


def test_every_setting_has_an_option():
    options = """--sparsity=0.25 --granularity=kernel,intra_kernel --kernel-groups=4 --strides=1,3 --patterns=any
        --weights=2:4 --search=random --candidates=9 --finalists=2 --tolerance=0.1 --epochs=3 --finetune-batch=8
        --optimizer=muon --finetune-rate=auto --early-end --distill=0.7
        --augment=flip,shift --keep=a*,b --prune-first --prune-last --round-to=8
        --min-channels=2 --lower=none --target=micro --io=uint8 --names --micro=none --min-validation=7
        --calibration=minmax --executor=ray --workers=3 --weight-bits=4 --seed=5 --reconstruct=statistics"""
    settings = _main._settings(parsed(*options.split()))
    assert settings == CompressSettings(
        sparsity=0.25,
        granularity=("kernel", "intra_kernel"),
        kernel_groups=4,
        strides=(1, 3),
        patterns="any",
        weights="2:4",
        search="random",
        candidates=9,
        finalists=2,
        reconstruct="statistics",
        tolerance=0.1,
        epochs=3,
        finetune_batch=8,
        optimizer="muon",
        finetune_rate="auto",
        early_end=True,
        distill=0.7,
        augment=("flip", "shift"),
        keep=("a*", "b"),
        keep_first=False,
        keep_last=False,
        round_to=8,
        min_channels=2,
        min_validation=7,
        lower="none",
        target="micro",
        micro="none",
        calibration="minmax",
        io="uint8",
        names=True,
        executor="ray",
        workers=3,
        fixed_point=FixedPoint(4, 8, power_of_two=False),
        seed=5,
    )
    budget = _main._settings(parsed("--budget=macs=0.5", "--allocation=uniform", "--floor=0.1"))
    assert budget == CompressSettings(sparsity=Budget("macs", 0.5), allocation="uniform", floor=0.1)
    several = _main._settings(parsed("--smallest", "--budget=macs=6M", "--budget=arena=30KiB"))
    budgets = Budget("macs", limit=6e6), Budget("arena", limit=30 * 1024)
    assert several == CompressSettings(sparsity=budgets, smallest=True)
    packed = _main._settings(parsed("--pack=huffman", "--bundle=esp-idf,zephyr"))
    assert packed == CompressSettings(pack="huffman", bundle=("esp-idf", "zephyr"))
    pulled = _main._settings(parsed("--method=admm", "--rho=0.01"))
    assert pulled == CompressSettings(method="admm", rho=0.01)
    asked_for = (settings, budget, several, packed, pulled)
    assert all(any(getattr(one, field.name) != field.default for one in asked_for) for field in compress_fields())


HELP = {
    "all": ([], ("demo", "compress", "inspect", "sensitivity", "examples:", "tf-structprune demo --out")),
    "demo": (["demo"], ("--out DIR", "--overwrite", "--seed", "--verbose", "digits")),
    "inspect": (["inspect"], ("MODEL", "--verbose", "what can go and what not")),
    "compress": (
        ["compress"],
        (
            *("MODEL", "--data DATA", "--out DIR", "--sparsity", "--granularity", "--search", "--candidates"),
            *("--tolerance", "--epochs", "--finetune-batch", "--finetune-rate", "--distill", "--augment", "--keep"),
            *("--round-to N", "--min-channels N", "--lower auto|none", "--target cpu|micro", "--names"),
            *("--min-validation N", "quantization-aware training", "--loss NAME|MODULE:FUNCTION", "--score NAME|"),
            *("--executor local|ray", "--workers N"),
            *("--kernel-groups N|auto|any", "--strides N[,N...]|columns|auto|any", "--patterns N|auto|any"),
            *("--budget KIND=AMOUNT", "--smallest", "arena=30KiB"),
            *("--prune-first", "--seed", "--overwrite", "--verbose", "x_train, y_train, x_test, y_test"),
            *("feature_map, kernel, intra_kernel", "best_of_n, particle_filter, evolutionary, activation_vote"),
        ),
    ),
}


@pytest.mark.parametrize("command, words", HELP.values(), ids=HELP)
def test_help_is_complete_and_exits_with_0(capsys, command, words):
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [word for word in words if word not in text] == []


def test_help_shows_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["compress", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for default in (
        "in [0, 1) (default: 0.5)",
        "or refused (default: 0.01)",
        "if not given 10, or on small data as many as make 500 steps",
    ):
        assert default in text


def test_help_speaks_of_options_and_not_of_python(capsys):
    with pytest.raises(SystemExit):
        main(["compress", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "with --lower none, any" in out and "with --executor ray, processes" in out and "`" not in out


_ALONE = """
import sys
sys.modules["keras"] = sys.modules["tensorflow"] = sys.modules["numpy"] = None
from tf_structprune_cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("arguments, status", [(["compress", "--help"], 0), (["compress", "m", "--epochs=x"], 2)])
def test_help_and_wrong_usage_need_no_library(arguments, status):
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
