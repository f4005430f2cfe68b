"""How well maps of classes overlap."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tf_structprune.search import Metric
from tf_structprune.task._score import Score


class MeanIou(Score):
    """Mean intersection over union of the classes that occur in targets or outputs, over the pixels of all samples.

    With labels each channel is a map of two classes, yes and no, and the mean is over all channels too.

    Args:
        classes: number of classes along the last axis of the outputs; None for labels.
        threshold: above which an output is a yes, for labels.
    """

    one_output = True
    metric = Metric("mean IoU", percent=True)

    def __init__(self, classes: int | None, threshold: float = 0.5) -> None:
        self.classes, self.threshold = classes, threshold

    def of_all(self, y_true: Any, y_pred: Any) -> float:
        if self.classes is not None:
            wanted, found = np.asarray(y_true), np.asarray(y_pred)
            if wanted.shape == found.shape:  # one-hot
                wanted = wanted.argmax(axis=-1)
            return _mean_iou(wanted, found.argmax(axis=-1), self.classes)
        found = (np.asarray(y_pred) > self.threshold).reshape(-1, y_pred.shape[-1])
        wanted = (np.asarray(y_true) > 0).reshape(found.shape)
        channels = range(found.shape[-1])
        return float(np.mean([_mean_iou(wanted[:, each], found[:, each], 2) for each in channels]))


def _mean_iou(wanted: NDArray[Any], found: NDArray[Any], classes: int) -> float:
    pairs = wanted.ravel().astype(np.int64) * classes + found.ravel()
    counts = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    return float(np.mean(both[either > 0] / either[either > 0]))
