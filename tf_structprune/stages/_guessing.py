"""Whether a score tells more than guessing would."""

from tf_structprune.task import Validation, guessing_score

_NEAR = 0.2  # of the way from guessing to no error


def near_guessing(validation: Validation, score: float) -> str:
    """That an error rate is near that of saying the most frequent class always, in words; "" where it is not.

    Args:
        validation: the samples and how they are scored; of another score than an error rate nothing is said.
        score: on them.
    """
    guessed = guessing_score(validation.score, validation.y)
    if guessed is None or score >= guessed * (1 - _NEAR):
        return ""
    text = validation.score.metric.text
    return f"errs in {text(score)}, guessing in {text(guessed)}"
