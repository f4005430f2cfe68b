"""The callback that takes layers off while a model with shortcuts trains."""

from bisect import bisect_left
from typing import Any

import keras
from absl import logging

from tf_structprune.allocation import MEASURED, Budget, OutOfReachError, as_budgets
from tf_structprune.callbacks._student import check_regularized, student_of
from tf_structprune.fuse import Shortcut, fuse_shortcuts, shortcuts_of
from tf_structprune.stages import check_at_least, check_whole, counted_cost


class RemoveLayers(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Take the weakest layers of a model from `residual_convolutions` off while it trains.

    Until `epoch` all are trained, and the L1 term of the shortcuts presses their scales. Then those of the smallest
    |scale| go, by one threshold for the whole network (Xu et al., arXiv 2011.14356), and further epochs retrain the
    rest. A layer that is off does nothing any more and its weights have no gradient; `fuse_shortcuts` takes it out.
    Which are off is part of the model, so that `BackupAndRestore` and saved models keep it.

    `find_layers` needs no such training: it removes layers of a trained network by what the rest can make up for.

    Figure in `logs`: `layers_removed`.

    Args:
        epoch: epoch, from 0, at whose beginning they go; a `fit` that begins behind it with all of them on removes them
            then.
        below: those of a smaller |scale|.
        budget: or the weakest, as few as meet it: a `Budget` or a text such as "macs=0.6", of MACs, parameters or
            bytes, of what the model with all layers costs once it is fused.

    Attributes:
        removed: paths of the convolutions that went, the weakest first.

    Raises:
        TypeError: both, or neither.
        ValueError: an epoch that is no whole number, one or a threshold below 0, a budget that has to be measured; in
            `fit`, a model without shortcuts, or a budget that is not met without all of their layers.
    """

    def __init__(self, *, epoch: int, below: float | None = None, budget: Budget | str | None = None) -> None:
        super().__init__()
        if (below is None) == (budget is None):
            raise TypeError(
                f"Layers go below a scale or to a budget. Received: below={below!r} and budget={budget!r}. Give one of "
                "them."
            )
        self.epoch = check_whole("epoch", epoch, 0)
        self.below = None if below is None else check_at_least("below", below, 0)
        self.budget = None if budget is None else as_budgets(budget)[0]
        if self.budget is not None and self.budget.kind in MEASURED:
            raise ValueError(
                f"A budget of layers in fit is counted. Received: kind={self.budget.kind!r}. Use macs, parameters or "
                "bytes, or compress --granularity layer."
            )
        self.removed: tuple[str, ...] = ()
        self._done = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See that there is something to remove."""
        shortcuts = self._shortcuts()
        if not shortcuts:
            raise ValueError(
                f"Model '{self._student.name}' has no shortcuts. Received: a plain model. Use residual_convolutions "
                "first, or find_layers on a trained model."
            )
        if any(shortcut.l1 for shortcut in shortcuts.values()):
            check_regularized(self.model, "The pressure on the scales")
        self.removed, self._done = self._off(), False
        if self.budget is not None and not self.removed:
            self._chosen(shortcuts)  # an impossible budget is refused before the first epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take layers off when it is time, or was in a `fit` that did not come there."""
        if not self._done and epoch >= self.epoch:
            self.removed = self._off()
            if epoch == self.epoch or not self.removed:  # else restored behind that epoch
                self._take_off()
            self._done = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the figure in `logs`."""
        if logs is not None:
            logs["layers_removed"] = len(self._off())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave no layer on that was to go."""
        if not self._done:
            self._take_off()
            logging.warning(
                "Training ended before epoch %d: %d layers were taken off only now, without retraining. Train longer, "
                "or use a smaller epoch.",
                self.epoch,
                len(self.removed),
            )

    @property
    def _student(self) -> keras.Model:
        return student_of(self.model)

    def _shortcuts(self) -> dict[str, Shortcut]:
        """By path, the weakest first."""
        found = shortcuts_of(self._student)
        return dict(sorted(found.items(), key=lambda item: abs(item[1].numbers()[1])))

    def _off(self) -> tuple[str, ...]:
        return tuple(name for name, shortcut in self._shortcuts().items() if not shortcut.is_on)

    def _take_off(self) -> None:
        shortcuts = self._shortcuts()
        self.removed, self._done = self._chosen(shortcuts), True
        for name in self.removed:
            shortcuts[name].on.assign(False)
        logging.info("%d of %d layers go: %s", len(self.removed), len(shortcuts), ", ".join(self.removed))

    def _chosen(self, shortcuts: dict[str, Shortcut]) -> tuple[str, ...]:
        """The layers that go, of shortcuts with the weakest first."""
        names = list(shortcuts)
        if self.budget is None:
            return tuple(name for name in names if abs(shortcuts[name].numbers()[1]) < (self.below or 0))
        cost = self._cost_without
        most, least = self.budget.most(cost([])), cost(names)
        if least > most:
            raise OutOfReachError(
                f"Budget '{self.budget.kind}' is not met without all layers that may go. Received: "
                f"{self.budget.asked}, and {self.budget.text(least)} without {len(names)} layers. Use a larger budget."
            )
        return tuple(names[: bisect_left(range(len(names)), True, key=lambda count: cost(names[:count]) <= most)])

    def _cost_without(self, names: list[str]) -> float:
        if self.budget is None:
            raise RuntimeError("Without a budget nothing is counted.")
        return counted_cost(fuse_shortcuts(self._student, remove=names), self.budget)
