"""Groups are found that save no less than simpler choices would."""

from itertools import product

import numpy as np
import pytest

from tests.tflite_export.pack.weights import weights
from tflite_export.pack import CODERS, Group
from tflite_export.pack._search import Costs, least_groups


def drawn(seed, tensors):
    """Tensors of several sizes, distributions and shares of zeros."""
    rng = np.random.default_rng(seed)
    made = {}
    for index in range(tensors):
        values = rng.normal(0, rng.choice([1, 6, 30]), int(rng.integers(50, 4000))).round().clip(-127, 127)
        made[index] = weights(values * (rng.random(len(values)) > rng.choice([0, 0.5, 0.95])))
    return Costs(made)


@pytest.mark.parametrize("seed", range(12))
def test_groups_are_apart_and_gain_no_less_than_one_coder_or_one_code_for_all(seed):
    costs = drawn(seed, 6)
    groups = least_groups(costs, CODERS)
    packed = [tensor for group in groups for tensor in group.tensors]
    assert len(packed) == len(set(packed)) and set(packed) <= set(costs.weights)
    total = costs.total_gain(groups)
    assert total >= 0 and all(costs.gain(group) > 0 for group in groups)
    for name in CODERS:
        assert total >= costs.total_gain(least_groups(costs, [name]))
        assert total >= sum(max(costs.gain(Group(name, (tensor,))), 0) for tensor in costs.weights)
        assert total >= costs.gain(Group(name, tuple(costs.weights)))


@pytest.mark.parametrize("seed", range(10))
def test_two_tensors_get_the_best_of_all_ways(seed):
    costs = drawn(seed, 2)
    alone = [[None, *(Group(name, (tensor,)) for name in CODERS)] for tensor in costs.weights]
    ways = [[group for group in pair if group is not None] for pair in product(*alone)]
    ways += [[Group(name, (0, 1))] for name in CODERS]
    assert costs.total_gain(least_groups(costs, CODERS)) == max(map(costs.total_gain, ways))


def test_nothing_is_packed_that_does_not_get_smaller():
    rng = np.random.default_rng(0)
    costs = Costs({0: weights(rng.integers(-128, 128, 5000)), 1: weights([1, 2, 3])})
    assert least_groups(costs, CODERS) == ()
