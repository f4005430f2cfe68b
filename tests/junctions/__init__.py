"""Small models, each with one kind of junction or layer in its middle, and what may be pruned in them."""

import functools

import keras
import numpy as np

from tests import zoo
from tests.junctions._blocks import BLOCKS
from tests.junctions._layers import LAYERS
from tests.junctions._merges import MERGES
from tests.junctions._net import CONVOLUTIONS as CONVOLUTIONS
from tests.junctions._net import SHAPES as SHAPES
from tests.junctions._net import Junction
from tests.junctions._wiring import WIRING

WORDS = 10
_TABLE: dict[str, Junction] = LAYERS | MERGES | WIRING | BLOCKS


def _build(name: str) -> keras.Model:
    return zoo.randomize(_TABLE[name].build())


JUNCTIONS = {name: functools.partial(_build, name) for name in _TABLE}
EXPECTED_PRUNABLE = {name: junction.prunable for name, junction in _TABLE.items()}


def samples(model: keras.Model, count: int = 3, seed: int = 1, open_size: int = 7):
    """Random inputs in the structure that the model takes, indices below `WORDS` for integers."""
    rng = np.random.default_rng(seed)

    def sample(tensor):
        shape = (count, *(size or open_size for size in tensor.shape[1:]))
        if "int" in tensor.dtype:
            return rng.integers(0, WORDS, shape).astype(tensor.dtype)
        return rng.uniform(-1, 1, shape).astype(np.float32)

    # a Sequential model that was not called yet has `inputs`, but no `input`
    return keras.tree.map_structure(sample, model.inputs[0] if isinstance(model, keras.Sequential) else model.input)
