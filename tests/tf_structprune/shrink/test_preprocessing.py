"""Shrunk models compute with the statistics that a `Normalization` was adapted to."""

import keras
import numpy as np

import tf_structprune as sp
from tests import zoo
from tf_structprune.shrink import shrink


def test_shrunk_model_normalizes_and_reloads(tmp_path):
    masked = sp.wrap(zoo.adapted())
    sp.set_masks(masked, sp.MaskSet(feature_map={"b": np.arange(6) < 3}))
    small = shrink(masked).model
    assert zoo.largest_difference(masked, small, zoo.batch()) < 1e-6
    small.save(tmp_path / "small.keras")
    assert zoo.largest_difference(small, keras.models.load_model(tmp_path / "small.keras"), zoo.batch()) == 0
