"""What an allocation counts is what the shrunk model has."""

import numpy as np
import pytest

from tests import zoo
from tests.allocated import allocated, counts
from tf_structprune.allocation import Budget, CountedCost
from tf_structprune.graph import trace, weight_shapes
from tf_structprune.shrink import shrink


@pytest.mark.every(2)
@pytest.mark.parametrize("name", zoo.ZOO)  # all junctions: test_junctions
def test_counts_are_those_of_the_shrunk_model(name):
    model = zoo.build(name)
    graph = trace(model)
    if not graph.prunable_groups:
        assert int(CountedCost.of(Budget("parameters", 1), graph, weight_shapes(model, graph))(np.zeros(0, int))) == (
            model.count_params()
        )
        return
    masked, graph, kept = allocated(model, seed=len(name))
    small = shrink(masked).model
    predicted = counts(masked, graph, kept)
    assert predicted["macs"] == trace(small).macs
    assert predicted["parameters"] == small.count_params()
    whole = np.array([group.size for group in graph.prunable_groups])
    assert counts(masked, graph, whole)["macs"] == trace(model).macs
    assert counts(masked, graph, whole)["parameters"] == model.count_params()
