"""The command `sensitivity`: what it writes and prints, and what it leaves when it is stopped or refuses."""

import json

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.tflite_export.compress import tiny
from tf_structprune.sensitivity import _plot
from tf_structprune.task import Validation
from tf_structprune_cli import main

WORDS = ("--weight-bits=2,8", "--signal-bits=3", "--samples=20")
FILES = [".tf_structprune.json", "recipe.json", "sensitivity.json", "sensitivity.md", "sensitivity.png"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model and data."""
    folder = tmp_path_factory.mktemp("files")
    tiny.trained().save(folder / "good.keras")
    np.savez(folder / "good.npz", **tiny.files())
    np.savez(folder / "flat.npz", **{**tiny.files(), "x_train": tiny.files()["x_train"][..., 0]})
    return folder


@pytest.fixture
def run(files, tmp_path, capsys):
    """Runs the command and gives exit status, stdout and stderr."""

    def run(*options, model="good.keras", data="good.npz"):
        capsys.readouterr()
        given = (str(files / model), "--data", str(files / data), "--out", str(tmp_path / "out"), *WORDS, *options)
        return (main(["sensitivity", *given]), *capsys.readouterr())

    return run


def refusal(result):
    """The message of a run that was refused with one line."""
    status, out, err = result
    assert (status, out) == (1, "")
    assert err.startswith("tf-structprune: ") and err.count("\n") == 1
    return err.removeprefix("tf-structprune: ").strip()


def test_results_are_written_and_printed(run, files, tmp_path):
    status, out, err = run("--tolerance=1", "--free-steps", "--per-channel")
    assert (status, err) == (0, "")
    assert tiny.entries(tmp_path) == ["out"]
    assert tiny.entries(tmp_path / "out") == FILES
    report = sp.SensitivityReport.from_json((tmp_path / "out" / "sensitivity.json").read_text())
    recipe = sp.FixedPoint.from_json((tmp_path / "out" / "recipe.json").read_text())
    assert recipe == report.allocate(tolerance=1.0)
    assert (report.metric.name, recipe.power_of_two, recipe.per_channel) == ("MCR", False, True)
    assert {row.bits for row in report.rows if row.part == "weights"} == {2, 8}
    assert {row.layer for row in report.rows if row.part == "weights"} == {"first", "a", "b", "hidden", "classifier"}
    assert sp.to_fixed_point(keras.models.load_model(files / "good.keras", compile=False), recipe)
    expected = f"Loss expected, the sum of the layers': {100 * report.expected_loss(recipe):.2f} points."
    text = (tmp_path / "out" / "sensitivity.md").read_text()
    assert text.startswith(report.table())
    for line in (expected, "Loss measured with the recipe as a whole: ", "Weights: 659 bytes, of 10,536 in float32."):
        assert line in " ".join(out.split()) and line in text
    assert f"Written to {tmp_path / 'out'}\n" in out


OTHER_TASKS = {
    "labels": (
        3,
        "sigmoid",
        "binary_crossentropy",
        lambda y: (y[:, None] <= np.arange(3)).astype("float32"),
        "error a label",
    ),
    "regression": (1, "linear", "mean_squared_error", lambda y: y[:, None] * 0.5 - 0.2, "mean_squared_error"),
}


@pytest.mark.parametrize("outputs, activation, loss, targets, metric", OTHER_TASKS.values(), ids=OTHER_TASKS)
def test_every_task_is_measured_by_its_own_score(run, files, tmp_path, outputs, activation, loss, targets, metric):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="first")(inputs)
    x = keras.layers.Dense(outputs, activation=activation, name="last")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    model.compile("adam", loss, jit_compile=False)
    data = {name: targets(part) if name[0] == "y" else part for name, part in tiny.files().items()}
    model.fit(data["x_train"], data["y_train"], verbose=0)
    model.save(files / "other.keras")
    np.savez(files / "other.npz", **data)
    status, _, err = run("--tolerance=1", model="other.keras", data="other.npz")
    assert (status, err) == (0, "")
    report = sp.SensitivityReport.from_json((tmp_path / "out" / "sensitivity.json").read_text())
    assert report.metric.name == metric
    assert report.rows and all(np.isfinite(row.score) for row in report.rows)


@pytest.mark.sweep
def test_stopped_command_says_where_it_goes_on_and_ends_the_same(run, tmp_path, monkeypatch):
    assert run()[0] == 0
    whole = tiny.tree(tmp_path / "out")
    calls, score = [], Validation.of

    def stopped(self, model):
        calls.append(model)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return score(self, model)

    monkeypatch.setattr(Validation, "of", stopped)
    status, out, err = run("--overwrite")
    cache = tmp_path / "out.cache.jsonl"
    assert (status, out) == (130, "")
    assert (
        err == f"tf-structprune: interrupted. The scores so far are in {cache}; the same command goes on from there.\n"
    )
    assert tiny.entries(tmp_path) == ["out", "out.cache.jsonl"]
    assert tiny.tree(tmp_path / "out") == whole
    cache.write_bytes(cache.read_bytes()[:-3])
    calls[:] = [None] * 5
    assert run("--overwrite")[0] == 0
    rows = len(json.loads(whole["sensitivity.json"])["rows"])
    assert len(calls) - 5 == rows + 2 - 3  # all rows, the float and the whole recipe, but for three that were kept
    assert tiny.entries(tmp_path) == ["out"]
    assert tiny.tree(tmp_path / "out") == whole


def test_limit_that_cannot_be_kept_leaves_the_scores(run, tmp_path, monkeypatch):
    message = refusal(run("--size-bytes=600"))
    assert message.startswith(
        "The weights do not fit. Received: size_bytes=600, and in the shortest words they take 659"
    )
    assert message.endswith(
        f"The scores are kept in {tmp_path / 'out.cache.jsonl'}, so that another limit takes seconds."
    )
    assert tiny.entries(tmp_path) == ["out.cache.jsonl"]
    score, calls = Validation.of, []
    monkeypatch.setattr(Validation, "of", lambda self, model: calls.append(model) or score(self, model))
    status, out, _ = run("--size-bytes=700")
    assert (status, len(calls)) == (0, 1)  # the recipe as a whole
    assert tiny.entries(tmp_path) == ["out"]
    recipe = sp.FixedPoint.from_json((tmp_path / "out" / "recipe.json").read_text())
    assert recipe.power_of_two and not recipe.per_channel


def test_recipe_beyond_the_tolerance_is_told(run, tmp_path, monkeypatch):
    scores = iter([-0.5] * 16 + [-0.7])  # the float, 10 + 6 rows less one, the recipe
    monkeypatch.setattr(Validation, "of", lambda self, model: next(scores, -0.7))
    _, out, _ = run("--tolerance=0.1")
    told = "Beyond the tolerance of 10.00 points: the losses do not add up here."
    assert told in " ".join(out.split()) and told in (tmp_path / "out" / "sensitivity.md").read_text()


BAD = {
    "model missing": ({"model": "none.keras"}, (), "No model file there. Received: "),
    "data missing": ({"data": "none.npz"}, (), "No data file there. Received: "),
    "channel axis missing": ({"data": "flat.npz"}, (), "Use shape (8, 8, 1) (add the channel axis)."),
    "one bit": ({}, ("--weight-bits=1",), "weight_bits: bits of a signed word must be from 2 to 8. Received: bits=1."),
    "two bits": ({}, ("--signal-bits=2",), "signal_bits: bits of an unsigned word must be from 3 to 8. Received"),
    "no samples": ({}, ("--samples=0",), "samples must be at least 1. Received: samples=0."),
    "tolerance in percent": ({}, ("--tolerance=2",), "tolerance must be in [0, 1]. Received: tolerance=2.0."),
    "no bytes": ({}, ("--size-bytes=0",), "size_bytes must be positive. Received: size_bytes=0."),
    "seed negative": ({}, ("--seed=-1",), "seed must be in [0, 2**32). Received: seed=-1."),
}


@pytest.mark.parametrize("names, options, message", BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line(run, tmp_path, names, options, message):
    assert message in refusal(run(*options, **names))
    assert tiny.entries(tmp_path) == []


def test_directory_that_exists_is_refused_before_the_sweep(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert "exists. Choose another" in refusal(run())
    assert "holds files that no export wrote: thesis.txt" in refusal(run("--overwrite"))
    assert tiny.tree(tmp_path) == {"out/thesis.txt": b"mine"}


def test_file_of_the_user_in_the_place_of_the_cache_is_refused(run, tmp_path):
    (tmp_path / "out.cache.jsonl").write_text("mine\n")
    assert "out.cache.jsonl is no cache of a sensitivity sweep." in refusal(run())
    assert tiny.tree(tmp_path) == {"out.cache.jsonl": b"mine\n"}


def test_missing_matplotlib_is_found_before_the_sweep(run, tmp_path, monkeypatch):
    monkeypatch.setattr(_plot.importlib.util, "find_spec", lambda name: None)
    assert "Install tf-structprune[plot]." in refusal(run())
    assert tiny.entries(tmp_path) == []


USAGE = {
    "both limits": (
        ("--tolerance=0.1", "--size-bytes=9"),
        "argument --size-bytes: not allowed with argument --tolerance",
    ),
    "both steps": (
        ("--power-of-two", "--free-steps"),
        "argument --free-steps: not allowed with argument --power-of-two",
    ),
    "words no numbers": (("--weight-bits=2,x",), "argument --weight-bits: invalid"),
}


@pytest.mark.parametrize("options, message", USAGE.values(), ids=USAGE)
def test_wrong_usage_exits_with_2(run, capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        run(*options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["sensitivity", "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    options = "--data DATA|--out DIR|--weight-bits B[,B...]|--signal-bits B[,B...]|--power-of-two|--free-steps"
    options += "|--per-channel|--tolerance T|--size-bytes N|--samples N|--seed|--overwrite|--verbose|OUT.cache.jsonl"
    assert [option for option in options.split("|") if option not in text] == []
    assert "(default: 0.01)" in text and "None" not in text
