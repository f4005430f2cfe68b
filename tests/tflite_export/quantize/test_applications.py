"""A shrunk network of each family of keras.applications computes the same in LiteRT."""

import pytest

from tests import applications
from tests.applications import CONSTRUCTORS, FAMILIES, SPARSITIES, TOLERANCE
from tests.marks import sweep_but
from tf_structprune.graph import trace
from tf_structprune.layers import wrap
from tflite_export.quantize import convert
from tflite_export.runtime import run_litert

OFTEN = ("MobileNetV3Small-0.5",)
CASES = {f"{name}-{sparsity}": (name, sparsity) for name in FAMILIES for sparsity in SPARSITIES}


@pytest.mark.parametrize("name, sparsity", sweep_but(OFTEN, CASES))
def test_shrunk_network_runs_in_litert(name, sparsity):
    model = applications.build(name)
    x = applications.samples(model)
    masked = wrap(model, granularity="feature_map")
    small = applications.prune(masked, trace(masked), sparsity, x).small
    assert applications.difference(applications.logits(small, x), run_litert(convert(small), x)) < TOLERANCE


def test_a_network_of_every_family_is_converted():
    modules = {name: function.__module__ for name, function in CONSTRUCTORS.items()}
    assert {modules[name] for name in FAMILIES} == set(modules.values())
