"""A search says when its scores tell little, and may see what cannot be made up for instead."""

import dataclasses
import logging

import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import FEATURE_MAP, mask_space
from tf_structprune.scoring import PredictedScorer
from tf_structprune.search import BestOfN, RandomMask
from tf_structprune.stages import find_masks
from tf_structprune.task import as_score, check_validation, guessing_score

X, Y = zoo.lit_rows(60)


def searched(masked, validation, caplog, **settings):
    with caplog.at_level(logging.WARNING, logger="absl"):
        found = find_masks(masked, FEATURE_MAP, 0.5, validation=validation, **{"search": BestOfN(4), **settings})
    return found, [record.getMessage() for record in caplog.records if "tell little" in record.getMessage()]


@pytest.fixture
def masked():
    return sp.wrap(zoo.build("chain"))


def test_scores_near_guessing_are_told(masked, caplog):
    found, told = searched(masked, check_validation((X, Y), as_score("mcr"), 64), caplog)
    assert found.score < -0.5
    assert len(told) == 1 and "guessing in 66.67 %" in told[0]


def test_scores_far_from_guessing_are_not(masked, caplog):
    own = np.asarray(masked.predict(X, verbose=0)).argmax(axis=1)
    sparse = check_validation((X, own), as_score("mcr"), 64)
    found = find_masks(masked, FEATURE_MAP, 0.0, search=BestOfN(2), validation=sparse)
    assert found.score == 0
    assert not [record for record in caplog.records if "tell little" in record.getMessage()]


@pytest.mark.parametrize(
    "settings", [{"search": RandomMask()}, {"predicted": True}], ids=["one candidate", "predicted"]
)
def test_where_scores_decide_nothing_nothing_is_told(masked, caplog, settings):
    _, told = searched(masked, check_validation((X, Y), as_score("mcr"), 64), caplog, **settings)
    assert told == []


def test_predicted_search_takes_the_candidate_of_least_error(masked, caplog):
    validation = check_validation((X, Y), as_score("mcr"), 64)
    found, _ = searched(masked, validation, caplog, predicted=True, search=BestOfN(6))
    scores = PredictedScorer(masked, X).score([found.masks]).values
    np.testing.assert_allclose(scores, [max(found.scores)])
    assert len(set(found.scores)) > 1


class Listed(BestOfN):
    """Proposes what it is given, some of it twice."""

    def __init__(self, masks):
        self.masks = masks

    def propose(self, space, state, rng):
        return (*self.masks, *self.masks[:2])


@pytest.mark.parametrize("finalists", [2, 9])
def test_of_the_finalists_the_one_wins_that_scores_best_when_solved(masked, finalists):
    graph = sp.trace(masked)
    space, rng = mask_space(graph, FEATURE_MAP, 0.5), np.random.default_rng(0)
    masks = [space.sample(rng) for _ in range(4)]
    validation = check_validation((X, Y), as_score("categorical_crossentropy"), 64)
    validation = dataclasses.replace(validation, y=np.eye(3)[Y])
    predicted = PredictedScorer(masked, X).score(masks).values
    solved = []
    for each in masks:
        one = sp.wrap(zoo.build("chain"))
        MaskedModel(one).set_masks(each)
        sp.reconstruct(one, X)
        solved.append(validation.of(one))
    best = np.argsort(-predicted)[:finalists]
    before = masked.get_weights()
    found = find_masks(
        *(masked, FEATURE_MAP, 0.5), search=Listed(masks), validation=validation, predicted=True, finalists=finalists
    )
    assert found.masks.equals(masks[max(best, key=lambda index: solved[index])])
    for old, new in zip(before, masked.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_no_finalists_are_refused(masked):
    validation = check_validation((X, Y), as_score("mcr"), 64)
    with pytest.raises(
        ValueError, match=r"finalists must be at least 1\. Received: finalists=0\. Use 1 for the best one"
    ):
        find_masks(masked, FEATURE_MAP, 0.5, search=BestOfN(2), validation=validation, predicted=True, finalists=0)


@pytest.mark.parametrize(
    "score, y, expected",
    [
        ("mcr", np.array([0, 0, 0, 1]), -0.25),
        ("mcr", np.eye(4)[[0, 1, 2, 2]], -0.5),
        ("kl", np.full((3, 2), 0.5), None),
        ("mcr", None, None),
    ],
)
def test_guessing_is_the_most_frequent_class(score, y, expected):
    assert guessing_score(as_score(score), y) == expected
