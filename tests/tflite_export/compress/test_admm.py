"""`compress --method admm`: the stage, budgets, kills, what is refused."""

import dataclasses

import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tests.tflite_export.compress import tiny
from tf_structprune.allocation import Budget
from tflite_export.compress import CompressSettings, compress

pytestmark = pytest.mark.usefixtures("given_once")
SETTINGS = CompressSettings(method="admm", sparsity=0.4, epochs=3, tolerance=1.0, finetune_batch=32, lower="none")


@pytest.mark.parametrize("granularity", [("feature_map",), ("weight",), ("feature_map", "kernel")], ids=",".join)
def test_stages_prune_what_was_asked_for(granularity):
    settings = dataclasses.replace(SETTINGS, granularity=granularity, kernel_groups="any")
    done = tiny.run(tiny.fresh(), tiny.data(), settings)
    assert [(report.granularity, report.search) for report in done.reports] == [(kind, "admm") for kind in granularity]
    assert done.sparsity >= 0.39
    assert done.reports[-1].sparsity == pytest.approx(done.sparsity, abs=0.03)
    if "feature_map" in granularity:
        assert sp.trace(done.model).macs < sp.trace(tiny.trained()).macs


def test_budget_is_allocated_and_met(tmp_path):
    settings = dataclasses.replace(SETTINGS, sparsity=Budget("macs", 0.6))
    report = compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=settings, device=ByMacs())
    assert report.compressed.macs <= 0.6 * report.baseline.macs
    assert report.stages[0].search == "admm"


def test_files_are_those_of_any_run(tmp_path):
    report = compress(tiny.fresh(), tiny.data(), tmp_path / "out", settings=SETTINGS, device=ByMacs())
    assert {"model.keras", "model_int8.tflite", "summary.json"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert report.settings.method == "admm"


REFUSED = {
    "one epoch": ({"epochs": 1}, "ADMM trains towards what goes, in two epochs or more.* epochs=1"),
    "smallest": ({"smallest": True, "sparsity": 0.0}, "Received: method='admm' with smallest=True"),
    "unknown": ({"method": "magic"}, "method must be .*search.*admm.*magic|magic"),
    "no pull": ({"rho": 0.0}, "rho must be a number above 0. Received: rho=0.0"),
    "nan": ({"rho": np.nan}, "rho must be a number above 0. Received: rho=nan"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_it_cannot_do_is_refused(case):
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)


@pytest.mark.parametrize("method", ["search", "pqk", "imp"])
def test_pull_is_refused_where_another_method_is_asked_for(method):
    with pytest.raises(ValueError, match=f"rho is read by method='admm' alone. Received: .* with method='{method}'"):
        dataclasses.replace(SETTINGS, method=method, rho=0.01)


def test_options_that_do_nothing_are_told():
    assert "--search and --early-end can do nothing" in dataclasses.replace(SETTINGS, early_end=True).idle
    assert not SETTINGS.idle
