"""A run says what it does, and how far it is; nothing if that is not wanted."""

import contextlib
import io
import re
import time

import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tflite_export.compress import _progress as progress_module
from tflite_export.compress import compress
from tflite_export.compress._progress import EpochLines, Progress

ASKED = {"sparsity": 0.3, "candidates": 2, "epochs": 2, "tolerance": 1.0, "micro": "none"}


def heard():
    """What is written to stderr within the block, which is no terminal."""
    return contextlib.redirect_stderr(io.StringIO())


def test_each_step_and_epoch_has_a_line(tmp_path):
    with heard() as stderr:
        compress(tiny.trained(), tiny.data(), tmp_path / "out", verbose=1, **ASKED)
    lines = [line for line in stderr.getvalue().splitlines() if not line.startswith("...")]
    wanted = (
        r"Given model: validation MCR 0\.00 %",
        r"Integer file of the given model, int8: validation MCR [\d.]+ %",
        r"stage_1: epoch 1 of 2: accuracy \S+, loss \S+, val_accuracy \S+, val_loss \S+; best val_loss \S+ "
        r"in epoch 1; \d+ s left",
        r"stage_1: epoch 2 of 2: .*; best val_loss \S+ in epoch \d",
        r"Stage 1, feature_map at sparsity 0\.3\d: accepted, validation MCR [\d.]+ %, before retraining [\d.]+ %",
        r"Integer file of the pruned model, int8: validation MCR [\d.]+ %",
    )
    assert len(lines) == len(wanted)
    for line, pattern in zip(lines, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.sweep
def test_nothing_is_told_unasked(tmp_path, capfd):
    compress(tiny.trained(), tiny.data(), tmp_path / "out", **ASKED)
    assert capfd.readouterr().out == ""


def test_what_takes_long_is_told_again_and_again(monkeypatch):
    monkeypatch.setattr(progress_module, "_SILENCE_S", 0)
    monkeypatch.setattr(progress_module, "_BEAT_S", 0.01)
    with heard() as stderr, Progress(shown=True) as progress:
        progress.doing("counts sheep")
        while stderr.getvalue().count("counts sheep") < 2:
            time.sleep(0.01)
        progress.line("slept")
    lines = stderr.getvalue().splitlines()
    assert "slept" in lines and lines[-1] in ("slept", "... counts sheep, 0 s")
    ended = stderr.getvalue()
    time.sleep(0.05)
    assert stderr.getvalue() == ended  # nothing behind the end


def test_error_ends_the_telling():
    with heard(), pytest.raises(KeyError), Progress(shown=True) as progress:
        raise KeyError
    assert not progress._thread.is_alive()


def test_best_epoch_is_told_also_where_it_is_not_the_last():
    told = []

    class Heard(Progress):
        def line(self, text):
            told.append(text)

    lines = EpochLines(Heard(shown=False), "stage_1")
    lines.set_params({"epochs": 3, "steps": 1})
    lines.on_train_begin()
    for epoch, loss in enumerate([0.5, 0.25, np.nan]):
        lines.on_epoch_begin(epoch)
        lines.on_train_batch_end(0)
        lines.on_epoch_end(epoch, {"val_loss": loss, "learning_rate": 1.0})
    assert [re.search("; best .*?(?=;|$)", line)[0] for line in told] == [
        "; best val_loss 0.5 in epoch 1",
        "; best val_loss 0.25 in epoch 2",
        "; best val_loss 0.25 in epoch 2",
    ]
    assert not any("learning_rate" in line for line in told)


def test_search_tells_how_far_it_is():
    from tf_structprune.layers import wrap
    from tf_structprune.search import BestOfN
    from tf_structprune.stages import find_masks
    from tf_structprune.task import Validation, as_score

    told = []
    data = tiny.data()
    masked = wrap(tiny.fresh())
    validation = Validation(data.x_val, data.y_val, as_score("mcr"))
    find_masks(masked, "feature_map", 0.4, search=BestOfN(3), validation=validation, verbose=told.append)
    assert re.fullmatch(
        r"search feature_map masks, sparsity 0\.40: 3 candidates scored, best MCR [\d.]+ %, \d+ samples", told[-1]
    )
