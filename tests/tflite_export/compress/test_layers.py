"""`compress --granularity layer`: the stage, budgets, what comes behind it, what is refused."""

import dataclasses

import keras
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tests.tflite_export.compress import tiny
from tf_structprune.allocation import KINDS, Budget
from tflite_export.compress import CompressReport, CompressSettings, Job, compress
from tflite_export.compress._layer_stage import LayerCosts

pytestmark = pytest.mark.usefixtures("given_once")
SETTINGS = CompressSettings(granularity=("layer",), sparsity=0.2, epochs=2, tolerance=1.0, finetune_batch=32)


@pytest.mark.parametrize("reconstruct", ["full", "none"])
def test_layers_go_and_the_rest_is_retrained(reconstruct):
    done = tiny.run(tiny.fresh(), tiny.data(), dataclasses.replace(SETTINGS, reconstruct=reconstruct))
    (report,) = done.reports
    assert (report.granularity, report.search, report.layers) == ("layer", reconstruct, ("b",))
    assert done.sparsity == report.sparsity == pytest.approx(576 / 2544)
    assert "b" not in [layer.name for layer in done.model.layers]
    assert done.score == report.score_after >= -0.5


def test_budget_is_met(tmp_path):
    settings = dataclasses.replace(SETTINGS, sparsity=Budget("macs", 0.8), lower="none", epochs=1)
    report = compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    assert report.stages[0].layers == ("b",)
    assert report.compressed.macs <= 0.8 * report.baseline.macs
    assert CompressReport.from_json((tmp_path / "out" / "summary.json").read_text()) == report


@pytest.mark.parametrize("kind", KINDS)
def test_layers_save_of_every_budget(kind):
    """The model without a layer meets a budget that the whole one does not, of what is counted and measured."""
    model = tiny.fresh()
    small = sp.remove_layers(model, ["b"])
    job = Job.of(model, tiny.data(), dataclasses.replace(SETTINGS, sparsity=Budget(kind, 0.999)), device=ByMacs())
    costs = LayerCosts(job, job.settings.budgets, model)
    assert not costs.meet(model)
    assert costs.meet(small)
    loose = LayerCosts(job, (Budget(kind, 1.0),), model)
    assert loose.meet(model)


@pytest.mark.parametrize("method", ["search", "pqk"])
def test_other_granularities_come_behind(method):
    settings = dataclasses.replace(SETTINGS, granularity=("layer", "feature_map"), sparsity=0.4, method=method)
    done = tiny.run(tiny.fresh(), tiny.data(), settings)
    assert [report.granularity for report in done.reports] == ["layer", "feature_map"]
    assert done.reports[1].search == {"search": "least_squares"}.get(method, method)
    assert done.reports[1].sparsity >= 0.39
    assert sp.trace(done.model).macs < 0.8 * sp.trace(tiny.trained()).macs


def test_all_that_may_go_goes(tmp_path):
    """Nothing is left that could be pruned, and that is what was asked for."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(6, 3, padding="same", activation="relu", name="only")(x))
    model = keras.Model(inputs, layers.Dense(tiny.CLASSES, activation="softmax", name="classifier")(x))
    settings = dataclasses.replace(SETTINGS, sparsity=Budget("macs", 0.3), epochs=1, micro="none", lower="none")
    report = compress(model, tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    assert report.stages[0].layers == ("only",) and report.sparsity == 1
    assert report.compressed.macs <= 0.3 * report.baseline.macs


def test_budget_out_of_reach_says_how_far_it_is():
    settings = dataclasses.replace(SETTINGS, sparsity=Budget("macs", 0.1))
    with pytest.raises(
        ValueError, match=r"does not fit without all layers.* The least that was reached: .*MACs instead"
    ):
        tiny.run(tiny.fresh(), tiny.data(), settings)


REFUSED = {
    "twice": ({"granularity": ("layer", "layer")}, "granularity names each kind once. Received: 'layer,layer'"),
    "unknown": ({"granularity": ("LAYER",)}, "Unknown granularity.*Use one of: layer, feature_map"),
    "behind": (
        {"granularity": ("feature_map", "layer")},
        "Layers go before anything else does. Received: granularity='feature_map,layer'. Put layer first",
    ),
    "budget of both": (
        {"granularity": ("layer", "feature_map"), "sparsity": Budget("macs", 0.5)},
        "A budget is allocated to feature maps, or to layers, and nothing else.*'layer,feature_map'",
    ),
    "admm": ({"method": "admm"}, "Layers go by what the rest can make up for, whatever the method.*method='admm'"),
    "pqk": ({"method": "pqk"}, "Use method='search', or pqk with granularity='layer,feature_map'"),
    "smallest": ({"smallest": True, "sparsity": 0.0}, "The smallest model is reached by removing feature maps"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_do_is_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": ("b",)}, "Model 'tiny' has no layer that may go whole"),
        ({"sparsity": 0.9}, "Model 'tiny' does not fit without all layers that may go. Received: 1 of them, b"),
    ],
)
def test_what_the_model_has_not_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny.run(tiny.fresh(), tiny.data(), dataclasses.replace(SETTINGS, **changes))
