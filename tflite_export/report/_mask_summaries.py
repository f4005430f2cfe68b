"""Masks in TensorBoard while a model is fitted."""

from pathlib import Path
from typing import Any

import keras

from tf_structprune.graph import trace
from tf_structprune.layers import get_masks
from tf_structprune.masks import MaskSet, masks_by_layer
from tflite_export.report._mask_image import layer_picture, png_of
from tflite_export.report._mask_picture import MaskPicture

_RGBA = 4  # channels, as TensorBoard's summaries number colour spaces


class MaskSummaries(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes the masks of a model as images for TensorBoard, at the end of every epoch that changed them.

    Put it behind `StructuredPruning`, with the directory of `keras.callbacks.TensorBoard`, which draws what the stages
    put into the logs: sparsity, score, whether a stage was accepted. Masks stand under "masks/" and the layer's name:
    output maps down, input maps to the right, of each the positions of its kernel where these do not go whole. Needs
    TensorFlow and matplotlib.

    Args:
        log_dir: TensorBoard's directory.
    """

    def __init__(self, log_dir: str | Path) -> None:
        super().__init__()
        self.log_dir = Path(log_dir)
        self._writer: Any = None
        self._drawn: MaskSet | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the file of events; refuses a model without masks.

        Raises:
            ValueError: the model has no masks.
        """
        import tensorflow as tf

        get_masks(self.model)
        self._drawn = None
        self._writer = tf.summary.create_file_writer(str(self.log_dir / "masks"))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write what changed."""
        masks = get_masks(self.model)
        if self._drawn is None or not masks.equals(self._drawn):
            self._write(_pictures(self.model, masks), epoch)
            self._drawn = masks

    def on_train_end(self, logs: Any = None) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, pictures: list[MaskPicture], step: int) -> None:
        from tensorflow import summary
        from tensorflow.core.framework.summary_pb2 import Summary

        values = [
            Summary.Value(
                tag=f"masks/{each.layer}",
                image=Summary.Image(
                    height=each.rows, width=each.columns, colorspace=_RGBA, encoded_image_string=png_of(each)
                ),
            )
            for each in pictures
        ]
        with self._writer.as_default(step=step):
            summary.experimental.write_raw_pb(Summary(value=values).SerializeToString())
        self._writer.flush()


def _pictures(model: keras.Model, masks: MaskSet) -> list[MaskPicture]:
    """Of every layer that has weights which may go."""
    graph = trace(model)
    left = masks_by_layer(graph, masks)
    pictures = (layer_picture(layer, layer, left[layer.name]) for layer in graph.layers)
    return [each for each in pictures if each is not None]
