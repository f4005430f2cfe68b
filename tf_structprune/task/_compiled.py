"""What a model was compiled with."""

from typing import Any

import keras


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """The arguments of `compile` as they were given; Keras itself gives back what can be written of them.

    Args:
        model: the model; nothing of one that was not compiled.
    """
    if not model.compiled:
        return {}
    kept = (getattr(value, "config", None) for value in vars(model).values())
    return dict(next((found for found in kept if isinstance(found, dict) and {"optimizer", "loss"} <= set(found)), {}))
