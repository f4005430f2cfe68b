"""Which model of a training a callback is about."""

import keras


def student_of(trained: keras.Model) -> keras.Model:
    """The model whose weights `fit` trains: the student where a `keras.distillation.Distiller` trains it."""
    return getattr(trained, "student", trained)
