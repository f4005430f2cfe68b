"""What is kept makes up for what is removed, also where nothing is retrained and nothing has a label."""

import keras
import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tflite_export.compress import compress, load_model

PRUNED = {"sparsity": 0.4, "search": "least_squares", "epochs": 0, "tolerance": 0.5, "lower": "none"}


def compressed(folder, data=None, **options):
    """The report of a run, its model, and how far that is from the given one, relative."""
    dense, data = tiny.trained(), tiny.data() if data is None else data
    given = {**PRUNED, **options}
    if "budget" in given:
        del given["sparsity"]
    report = compress(dense, data, folder, **given)
    small, x = load_model(folder / "model.keras"), tiny.data().x_test
    wanted = dense.predict(x, verbose=0)
    return report, small, float(np.abs(small.predict(x, verbose=0) - wanted).mean() / np.abs(wanted).mean())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {mode: compressed(tmp_path_factory.mktemp(mode) / "out", reconstruct=mode) for mode in ("none", "full")}


def test_nothing_is_trained_and_less_is_lost(runs):
    (cut, _, far), (solved, _, near) = runs["none"], runs["full"]
    assert near < 0.7 * far
    assert solved.stages[0].before <= cut.stages[0].before
    for report in (cut, solved):
        assert report.settings.epochs == 0
        (stage,) = report.stages
        assert stage.after == stage.before


def test_labels_are_not_needed(tmp_path):
    data = {name: array for name, array in vars(tiny.data()).items() if name.startswith("x_")}
    report, _, near = compressed(tmp_path / "out", data, tolerance=1.0)
    assert near < 0.5
    assert report.compressed.int8_bytes < report.baseline.int8_bytes


def test_budget_follows_the_path_of_least_squares(tmp_path):
    report, small, _ = compressed(tmp_path / "out", budget="macs=0.6", allocation="least_squares")
    (stage,) = report.stages
    assert stage.allocation.method == "least_squares"
    assert report.compressed.macs <= 0.6 * report.baseline.macs
    assert isinstance(small, keras.Model)
