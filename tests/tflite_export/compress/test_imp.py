"""`compress --method imp`: rounds by magnitude, each a stage; what is taken back ends them; what is refused."""

import dataclasses

import numpy as np
import pytest

import tf_structprune as sp
from tests.tflite_export.compress import tiny
from tf_structprune.allocation import Budget
from tflite_export.compress import CompressSettings

pytestmark = pytest.mark.usefixtures("given_once")
SETTINGS = CompressSettings(
    method="imp",
    granularity=("weight",),
    weights="model",
    sparsity=0.45,
    epochs=1,
    tolerance=1.0,
    finetune_batch=64,
    reconstruct="none",
    lower="none",
)
ROUNDS = [0.2, 0.36, 0.45]  # a fifth of what is left each, the last what is missing


def kernels(model):
    return {layer.name: np.asarray(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")}


def test_a_fifth_of_what_is_left_goes_in_each_round():
    done = tiny.run(tiny.fresh(), tiny.data(), SETTINGS)
    assert [(each.granularity, each.search) for each in done.reports] == [("weight", "magnitude")] * 3
    assert [each.sparsity for each in done.reports] == pytest.approx(ROUNDS, abs=0.003)
    assert [row["stage"] for row in done.history] == [1, 2, 3]
    found = kernels(done.model)
    gone = sum((found[name] == 0).sum() for name in ("a", "b", "hidden"))
    assert gone / sp.trace(tiny.trained()).prunable_weights == pytest.approx(0.45, abs=0.003) == done.sparsity


def test_untrained_rounds_remove_what_one_cut_would():
    """Of what a round took out nothing comes back, and magnitudes that nobody trained have one order."""
    rounds = tiny.run(tiny.fresh(), tiny.data(), dataclasses.replace(SETTINGS, epochs=0))
    once = dataclasses.replace(SETTINGS, epochs=0, method="search", search="magnitude")
    whole = kernels(tiny.run(tiny.fresh(), tiny.data(), once).model)
    for name, kernel in kernels(rounds.model).items():
        np.testing.assert_array_equal(kernel, whole[name])


def test_round_that_is_taken_back_is_the_last(monkeypatch):
    from tf_structprune.stages import Judge

    judge, seen = Judge.judge, []

    def strict(self, model):
        found = judge(self, model)
        seen.append(found)
        return dataclasses.replace(found, accepted=len(seen) < 2)

    monkeypatch.setattr(Judge, "judge", strict)
    done = tiny.run(tiny.fresh(), tiny.data(), dataclasses.replace(SETTINGS, epochs=0))
    assert [each.accepted for each in done.reports] == [True, False]
    assert done.sparsity == pytest.approx(ROUNDS[0], abs=0.003)


def test_each_granularity_has_its_rounds_and_layers_one():
    settings = dataclasses.replace(SETTINGS, granularity=("feature_map", "weight"), sparsity=0.6, epochs=0)
    done = tiny.run(tiny.fresh(), tiny.data(), settings)
    kinds = [each.granularity for each in done.reports]
    assert kinds == ["feature_map"] * kinds.count("feature_map") + ["weight"] * kinds.count("weight")
    assert kinds.count("feature_map") == kinds.count("weight") == 3  # 1 - 0.4 ** 0.5 is 37 %
    assert done.sparsity == pytest.approx(0.6, abs=0.05)


REFUSED = {
    "budget": (
        {"sparsity": Budget("macs", 0.5), "granularity": ("feature_map",)},
        "lead to a sparsity. Received: method='imp' with a budget. Use a sparsity",
    ),
    "smallest": (
        {"smallest": True, "granularity": ("feature_map",)},
        "Received: method='imp' with smallest=True",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_rounds_is_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)


def test_search_that_does_nothing_is_told():
    assert "Rounds go by magnitude: --search can do nothing." in dataclasses.replace(SETTINGS, search="taylor").idle
    assert "Rounds" not in SETTINGS.idle
