"""Every network of keras.applications: masked and shrunk are the same function, and the shrunk one is of use."""

import math
from dataclasses import dataclass

import keras
import numpy as np
import pytest

from tests import applications
from tests.applications import CONSTRUCTORS, LEAST_SPREAD, SPARSITIES, TOLERANCE
from tf_structprune.channels import PrunableGraph
from tf_structprune.graph import trace
from tf_structprune.layers import wrap

OFTEN = (  # without the mark, half of the maps removed; the blocks of the others are among the junctions
    "MobileNetV2",
    "MobileNetV3Small",
)


@dataclass(frozen=True)
class Case:
    """A network, its copy with masks that keep everything and then with random ones, and its shrunk copy."""

    graph: PrunableGraph
    wrapped_difference: float
    pruned: applications.Pruned
    x: np.ndarray


def _cases(names, often):
    """Those networks at every sparsity, marked but for some at the middle one."""
    for name in names:
        for sparsity in SPARSITIES:
            marks = () if name in often and sparsity == 0.5 else pytest.mark.sweep
            yield pytest.param((name, sparsity), id=f"{name}-{sparsity}", marks=marks)


@pytest.fixture(scope="module", params=_cases(CONSTRUCTORS, OFTEN))
def case(request):
    name, sparsity = request.param
    model = applications.build(name)
    x = applications.samples(model)
    masked = wrap(model, granularity="feature_map")
    wrapped_difference = applications.difference(applications.logits(model, x), applications.logits(masked, x))
    pruned = applications.prune(masked, trace(masked), sparsity, x)
    return Case(trace(model), wrapped_difference, pruned, x)


def test_wrapped_network_is_unchanged(case):
    assert case.wrapped_difference < TOLERANCE


def test_shrunk_network_equals_the_masked_one(case):
    assert case.pruned.difference < TOLERANCE
    assert case.pruned.spread >= LEAST_SPREAD


def test_lost_offset_would_show(case):
    """The agreement means something: one wrong offset in an early layer is more than the tolerance."""
    small = case.pruned.small
    offsets = [variable for variable in small.trainable_variables if variable.name in ("beta", "bias")]
    offset = offsets[len(offsets) // 10]
    before = keras.ops.convert_to_numpy(offset)
    expected = applications.logits(small, case.x)
    offset.assign(before + 0.1)
    changed = applications.logits(small, case.x)
    offset.assign(before)
    assert applications.difference(expected, changed) > 10 * TOLERANCE


def test_parameters_and_macs_fall(case):
    small = trace(case.pruned.small)
    assert small.parameters < case.graph.parameters
    assert small.macs < case.graph.macs


def test_only_first_convolution_and_classifier_are_skipped(case):
    assert applications.unexpected(case.graph) == []
    assert len(case.graph.skipped) == 2


def test_shrunk_network_trains(case):
    assert math.isfinite(applications.train_one_step(case.pruned.small, case.x, run_eagerly=True))


def test_shrunk_network_survives_saving(case, tmp_path):
    assert applications.reloaded_difference(case.pruned.small, case.x, tmp_path / "small.keras") < 1e-6
