"""The command `sensitivity --int8`: what it writes and prints, and what it refuses."""

import numpy as np
import pytest

import tf_structprune as sp
from tests.tflite_export.compress import tiny
from tests.tflite_export.sensitivity.int8_models import spread
from tf_structprune_cli import main
from tflite_export.sensitivity import Int8Sensitivity, _scorer

FILES = [".tf_structprune.json", "sensitivity_int8.json", "sensitivity_int8.md", "sensitivity_int8.png"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a model of which one layer is spoilt, one in fixed point, and data."""
    folder = tmp_path_factory.mktemp("files")
    spread(tiny.fresh()).save(folder / "spoilt.keras")
    sp.to_fixed_point(tiny.trained(), sp.FixedPoint(8, 8)).save(folder / "fixed.keras")
    np.savez(folder / "good.npz", **tiny.files())
    return folder


@pytest.fixture
def run(files, tmp_path, capsys):
    """Runs the command and gives exit status, stdout and stderr."""

    def run(*options, model="spoilt.keras"):
        capsys.readouterr()
        given = (str(files / model), "--data", str(files / "good.npz"), "--out", str(tmp_path / "out"), *options)
        return (main(["sensitivity", "--int8", *given]), *capsys.readouterr())

    return run


def test_stopped_command_goes_on_and_names_the_spoilt_layer_and_its_remedy(run, tmp_path, monkeypatch):
    score, calls = _scorer.Int8Scorer.score, []

    def stopped(self, outputs):
        calls.append(outputs)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(self, outputs)

    monkeypatch.setattr(_scorer.Int8Scorer, "score", stopped)
    status, out, err = run("--samples=20")
    assert (status, out) == (130, "") and "the same command goes on from there" in err
    assert tiny.entries(tmp_path) == ["out.cache.jsonl"]
    status, out, err = run("--samples=20")
    assert (status, err) == (0, "")
    assert tiny.entries(tmp_path) == ["out"] and tiny.entries(tmp_path / "out") == FILES
    report = Int8Sensitivity.from_json((tmp_path / "out" / "sensitivity_int8.json").read_text())
    assert (report.ranked[0].layer, report.ranked[0].remedy) == ("b", "equalize")
    text = (tmp_path / "out" / "sensitivity_int8.md").read_text()
    assert text.startswith(report.table())
    for line in report.summary():
        assert line in " ".join(out.split()) and line in text
    assert out.endswith(f"Written to {tmp_path / 'out'}\n")


BAD = {
    "words": (("--weight-bits=8",), "Received: --weight-bits beside it. Leave out one or the other."),
    "words of signals": (("--signal-bits=8",), "Received: --signal-bits beside it."),
    "steps": (("--power-of-two",), "Received: --power-of-two or --free-steps beside it."),
    "steps and channels": (("--free-steps", "--per-channel"), "--free-steps, --per-channel beside it."),
    "size": (("--size-bytes=900",), "Received: --size-bytes beside it."),
}


@pytest.mark.parametrize("options, message", BAD.values(), ids=BAD)
def test_options_of_fixed_point_are_refused_in_one_line(run, tmp_path, options, message):
    status, out, err = run(*options)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("tf-structprune: --int8 measures the file as TensorFlow makes it") and message in err
    assert tiny.entries(tmp_path) == []


def test_model_in_fixed_point_is_refused_in_one_line(run, tmp_path):
    status, out, err = run(model="fixed.keras")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "is in fixed point already: its file has its own grids." in err
    assert tiny.entries(tmp_path) == []
