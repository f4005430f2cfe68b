"""The race on made-up scores, against scoring everything."""

import numpy as np
import pytest

from tf_structprune.scoring import race, spread
from tf_structprune.scoring._race import stages

BATCH = 50


class Table:
    """Scores that are known, and how many were asked for."""

    def __init__(self, scores):
        self.scores, self.asked = scores, 0
        self.sizes = [len(part) for part in np.array_split(scores[0], -(-scores.shape[1] // BATCH))]
        self.edges = np.concatenate([[0], np.cumsum(self.sizes)])

    def __call__(self, candidates, batches):
        found = np.concatenate([self.scores[candidates, self.edges[b] : self.edges[b + 1]] for b in batches], axis=1)
        self.asked += found.size
        return found


def table(rates, samples=1000, seed=0, common=0.7):
    """Wrong answers of candidates at given rates, which agree on the hard samples."""
    rng = np.random.default_rng(seed)
    hard = rng.random(samples)
    own = rng.random((len(rates), samples))
    mixed = common * hard + (1 - common) * own
    ranks = mixed.argsort(axis=1).argsort(axis=1) / samples
    return Table(-(ranks < np.array(rates)[:, None]).astype(float)[:, rng.permutation(samples)])


def run(found, **settings):
    return race(found, len(found.scores), found.sizes, **settings)


@pytest.mark.parametrize("first", [1, 2, 5])
@pytest.mark.parametrize("batches", [1, 2, 3, 5, 16, 31])
def test_stages_cover_all_batches_once(batches, first):
    runs = list(stages(batches, first))
    assert [batch for run in runs for batch in run] == list(range(batches))
    assert all(len(run) >= first for run in runs[:-1])
    assert len(runs) <= 6 + int(np.log(batches) / np.log(1.25))


def test_clear_losers_stop_early_and_the_winner_is_exact():
    found = table([0.2, 0.8, 0.75, 0.9, 0.21])
    raced = run(found)
    assert raced.scores.argmax() == 0
    assert raced.scores[0] == found.scores[0].mean()
    assert raced.samples[0] == 1000
    assert (raced.samples[1:4] <= 200).all()
    assert found.asked == raced.samples.sum()


def test_same_winner_as_without_a_race():
    """Of 200 races with close candidates, at least 95 % have the same winner, and all one nearly as good."""
    same, lost = [], []
    for seed in range(200):
        rates = np.random.default_rng(1000 + seed).uniform(0.3, 0.6, 30)
        found = table(rates, samples=2000, seed=seed)
        means, winner = found.scores.mean(axis=1), run(found).scores.argmax()
        same.append(winner == means.argmax())
        lost.append(means.max() - means[winner])
    assert np.mean(same) >= 0.95
    assert max(lost) <= 0.002


def by_class(seed, samples=2000, classes=10):
    """Candidates that each know some classes and the labels, as networks do that lost most of their maps."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    known = rng.random((30, classes)) < 0.25
    right = rng.random((30, samples)) < np.where(known, rng.uniform(0.6, 1.0, known.shape), 0.02)[:, labels]
    return -1.0 + right, labels


def test_strata_keep_the_winner_and_save_samples():
    """Of 100 races between candidates that know some classes, strata lose none that matters and take fewer samples."""
    lost, asked = [], {True: 0, False: 0}
    for seed in range(100):
        scores, labels = by_class(seed)
        order = spread(labels, np.random.default_rng(seed))
        means = scores.mean(axis=1)
        for stratified in asked:
            found = Table(scores[:, order if stratified else np.random.default_rng(seed).permutation(len(labels))])
            raced = run(found, strata=labels[order] if stratified else None)
            asked[stratified] += found.asked
            lost.append(means.max() - means[raced.scores.argmax()])
    assert max(lost) <= 0.002
    assert np.mean(np.array(lost) == 0) >= 0.95
    assert asked[True] < 0.8 * asked[False]


def test_equal_candidates_all_finish_and_the_first_wins():
    found = Table(np.repeat(table([0.5]).scores, 4, axis=0))
    raced = run(found)
    assert raced.scores.argmax() == 0
    assert (raced.samples == 1000).all()


def test_stopped_candidates_rank_behind_the_winner_and_near_their_score():
    found = table(np.linspace(0.2, 0.9, 20), seed=3)
    raced = run(found)
    stopped = raced.samples < 1000
    assert stopped.any()
    assert (raced.scores[stopped] < raced.scores.max()).all()
    assert np.abs(raced.scores - found.scores.mean(axis=1)).max() < 0.12


def test_infinitely_bad_scores_lose():
    scores = np.full((3, 1000), -np.inf)
    scores[1] = -1.0
    raced = run(Table(scores))
    assert raced.scores.tolist() == [-np.inf, -1.0, -np.inf]


def test_enough_stops_the_others():
    found = table([0.40, 0.41, 0.42, 0.43], seed=1)
    raced = run(found, enough=-0.45)
    winner = int(raced.scores.argmax())
    assert raced.samples[winner] == 1000
    assert raced.scores[winner] >= -0.45
    assert (np.delete(raced.samples, winner) < 1000).all()


def test_enough_that_is_never_reached_changes_nothing():
    first, second = table([0.4, 0.42, 0.6], seed=2), table([0.4, 0.42, 0.6], seed=2)
    raced, plain = run(first, enough=-0.1), run(second)
    assert raced.scores == pytest.approx(plain.scores)
    assert (raced.samples == plain.samples).all()


def test_enough_that_is_promised_but_not_kept_goes_on():
    """The first samples flatter: the leader is finished alone, falls short, and the others race on."""
    scores = np.full((2, 1000), -0.5)
    scores[0, :100] = 0.0
    scores[1] = -0.48
    scores[1, ::7] -= 0.01
    raced = run(Table(scores), enough=-0.2)
    assert raced.samples[0] == 1000
    assert raced.scores.argmax() == int(scores.mean(axis=1).argmax())


def behind(*samples, of):
    """A leader that is right on all samples, and one that is wrong on these."""
    scores = np.zeros((2, of))
    scores[1, list(samples)] = -1.0
    return scores


def raced(scores, *, batches, **settings):
    """The race of the scores in so many batches of 128 samples, of which each is looked at."""
    edges = np.arange(batches + 1) * 128

    def evaluate(candidates, wanted):
        return scores[candidates, edges[wanted[0]] : edges[wanted[-1] + 1]]

    return race(evaluate, len(scores), [128] * batches, **settings)


@pytest.mark.parametrize("wrong, seen", [(6, 256), (7, 128)])
def test_bound_of_one_look_by_hand(wrong, seen):
    """Stopped is who is wrong on k of 128 samples more where k / 128 > z s / sqrt(128) sqrt(1 - 128 / 256).

    With s**2 = (k - k**2 / 128 + 1) / 128, the 1 being one more sample like the worst, and z = 3.2905, the 99.95 %
    quantile: k**2 > 5.4137 (k + 1 - k**2 / 128), which begins at k = 6.05.
    """
    found = raced(behind(*range(wrong), of=256), batches=2)
    assert found.samples.tolist() == [256, seen]


@pytest.mark.parametrize("wrong, seen", [(8, 256), (9, 128)])
def test_bound_of_two_looks_by_hand(wrong, seen):
    """Each look has half of the 0.05 %, z = 3.4808, and the first sees a third of all: it stops from k = 8.49 on.

    The second, of 256 samples, stops who is wrong on 8 then: 64 > 3.4808**2 / 3 (8 + 1 - 64 / 256) = 35.3.
    """
    found = raced(behind(*range(wrong), of=384), batches=3)
    assert found.samples.tolist() == [384, seen]


@pytest.mark.parametrize("wrong, seen", [(5, 256), (6, 128)])
def test_bound_within_strata_by_hand(wrong, seen):
    """All wrong samples in one of two strata of 64: s**2 = (k - k**2 / 64 + 1) / 127, which begins at k = 5.88."""
    strata = np.tile([0, 1], 128)
    found = raced(behind(*range(0, 2 * wrong, 2), of=256), batches=2, strata=strata)
    assert found.samples.tolist() == [256, seen]


def test_few_equal_samples_decide_nothing():
    """Two samples that are all there is of their stratum differ by the same: no deviation, but no certainty."""
    found = raced(behind(0, 1, of=256), batches=2, strata=np.array([0, 0, *[1] * 254]))
    assert found.samples.tolist() == [256, 256]


def test_one_that_was_stopped_never_ties_with_the_winner():
    """The second is as far behind the leader as the first, but less surely, goes on and wins."""
    scores = np.full((3, 256), -0.5)
    scores[0, :9] -= 1.0
    scores[1, :20] -= 1.0
    scores[1, 20:31] += 1.0
    scores[1, 128:] = 0.0
    found = raced(scores, batches=2)
    assert found.samples.tolist() == [128, 256, 256]
    assert scores[0, :128].mean() == scores[1, :128].mean()
    assert found.scores.argmax() == 1
    assert found.scores[0] < found.scores[1]


@pytest.mark.parametrize("enough, seen", [(-0.25, 256), (-0.2499, 384)], ids=["reached", "missed"])
def test_a_score_equal_to_enough_ends_the_race(enough, seen):
    """The leader has it on what was seen and on all; the other, hardly behind, is left where it is."""
    scores = np.full((2, 384), -0.25)
    scores[1, 0] -= 0.5
    found = raced(scores, batches=3, enough=enough)
    assert found.scores[0] == -0.25
    assert found.samples.tolist() == [384, 128 if seen == 256 else 384]


def test_one_sample_without_a_score_stops_a_candidate():
    """However good it is on all others, and long before the end."""
    found = table([0.1, 0.3, 0.3])
    found.scores[0, 60] = -np.inf
    raced = run(found)
    assert raced.scores[0] == -np.inf and raced.samples[0] < 1000
    assert raced.scores.argmax() != 0 and np.isfinite(raced.scores[1:]).all()


def test_candidates_that_lost_to_one_without_a_score_are_scored_after_all():
    """The leader stops the others, then shows a sample whose outputs are not finite: it cannot have won."""
    found = table([0.05, 0.9, 0.8])
    found.scores[0, 990] = -np.inf
    raced = run(found)
    assert raced.scores.tolist() == [-np.inf, *found.scores[1:].mean(axis=1)]
    assert raced.samples.tolist() == [1000] * 3


def test_nobody_wins_where_no_candidate_has_a_score():
    found = Table(np.full((3, 400), -np.inf))
    assert run(found).scores.tolist() == [-np.inf] * 3
