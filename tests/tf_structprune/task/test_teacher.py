"""What a student learns from is the teacher's softened classes, whatever form they come in."""

import numpy as np
import pytest

from tf_structprune.task import SoftTargets

TEMPERATURE = 3.0


def softened(logits):
    raw = np.exp((logits - logits.max(axis=1, keepdims=True)) / TEMPERATURE)
    return raw / raw.sum(axis=1, keepdims=True)


def divergence(teacher, student):
    """Hinton's loss in NumPy: T^2 times the mean divergence of the softened classes."""
    p, q = softened(teacher), softened(student)
    return TEMPERATURE**2 * float(np.mean((p * np.log(p / q)).sum(axis=1)))


def probabilities_of(logits):
    raw = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("probabilities", [False, True], ids=["logits", "probabilities"])
@pytest.mark.parametrize("seed", range(5))
def test_soft_targets_match_the_reference(probabilities, seed):
    rng = np.random.default_rng(seed)
    teacher, student = (rng.normal(0, 2, (9, 4)).astype(np.float32) for _ in range(2))
    form = probabilities_of if probabilities else np.asarray
    loss = SoftTargets(probabilities=probabilities).compute_loss(form(teacher), form(student))
    assert float(loss) == pytest.approx(divergence(teacher, student), rel=1e-4)


@pytest.mark.parametrize("probabilities", [False, True], ids=["logits", "probabilities"])
def test_soft_targets_vanish_when_the_student_is_the_teacher(probabilities):
    outputs = probabilities_of(np.random.default_rng(0).normal(0, 2, (9, 4))).astype(np.float32)
    assert float(SoftTargets(probabilities=probabilities).compute_loss(outputs, outputs)) == pytest.approx(0, abs=1e-5)


def test_soft_targets_bear_a_probability_of_zero():
    sure, unsure = np.eye(4, dtype=np.float32), np.full((4, 4), 0.25, np.float32)
    loss = float(SoftTargets(probabilities=True).compute_loss(sure, unsure))
    assert np.isfinite(loss) and loss > 0
