"""`compress --method pqk`: the stage, in words or not, behind feature maps, kills, what is refused."""

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
from tflite_export.file import open_file

pytestmark = pytest.mark.usefixtures("given_once")
SETTINGS = CompressSettings(
    method="pqk", granularity=("weight",), sparsity=0.6, epochs=2, tolerance=1.0, finetune_batch=32, lower="none"
)
LONGER = dataclasses.replace(SETTINGS, epochs=4)
TOTAL = sp.trace(tiny.trained()).prunable_weights
WORDS = sp.FixedPoint(weight_bits=4, signal_bits=8)


@pytest.mark.parametrize("granularity, weights", [(("kernel",), "layer"), (("weight",), "2:4")], ids=["kernel", "2:4"])
def test_stage_prunes_what_was_asked_for(granularity, weights):
    changes = {"granularity": granularity, "weights": weights, "kernel_groups": "any", "sparsity": 0.5}
    done = tiny.run(tiny.fresh(), tiny.data(), dataclasses.replace(SETTINGS, **changes))
    assert [(report.granularity, report.search, report.recipe) for report in done.reports] == [
        (*granularity, "pqk", None)
    ]
    assert done.sparsity == pytest.approx(0.5, abs=0.04)
    assert done.history[-1]["pqk_phase"] == 2 and "val_accuracy" in done.history[-1]


def test_feature_maps_go_before_and_fixed_point_is_in_the_same_stage(tmp_path):
    settings = dataclasses.replace(SETTINGS, granularity=("feature_map", "weight"), fixed_point=WORDS, micro="none")
    report = compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    assert [(stage.granularity, stage.search) for stage in report.stages] == [
        ("feature_map", "least_squares"),
        ("weight", "pqk"),
    ]
    assert report.fixed_point.accepted and report.fixed_point.recipe == WORDS
    assert report.compressed.macs < report.baseline.macs
    model = keras.models.load_model(tmp_path / "out" / "model.keras", compile=False)
    assert is_fixed_point(model) and set(quantized_layers(model)) >= {"a", "b", "hidden"}
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["settings"]["method"] == "pqk" and told["stages"][1]["search"] == "pqk"
    words = {name: layer.effective_kernel() for name, layer in quantized_layers(model).items()}
    zeros = {name: np.mean(keras.ops.convert_to_numpy(kernel) == 0) for name, kernel in words.items()}
    assert report.sparsity == pytest.approx(0.6, abs=0.03)
    assert min(zeros[name] for name in ("a", "b", "hidden")) > 0.2 > zeros["classifier"]
    written = open_file(tmp_path / "out" / "model_fixed.tflite")
    assert all(np.unique(kernel).size <= 2**4 for kernel in kernels(written))
    shares = sorted(round(float(np.mean(kernel == 0)), 3) for kernel in kernels(written))
    assert shares == sorted(round(float(share), 3) for share in zeros.values())


def kernels(file):
    """The weights of a file, as integers."""
    return [file.constants[index] for index in file.description.weights]


class Killed(BaseException):
    """In place of the signal, within one process."""


def test_killed_retraining_ends_as_the_whole_one(tmp_path, monkeypatch):
    """In phase 2, with statistics of the teacher's own: batch normalizations are there without fixed point."""

    def trained(states=None):
        stage = StepwiseStage(Job.of(tiny.trained(), tiny.data(), LONGER), "stage_1", "weight", 0.6, TOTAL)
        model = stage.begin(Present.of(tiny.trained())).model
        files = EpochFiles(states)
        retrain(model, tiny.trained(), tiny.data(), LONGER, task=tiny.task(), callbacks=stage.callbacks(), files=files)
        return model

    states, write = StateFolder(tmp_path / "epochs", {}, keep=1), StateFolder.write

    def stop(self, epoch, state):
        write(self, epoch, state)
        if epoch == 3:
            raise Killed

    whole = trained()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StateFolder, "write", stop)
        trained(states)
    for one, other in zip(whole.get_weights(), trained(states).get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_normalization_in_front_is_not_taken_for_the_first_convolution():
    """In fixed point it is a layer with a kernel."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization(name="norm")(inputs)
    for name in ("first", "a"):
        x = keras.layers.Conv2D(4, 3, activation="relu", name=name)(x)
    outputs = keras.layers.Dense(3, name="classifier")(keras.layers.Flatten()(x))
    settings = dataclasses.replace(SETTINGS, fixed_point=WORDS)
    stage = StepwiseStage(Job.of(keras.Model(inputs, outputs), tiny.data(), settings), "stage_1", "weight", 0.5, 144)
    begun = stage.begin(Present.of(stage.job.dense))
    assert list(sp.get_masks(begun.model).weight) == ["a"]
    assert begun.report.sparsity == pytest.approx(0.5)


REFUSED = {
    "one epoch": ({"epochs": 1}, r"PQK prunes to a sparsity, in two epochs or more\. .* epochs=1"),
    "smallest": ({"smallest": True, "granularity": ("feature_map",)}, "Received: method='pqk' with smallest=True"),
    "budget": (
        {"sparsity": Budget("macs", 0.5), "granularity": ("feature_map",)},
        "Received: method='pqk' with a budget",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_do_is_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_options_that_do_nothing_are_told():
    assert "--search, --early-end and --distill can do nothing" in dataclasses.replace(SETTINGS, early_end=True).idle
    assert "PQK" not in SETTINGS.idle
