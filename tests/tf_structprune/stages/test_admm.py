"""The steps of ADMM: projections, dual update, hard masks."""

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.fixed_point import WeightGrid
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import GRANULARITIES, Kernel, Weight, mask_space, masks_by_layer
from tf_structprune.stages import Constraint, Pulls

KINDS = {
    "weights": Weight(),
    "weights of all layers": Weight(across="model"),
    "2 of 4": Weight(n=2, m=4),
    "kernels": "kernel",
    "blocks": Kernel(groups=2),
    "patterns": "intra_kernel",
    "maps": "feature_map",
}
NAMES = ("chain", "residual_twice", "flatten_head", "grouped_convolution")


def pulls_of(name="chain", **settings):
    return Pulls.of(MaskedModel(sp.wrap(zoo.build(name), granularity=GRANULARITIES, admm=True, **settings)))


def size(views):
    return sum(float(np.sum(view**2)) for view in views.values())


def minus(one, other):
    return {name: one[name] - other[name] for name in one}


@pytest.mark.every(2)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_projection_has_the_sparsity_is_idempotent_and_no_random_masks_are_nearer(name, kind):
    pulls = pulls_of(name)
    masked, constraint = pulls.masked, Constraint(KINDS[kind], 0.4)
    kernels = pulls.kernels()
    nearest = constraint.project(masked, kernels)
    masks = constraint.masks(masked, kernels)
    assert masked.sparsity_with(masks) >= 0.4 - 1e-9
    for layer, kept in masks_by_layer(masked.graph, masks, masked.polarity).items():
        np.testing.assert_array_equal(nearest[layer], np.where(kept.kept, kernels[layer], 0))
    again = constraint.project(masked, nearest)
    assert size(minus(again, nearest)) == 0
    if kind == "blocks":  # of unlike sizes, which are ranked by what they hold
        return
    space = mask_space(masked.graph, KINDS[kind], 0.4)
    for seed in range(5):
        drawn = masks_by_layer(masked.graph, space.sample(np.random.default_rng(seed)), masked.polarity)
        other = {layer: np.where(drawn[layer].kept, kernel, 0) for layer, kernel in kernels.items()}
        assert size(minus(kernels, nearest)) <= size(minus(kernels, other)) + 1e-9


@pytest.mark.parametrize("bits", [2, 4])
def test_projection_onto_a_grid_has_zeros_and_few_numbers(bits):
    pulls = pulls_of("flatten_head")
    nearest = Constraint(Weight(), 0.5, WeightGrid(bits)).project(pulls.masked, pulls.kernels())
    plain = Constraint(Weight(), 0.5).project(pulls.masked, pulls.kernels())
    for name, view in nearest.items():
        assert len(np.unique(view)) <= 2**bits - 1
        assert not view[plain[name] == 0].any()


def test_loss_is_that_of_the_augmented_lagrangian():
    pulls = pulls_of()
    assert not any(float(loss) for loss in pulls.masked.model.losses)
    constraint = Constraint(Weight(), 0.5)
    pulls.begin(constraint, 0.3)
    away = size(minus(pulls.kernels(), constraint.project(pulls.masked, pulls.kernels())))
    assert float(sum(pulls.masked.model.losses)) == pytest.approx(0.15 * away, rel=1e-4)
    distance = pulls.step(constraint)
    assert distance == pytest.approx(np.sqrt(away / size(pulls.kernels())), rel=1e-5)
    dual = minus(pulls.kernels(), constraint.project(pulls.masked, pulls.kernels()))  # U after one step from 0
    moved = {name: kernel + dual[name] for name, kernel in pulls.kernels().items()}
    target = minus(constraint.project(pulls.masked, moved), dual)
    pulls.step(constraint)  # Z = P(W + U), then U + W - Z
    wanted = minus(target, minus(pulls.kernels(), constraint.project(pulls.masked, moved)))
    lagrangian = 0.15 * size(minus(pulls.kernels(), wanted))
    assert float(sum(pulls.masked.model.losses)) == pytest.approx(lagrangian, rel=1e-4)


def test_rho_is_that_of_the_layer():
    pulls = pulls_of()
    pulls.begin(Constraint(Weight(), 0.5), {"a": 0.1, "[b-z]*": 0.0})
    found = {name: float(keras.ops.convert_to_numpy(layer.pull_rho)) for name, layer in pulls.layers.items()}
    assert found.pop("a") == pytest.approx(0.1) and not any(found.values())
    with pytest.raises(ValueError, match=r"Layer 'b' has no rho\. Received: rho for a\. Add it, or '\*' for"):
        pulls.begin(Constraint(Weight(), 0.5), {"a": 0.1})


@pytest.mark.parametrize("kind", KINDS)
def test_finish_sets_the_masks_of_the_largest_and_pulls_no_more(kind):
    pulls = pulls_of("residual_twice")
    constraint = Constraint(KINDS[kind], 0.4)
    pulls.begin(constraint, 1.0)
    nearest = constraint.project(pulls.masked, pulls.kernels())
    pulls.finish(constraint)
    assert size(minus(pulls.kernels(), nearest)) == 0
    assert pulls.masked.sparsity >= 0.4 - 1e-9
    assert not any(float(loss) for loss in pulls.masked.model.losses)


def test_what_is_gone_stays_gone():
    pulls = pulls_of("chain", keep_first=False)
    pulls.finish(Constraint(Weight(), 0.3))
    before = pulls.masked.masks.weight
    pulls.finish(Constraint(Weight(), 0.6))
    for name, mask in pulls.masked.masks.weight.items():
        assert not (mask & ~before[name]).any() and mask.sum() < before[name].sum()


def test_model_that_was_wrapped_without_is_refused():
    with pytest.raises(
        ValueError, match=r"Model 'chain' has nothing that ADMM could pull .*Use wrap\(model, admm=True"
    ):
        Pulls.of(MaskedModel(sp.wrap(zoo.build("chain"))))


def test_targets_are_saved_with_the_model(tmp_path):
    pulls = pulls_of()
    pulls.begin(Constraint(Weight(), 0.5), 0.3)
    pulls.masked.model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert float(sum(again.losses)) == pytest.approx(float(sum(pulls.masked.model.losses)), rel=1e-6)
