"""Which model of a training a callback is about."""

import keras


def student_of(trained: keras.Model) -> keras.Model:
    """The model whose weights `fit` trains: the student where a `keras.distillation.Distiller` trains it."""
    return getattr(trained, "student", trained)


def check_regularized(trained: keras.Model, what: str) -> None:
    """Refuse a training whose loss leaves the student's regularizers out.

    Args:
        trained: the model whose `fit` trains.
        what: what works through a regularizer, for the message.

    Raises:
        ValueError: Keras's `Distiller`, which leaves them out.
    """
    if isinstance(trained, keras.distillation.Distiller):
        raise ValueError(
            f"{what} is a regularizer, and Keras's Distiller leaves regularizers out of its loss. Received: a "
            "Distiller. Fit the student itself, or use compress, which distills with them."
        )
