"""`compress --method joint`: Taylor scores in words or not, behind feature maps, kills, what is refused."""

import dataclasses
import json

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tests.tflite_export.compress import tiny
from tf_structprune.allocation import Budget
from tf_structprune.layers import is_fixed_point, quantized_layers
from tf_structprune.resume import StateFolder
from tflite_export.compress import CompressSettings, Job, compress, retrain
from tflite_export.compress._epochs import EpochFiles
from tflite_export.compress._prune_stage import Present
from tflite_export.compress._stepwise_stage import StepwiseStage

pytestmark = pytest.mark.usefixtures("given_once")
SETTINGS = CompressSettings(
    method="joint", granularity=("weight",), sparsity=0.6, epochs=2, tolerance=1.0, finetune_batch=32, lower="none"
)
TOTAL = sp.trace(tiny.trained()).prunable_weights
WORDS = sp.FixedPoint(weight_bits=4, signal_bits=8)


def test_maps_go_before_and_fixed_point_is_in_the_same_stage(tmp_path):
    changes = {"granularity": ("feature_map", "weight"), "weights": "model", "fixed_point": WORDS, "micro": "none"}
    settings = dataclasses.replace(SETTINGS, **changes)
    report = compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    assert [(stage.granularity, stage.search) for stage in report.stages] == [
        ("feature_map", "least_squares"),
        ("weight", "joint"),
    ]
    assert report.fixed_point.accepted and report.fixed_point.recipe == WORDS
    assert report.sparsity == pytest.approx(0.6, abs=0.03)
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["settings"]["method"] == "joint" and told["stages"][1]["search"] == "joint"
    model = keras.models.load_model(tmp_path / "out" / "model.keras", compile=False)
    assert is_fixed_point(model)
    for layer in quantized_layers(model).values():
        assert len(np.unique(layer.effective_kernel())) <= 2**4


def stage_of(settings, **changes):
    settings = dataclasses.replace(settings, **changes)
    return StepwiseStage(Job.of(tiny.trained(), tiny.data(), settings), "stage_1", "weight", 0.6, TOTAL), settings


def test_killed_retraining_ends_as_the_whole_one(tmp_path, monkeypatch):
    """While masks are chosen, beside a teacher: those of the epoch before are not taken for given ones."""

    def trained(states=None):
        stage, settings = stage_of(SETTINGS, epochs=4, distill=0.5)
        model = stage.begin(Present.of(tiny.trained())).model
        files = EpochFiles(states)
        figures = retrain(
            model, tiny.trained(), tiny.data(), settings, task=tiny.task(), callbacks=stage.callbacks(), files=files
        )
        return model, figures

    states, write = StateFolder(tmp_path / "epochs", {}, keep=1), StateFolder.write

    def stop(self, epoch, state):
        write(self, epoch, state)
        if epoch == 1:
            raise KeyboardInterrupt

    whole, figures = trained()
    assert figures["taylor_returned"][2:] == [0, 0]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StateFolder, "write", stop)
        trained(states)
    for one, other in zip(whole.get_weights(), trained(states)[0].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


REFUSED = {
    "one epoch": ({"epochs": 1}, r"Joint pruning prunes to a sparsity, in two epochs or more\. .* epochs=1"),
    "budget": (
        {"sparsity": Budget("macs", 0.5), "granularity": ("feature_map",)},
        "Received: method='joint' with a budget",
    ),
    "maps": (
        {"granularity": ("weight", "feature_map")},
        "which feature maps cannot. Received: method='joint' with granularity='weight,feature_map'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_do_is_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_data_without_labels_are_refused():
    bare = dataclasses.replace(tiny.data(), y_train=None, y_val=None, y_test=None)
    with pytest.raises(ValueError, match="follows the gradient of a loss, .* Received: data without labels"):
        Job.of(tiny.trained(), bare, SETTINGS)


@pytest.mark.parametrize("changes", [{}, {"method": "pqk"}, {"smallest": True, "sparsity": 0.0}], ids=str)
def test_taylor_scores_without_labels_are_refused_at_once(changes):
    bare = dataclasses.replace(tiny.data(), y_train=None, y_val=None, y_test=None)
    settings = CompressSettings(search="taylor", **changes)
    with pytest.raises(ValueError, match="search='taylor'. are made of the gradient .* Received: data without labels"):
        Job.of(tiny.trained(), bare, settings)


@pytest.mark.parametrize("changes", [{"method": "imp"}, {"method": "admm"}, {"sparsity": 0.0}], ids=str)
def test_method_that_reads_no_search_needs_no_labels_for_it(changes):
    assert not CompressSettings(search="taylor", **changes).needs_labels


def test_options_that_do_nothing_are_told():
    told = dataclasses.replace(SETTINGS, early_end=True).idle
    assert "goes by Taylor scores, to the last epoch: there --search and --early-end can do nothing" in told
    assert "Taylor" not in SETTINGS.idle
