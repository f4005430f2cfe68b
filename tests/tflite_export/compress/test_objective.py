"""A run with a loss and a score of one's own: the tolerance is about it, and it trains with it."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from tests.tflite_export.compress import tiny
from tflite_export.compress import CompressReport, CompressSettings, RefusedError, compress, objective_of
from tflite_export.compress._work import fingerprint
from tflite_export.devices import HOST

ASKED = {"sparsity": 0.3, "search": "magnitude", "epochs": 1, "finetune_batch": 32, "micro": "none", "lower": "none"}


def rows():
    """The data with one-hot rows."""
    data = tiny.data()
    names = ("y_train", "y_val", "y_test")
    return dataclasses.replace(data, **{name: np.eye(tiny.CLASSES)[getattr(data, name)] for name in names})


class Recall(keras.metrics.Metric):
    """Share of the samples of class 1 that are found; of one-hot rows."""

    def __init__(self):
        super().__init__(name="recall_of_1")
        self.found, self.all = (self.add_weight(name=name, initializer="zeros") for name in ("found", "all"))

    def update_state(self, y_true, y_pred, sample_weight=None):
        wanted = keras.ops.cast(y_true, "float32")[:, 1]
        found = keras.ops.cast(keras.ops.argmax(y_pred, axis=-1) == 1, "float32")
        self.found.assign_add(keras.ops.sum(wanted * found))
        self.all.assign_add(keras.ops.sum(wanted))

    def result(self):
        return self.found / self.all


LOSSES = []


def smooth(y, found):
    """Cross-entropy of smoothed rows, shape (samples,)."""
    LOSSES.append(tuple(y.shape))
    y = 0.9 * keras.ops.cast(y, found.dtype) + 0.1 / tiny.CLASSES
    return -keras.ops.sum(y * keras.ops.log(keras.ops.clip(found, 1e-6, 1.0)), axis=-1)


def test_report_is_about_the_score_and_training_about_the_loss(tmp_path):
    LOSSES.clear()
    report = compress(tiny.trained(), rows(), tmp_path / "out", loss=smooth, score=Recall(), tolerance=1.0, **ASKED)
    assert report.task == "3 classes, smooth, judged by the recall_of_1"
    assert report.metric.name == report.figure.name == "recall_of_1"
    x, y = tiny.data().x_test, tiny.data().y_test
    found = keras.models.load_model(tmp_path / "out" / "model.keras").predict(x, verbose=0).argmax(axis=1)
    assert report.compressed.score_float == pytest.approx(np.mean(found[y == 1] == 1))
    assert (None, tiny.CLASSES) in LOSSES  # traced for batches of any size
    text = (tmp_path / "out" / "summary.json").read_text()
    assert "accuracy_float" not in json.loads(text)["compressed"]
    assert CompressReport.from_json(text) == report


def test_tolerance_is_about_the_score(tmp_path):
    """A score that falls with every change of the outputs is held to, however well the classes are told apart."""
    given = tiny.trained().predict(tiny.data().x_val, verbose=0)

    def nearness(y, found):
        return -float(np.abs(found - given).max()) if found.shape == given.shape else 0.0

    with pytest.raises(RefusedError, match=r"within the tolerance of 0\.0001\b.* validation nearness"):
        compress(tiny.trained(), tiny.data(), tmp_path / "out", score=nearness, tolerance=1e-4, **ASKED)


def test_run_with_another_score_does_not_go_on():
    """What was found for one score is not taken for another's."""
    settings = CompressSettings()
    kinds = [objective_of(None, None), objective_of(None, "kl"), objective_of("mse", None), objective_of(smooth, None)]
    found = [fingerprint(tiny.trained(), tiny.data(), settings, HOST, kind) for kind in kinds]
    assert len({json.dumps(each, sort_keys=True) for each in found}) == 4


def test_functions_and_classes_are_found_by_name(tmp_path, monkeypatch):
    (tmp_path / "own_objective.py").write_text(
        "import keras\n\ndef loss(y, found):\n    return found\n\nclass Top(keras.metrics.CategoricalAccuracy): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    found = objective_of("own_objective:loss", "own_objective:Top")
    assert found.loss.__name__ == "loss" and isinstance(found.score, keras.metrics.CategoricalAccuracy)
    assert objective_of("mse", smooth) == objective_of("mse", smooth)
    with pytest.raises(
        ValueError, match=r"No function for the score there\. Received: own_objective:less: module 'own"
    ):
        objective_of(None, "own_objective:less")
