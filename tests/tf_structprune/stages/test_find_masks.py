"""A search says when its scores tell little, and may see what cannot be made up for instead."""

import logging

import numpy as np
import pytest

import tf_structprune as sp
from tests import zoo
from tf_structprune.masks import FEATURE_MAP
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
