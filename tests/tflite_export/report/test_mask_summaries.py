import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from tensorflow.core.util.event_pb2 import Event

import tf_structprune as sp
from tf_structprune.masks import FEATURE_MAP
from tflite_export.report import MaskSummaries


class Cut(keras.callbacks.Callback):
    """Takes the first maps away in an epoch."""

    def __init__(self, epoch, count):
        super().__init__()
        self.epoch, self.count = epoch, count

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            masks = sp.get_masks(self.model)
            for keep in masks.feature_map.values():
                keep[: self.count] = False
            sp.set_masks(self.model, masks)


def network():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, name="a"), keras.layers.Conv2D(6, 3, name="b"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((7, 7, 2)), *layers, keras.layers.Dense(2, name="out")])


def events(folder):
    """Images by epoch and tag."""
    (path,) = folder.glob("**/events.*")
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = Event.FromString(record.numpy())
        for value in event.summary.value:
            found[event.step, value.tag] = imread(io.BytesIO(value.image.encoded_image_string), "png")
    return found


def test_masks_are_written_in_the_epochs_that_changed_them(tmp_path):
    masked = sp.wrap(network(), granularity=FEATURE_MAP, keep_first=False)
    masked.compile("sgd", "mse")
    x, y = np.zeros((4, 7, 7, 2), np.float32), np.zeros((4, 2), np.float32)
    masked.fit(x, y, epochs=4, verbose=0, callbacks=[Cut(2, 1), MaskSummaries(tmp_path)])
    found = events(tmp_path)
    assert {step for step, _ in found} == {0, 2}
    whole, cut = (found[step, "masks/b"][..., 3] == 1 for step in (0, 2))
    assert whole.shape == cut.shape == (6, 4) and whole.all()
    assert not cut[0].any() and not cut[:, 0].any() and cut[1:, 1:].all(), "an output map and an input map are gone"


def test_model_without_masks_is_refused(tmp_path):
    model = network()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"has no masks. Received: a plain model. Use wrap"):
        model.fit(np.zeros((1, 7, 7, 2)), np.zeros((1, 2)), verbose=0, callbacks=[MaskSummaries(tmp_path)])
    assert not list(tmp_path.iterdir())
