"""Predicted errors are those of layers whose weights are solved for what they read in the dense model."""

import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tests.tf_structprune.scoring.test_scorer import candidates_of
from tf_structprune.graph import named_layers
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, KERNEL, masks_by_layer
from tf_structprune.scoring import PredictedScorer

X = zoo.batch(40)


def by_hand(masked, masks, x):
    """The error of each layer, from an own least-squares fit to what it reads."""
    from tf_structprune.graph import kernel_of, layer_inputs
    from tf_structprune.observe import patches_of

    handle, total = MaskedModel(masked), 0.0
    layers = named_layers(masked)
    for name, mine in masks_by_layer(handle.graph, masks, handle.polarity).items():
        layer = layers[name]
        patches = patches_of(layer, handle.graph.channels[name].positions)
        read = np.concatenate([patches.of(np.array(t)) for t in layer_inputs(masked, [name], x)[name]])
        rows = read.reshape(-1, *read.shape[2:]).astype(float)
        kernel = patches.view.view(np.array(kernel_of(layer)), np).astype(float)
        kept = mine.kept
        outputs = kernel.shape[-1] // rows.shape[1]
        missing = variance = 0.0
        for at in range(kernel.shape[-1]):
            design = rows[:, at // outputs]
            target = design @ kernel[..., at].ravel()
            variance += target.var()
            if kept[..., at].any():
                some = np.column_stack([design[:, kept[..., at].ravel()], np.ones(len(design))])
                found = np.linalg.lstsq(some, target, rcond=None)[0]
                missing += ((some @ found - target) ** 2).mean()
        total += missing / variance
    return total


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("name", ["chain", "residual_projection"])
def test_errors_are_those_of_an_own_fit(name, granularity, monkeypatch):
    monkeypatch.setattr("tf_structprune.scoring._predicted.RIDGE", 1e-7)
    masked = sp.wrap(zoo.build(name), granularity=GRANULARITIES)
    candidates = candidates_of(masked, granularity, 3)
    found = PredictedScorer(masked, X).score(candidates)
    for value, candidate in zip(found.values, candidates, strict=True):
        np.testing.assert_allclose(-value, by_hand(masked, candidate, X), rtol=0.02, atol=1e-3)


def test_nothing_removed_loses_nothing():
    masked = sp.wrap(zoo.build("chain"))
    assert abs(PredictedScorer(masked, X).score([sp.MaskSet()]).values[0]) < 1e-6


def test_score_by_name_needs_no_labels_and_no_sample_is_run():
    masked = sp.wrap(zoo.build("residual_identity"))
    candidates = candidates_of(masked, FEATURE_MAP, 4)
    found = sp.score(masked, candidates, data=(X, None), score="reconstruction")
    np.testing.assert_array_equal(found.values, PredictedScorer(masked, X).score(candidates).values)
    assert found.scored_samples == 0
    assert len(set(found.values)) > 1


def test_bad_candidates_are_refused():
    scorer = PredictedScorer(sp.wrap(zoo.build("chain")), X)
    with pytest.raises(ValueError, match="There is nothing to score. Received: no candidates"):
        scorer.score([])
    with pytest.raises(ValueError, match="no channel group of that name"):
        scorer.score([sp.MaskSet({"nowhere": np.ones(3, bool)})])


def test_candidates_come_on_top_of_the_masks_that_are_there():
    masked = sp.wrap(zoo.build("chain"))
    sp.set_masks(masked, candidates_of(masked, KERNEL, 1, 0.3)[0])
    (candidate,) = candidates_of(masked, FEATURE_MAP, 1, 0.5)
    (value,) = PredictedScorer(masked, X).score([candidate]).values
    assert value < 0
