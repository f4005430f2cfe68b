"""One reconstruction: the walk through a model that solves its layers and measures its normalizations."""

from collections import Counter
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tf_structprune.graph import (
    CallList,
    LayerCall,
    TensorKey,
    core_layer,
    kernel_of,
    kernel_variable,
    list_calls,
    named_layers,
    readers_of,
)
from tf_structprune.layers import MaskedLayer, MaskedModel, MaskedNormalization, keep_everything, rebuild
from tf_structprune.masks import LayerMasks, masks_by_layer
from tf_structprune.observe import (
    MOST_BYTES,
    MOST_INPUTS,
    MomentsInTurn,
    Patches,
    Pixels,
    Shelf,
    Walk,
    is_batch_normalization,
    mean_and_variance,
    patches_of,
    sum_ends,
    taken,
)
from tf_structprune.reconstruct import Moments, MomentSum, solve
from tf_structprune.stages._reconstruction import LayerReconstruction, Reconstruction
from tf_structprune.task import Samples

Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]  # mean and variance of each channel

_BATCH = 32  # samples that a layer computes at a time


class Reconstructing:
    """One reconstruction: what is known of the model, and what was done so far.

    Args:
        handle: the model.
        samples: of its inputs.
        ridge: see `reconstruct`.
        rng: chooses pixels.
        solving: whether weights are solved for, or only statistics measured.
        reference: the plain model of the same calls that it is to compute like; None for itself with all masks open.
    """

    def __init__(
        self,
        handle: MaskedModel,
        samples: Samples,
        ridge: float,
        rng: np.random.Generator,
        *,
        solving: bool,
        reference: keras.Model | None = None,
    ) -> None:
        self._handle, self._samples, self._ridge, self._rng, self._solving = handle, samples, ridge, rng, solving
        reference = _dense(handle) if reference is None else reference
        self._found, self._reference = list_calls(handle.model), list_calls(reference)
        self._read = _read(self._found)
        self._masks = masks_by_layer(handle.graph, handle.masks, handle.polarity)
        self._times = Counter(call.name for call in self._found.calls)
        self._readers = readers_of(self._found)
        self._sums = sum_ends(self._found)
        self._patches = self._known_patches() if solving else {}
        self._done: dict[str, LayerReconstruction] = {}
        self._wanted: dict[str, Statistics] = {}
        self._measured: list[str] = []

    def report(self) -> Reconstruction:
        """Do it."""
        batches = [self._samples[start : start + _BATCH].arrays for start in range(0, len(self._samples), _BATCH)]
        shared = {n: known for n, known in self._patches.items() if self._times[n] > 1 and known.size <= MOST_INPUTS}
        moments = MomentsInTurn(self._reference, shared, batches, self._rng)
        with Shelf() as shelf:
            walk = Walk(self._reference, self._found, batches, shelf, passing=_is_passed)
            for reference, call in walk:
                if isinstance(call.layer, MaskedLayer):
                    self._at_kernel(walk, reference, call, moments)
                elif is_batch_normalization(call):
                    self._at_normalization(walk, reference, call)
                elif _is_other(reference, call):
                    walk.mark(call)
        return Reconstruction(tuple(self._done.values()), tuple(self._measured), len(self._samples))

    def _known_patches(self) -> dict[str, Patches]:
        layers, channels = named_layers(self._handle.model), self._handle.graph.channels
        found = {name: patches_of(layers[name], channels[name].positions) for name in self._masks}
        return {name: patches for name, patches in found.items() if patches is not None}

    def _at_kernel(self, walk: Walk, reference: LayerCall, call: LayerCall, shared: MomentsInTurn) -> None:
        """Solve for the weights of a layer, at its first call."""
        masks = self._masks[call.name]
        changed = self._solving and bool(self._lossy_branches(walk, call.output))
        if not changed and not walk.differs(call.inputs[0]) and _is_whole(masks):
            if not masks.outputs.all():
                walk.mark(call)
            return
        walk.mark(call)
        if not self._solving or call.name in self._done or call.output not in self._read:
            return
        patches = self._patches.get(call.name)
        if patches is None:
            self._done[call.name] = LayerReconstruction(call.name, reason="what it computes is not known")
            return
        if call.name in shared:
            moments = shared.take(call.name).of_weights(*_weights(reference.layer, patches))
        else:
            pixels = Pixels(len(self._samples), patches.size, self._rng)
            rows = len(self._samples) * pixels.count(patches.pixels(walk.model(call.inputs[0], 0)))
            if patches.nbytes(rows) > MOST_BYTES or self._times[call.name] > 1:
                reason = f"an output reads {patches.size:,} values, too many to be known from {rows:,} pixels"
                self._done[call.name] = LayerReconstruction(call.name, reason=reason)
                return
            moments = self._moments(walk, reference, call, pixels)
        self._done[call.name] = self._solved(call, patches, moments)

    def _solved(self, call: LayerCall, patches: Patches, moments: Moments) -> LayerReconstruction:
        kernel, bias = _weights(call.layer, patches, variable=True)
        masks = self._masks[call.name]
        kept = masks.kept
        fixed = None if bias is not None or self._centring(call) is not None else np.zeros(patches.view.outputs)
        if not np.isfinite(moments.cross).all() or not moments.inputs.is_finite():
            return LayerReconstruction(call.name, reason="it reads or makes values that are not finite")
        try:
            solution = solve(moments, kernel, kept, bias=fixed, ridge=self._ridge)
        except np.linalg.LinAlgError:
            reason = "its equations have no single solution: give more samples or a larger ridge"
            return LayerReconstruction(call.name, reason=reason)
        behind = self._centring(call)
        if behind is not None:
            self._wanted[behind.name] = moments.mean.ravel(), moments.variance.ravel()
        new = np.where(kept, solution.kernel, kernel)
        kernel_variable(call.layer).assign(patches.view.restore(new, np))
        if bias is not None:
            core_layer(call.layer).bias.assign(np.where(kept.any(axis=(0, 1)), solution.bias, bias))
        return LayerReconstruction(call.name, solution.before, solution.after, moments.inputs.rows, patches.size)

    def _moments(self, walk: Walk, reference: LayerCall, call: LayerCall, pixels: Pixels) -> Moments:
        """What the layer now reads, and what it is to give."""
        patches = self._patches[call.name]
        kernel, bias = _weights(reference.layer, patches)
        groups, outputs = patches.view.groups, patches.view.outputs
        weights = kernel.reshape(-1, groups, outputs // groups).transpose(1, 0, 2)
        total = MomentSum(groups, patches.size, outputs // groups)
        for batch in walk.batches:
            reads, reads_dense = walk.model(call.inputs[0], batch), walk.reference(reference.inputs[0], batch)
            missing = self._missing(walk, call.output, batch)
            for part, chosen in patches.parts(reads, pixels):
                read = taken(patches.of(reads[part], chosen))
                dense = taken(patches.of(reads_dense[part], chosen)) if walk.differs(call.inputs[0]) else read
                wanted = np.matmul(dense.transpose(1, 0, 2), weights).transpose(1, 0, 2)
                if bias is not None:
                    wanted = wanted + bias.reshape(groups, -1)
                if missing is not None:
                    off = missing[part].reshape(part.stop - part.start, -1, patches.view.outputs)
                    wanted = wanted + taken(off, chosen).reshape(wanted.shape)
                total.add(read, wanted)
        return total.moments()

    def _lossy_branches(self, walk: Walk, output: TensorKey) -> tuple[TensorKey, ...]:
        """The other branches of the sum in which a layer ends, as far as they have lost something before it."""
        end = self._sums.get(output)
        if end is None or not all(walk.known(key) for key in end.others):
            return ()
        return tuple(key for key in end.others if walk.differs(key))

    def _missing(self, walk: Walk, output: TensorKey, batch: int) -> NDArray[np.float32] | None:
        """What those branches have lost, in terms of the layer's outputs."""
        lossy = self._lossy_branches(walk, output)
        if not lossy:
            return None
        off = sum(walk.reference(walk.twin(key), batch) - walk.model(key, batch) for key in lossy)
        found: NDArray[np.float32] = self._sums[output].to_layer(np.asarray(off, np.float32))
        return found

    def _centring(self, call: LayerCall) -> LayerCall | None:
        """The normalization behind a layer, if it is measured anew and takes off the mean of each of its outputs."""
        behind = next(self._readers.behind(call), None)
        if behind is None or not self._is_measured(behind):
            return None
        rank = len(behind.input_shapes[0])
        same = behind.layer.axis % rank == self._handle.graph.channels[call.name].makes[0].axis
        return behind if same and core_layer(call.layer).activation is keras.activations.linear else None

    def _is_measured(self, call: LayerCall) -> bool:
        return is_batch_normalization(call) and self._times[call.name] == 1 and not call.kwargs.get("training")

    def _at_normalization(self, walk: Walk, reference: LayerCall, call: LayerCall) -> None:
        """Measure the statistics of a batch normalization."""
        if not walk.differs(call.inputs[0]) or not self._is_measured(call):
            return
        norm, axis = call.layer, call.layer.axis
        found = mean_and_variance((walk.model(call.inputs[0], batch) for batch in walk.batches), axis)
        if self._solving:
            wanted = self._wanted.get(call.name)
            if wanted is None:
                read = (walk.reference(reference.inputs[0], batch) for batch in walk.batches)
                wanted = mean_and_variance(read, axis)
            found = _statistics_for(norm, found, wanted)
        norm.moving_mean.assign(found[0])
        norm.moving_variance.assign(found[1])
        self._measured.append(call.name)


def _statistics_for(norm: Any, found: Statistics, wanted: Statistics) -> Statistics:
    """The statistics with which a normalization makes of what it reads what it made of what it was to read.

    Where its statistics are those of the samples they are what is found; where the samples differ from what it was
    trained with, they differ from what is found as they did before.
    """
    mean, variance = (
        keras.ops.convert_to_numpy(each).astype(np.float64) for each in (norm.moving_mean, norm.moving_variance)
    )
    known = (wanted[1] > 0) & (found[1] > 0)
    ratio = np.where(known, found[1], 1) / np.where(known, wanted[1], 1)
    return found[0] - np.sqrt(ratio) * (wanted[0] - mean), np.maximum(
        (variance + norm.epsilon) * ratio - norm.epsilon, 0
    )


def _weights(
    layer: Any, patches: Patches, *, variable: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Kernel, shape (positions, group inputs, outputs), and bias of a layer; its variable, or what it computes with."""
    kernel = kernel_variable(layer) if variable else kernel_of(layer)
    bias = getattr(core_layer(layer), "bias", None)
    view: NDArray[np.float32] = patches.view.view(keras.ops.convert_to_numpy(kernel), np)
    return view, None if bias is None else keras.ops.convert_to_numpy(bias)


def _is_whole(masks: LayerMasks) -> bool:
    """Whether all weights of the outputs that stay are there."""
    return bool(masks.kept[:, :, masks.outputs].all())


def _is_passed(call: LayerCall) -> bool:
    """Whether nothing is solved for or measured at a call."""
    return not isinstance(call.layer, MaskedLayer) and not is_batch_normalization(call)


def _is_other(reference: LayerCall, call: LayerCall) -> bool:
    """Whether a call without weights to solve for computes something else than that of the reference."""
    if isinstance(call.layer, MaskedNormalization):
        return not keras.ops.convert_to_numpy(call.layer.keep).all()
    return type(call.layer) is not type(reference.layer)  # a layer went, and only passes on what it reads


def _read(found: CallList) -> set[TensorKey]:
    """Outputs of the calls on which an output of the model depends."""
    read = {key.output(0) for key in found.outputs}
    for call in reversed(found.calls):
        if call.output in read:
            read.update(key.output(0) for key in call.inputs)
    return read


def _dense(handle: MaskedModel) -> keras.Model:
    """A plain copy of the model with all masks open."""
    masks = handle.masks
    try:
        handle.set_masks(keep_everything(masks))
        return rebuild(handle.model, {})
    finally:
        handle.set_masks(masks)
