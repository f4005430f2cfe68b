"""Prune a network in every way, lower what is left, time all files of it in turn: rows of figures."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import keras
import numpy as np

import tf_structprune as sp
import tflite_export as te
from benchmarks.networks import kept_macs, kept_weights
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, INTRA_KERNEL, KERNEL, Granularity, stage_shares
from tflite_export.file import open_file
from tflite_export.quantize import Quantize, convert
from tflite_export.runtime import litert_latencies_us

METHODS = {
    "feature maps": (FEATURE_MAP,),
    "kernel blocks": (KERNEL,),
    "intra-kernel": (INTRA_KERNEL,),
    "combined": GRANULARITIES,
}
TFMOT = "tfmot"
# Channels that a layer keeps are a multiple of the tile in which the CPU multiplies: 64 int8 values with AMX,
# 32 float32 or int8 values without; less where the network is narrow.
ROUND_TO = {"CIFAR10.small": (64, 32), "CIFAR10.large": (64, 32), "ResNet-8": (16, 16), "MobileNetV1 0.25": (8, 8)}
# Groups of outputs, and blocks of inputs, for kernels of up to that sparsity.
BLOCKS = {0.5: 2, 0.75: 4, 1.0: 8}
# Strides that a 3x3 kernel needs for up to that sparsity; stride 3 keeps a column, stride 9 one weight.
STRIDES = {2 / 3: (1, 3), 1.0: (3, 9)}
# What the stages of "combined" remove at 90 %: most of it maps, then columns, which lower best.
SHARES = {0.9: {FEATURE_MAP: 0.75, KERNEL: 0.1, INTRA_KERNEL: 2 / 3}}

LARGEST_DIFFERENCE = 1e-5  # of lowered and shrunk logits, relative to the largest logit
SAMPLES = 4
_BISECTIONS = 8
_ROOT = pathlib.Path(__file__).parents[1]


@dataclass(frozen=True)
class Other:
    """Files of the same network pruned by another tool.

    Attributes:
        sparsity_reached: fraction of the weights removed, the classifier's not counted.
        macs_kept: multiplications by weights that are not zero.
        files: by number format and variant, the `.tflite` file.
    """

    sparsity_reached: float
    macs_kept: int
    files: Mapping[str, Mapping[str, bytes]]


def prune(dense: keras.Model, method: str, sparsity: float, *, round_to: int, seed: int) -> te.ShrunkModel:
    """Random masks of a method at a sparsity, or at the most that it can reach; removed channels taken out.

    Feature maps come first and are taken out at once; kernel and intra-kernel masks are drawn for
    the thin network, so that blocks are even.
    """
    kinds = METHODS[method]
    shares = dict(zip(kinds, stage_shares(sparsity, kinds), strict=True))
    if len(kinds) > 1:
        shares = dict(SHARES.get(sparsity, shares))
    goal, left = float(kept_weights(dense)), float(kept_weights(dense))
    plain, result = dense, None
    if FEATURE_MAP in kinds:
        masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False, round_to=round_to)
        goal *= 1 - shares.pop(FEATURE_MAP)
        remove(masked, FEATURE_MAP, 1 - goal / left, seed)
        result = te.shrink(masked)
        plain, left = result.model, kept_weights(result.model)
    if shares:
        masked = sp.wrap(plain, granularity=tuple(shares))
        graph, thin = sp.trace(masked), left
        for kind, share in shares.items():
            goal *= 1 - share
            fraction = max(0.0, 1 - goal / left)  # less than the share where rounding removed more before
            remove(masked, _lowerable(kind, fraction), fraction, seed)
            left = thin * (1 - sp.sparsity_of(graph, sp.get_masks(masked, graph=graph)))
        result = te.shrink(masked)
    return result


def remove(masked: keras.Model, granularity: Granularity, fraction: float, seed: int) -> None:
    """Set random masks that remove a fraction of what is there, or the most that the granularity can."""
    try:
        masks = sp.random_masks(masked, {granularity: fraction}, seed=seed)
    except ValueError:  # out of reach
        masks, low, high = sp.MaskSet(), 0.0, fraction
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            try:
                masks = sp.random_masks(masked, {granularity: middle}, seed=seed)
                low = middle
            except ValueError:
                high = middle
    sp.set_masks(masked, masks)


def _lowerable(kind: str, fraction: float) -> Granularity:
    """The granularity with demands that make its masks cheap once lowered."""
    if kind == KERNEL:
        groups = next(groups for most, groups in BLOCKS.items() if fraction <= most)
        return sp.Kernel(groups=groups, blocks=groups)
    strides = next(strides for most, strides in STRIDES.items() if fraction <= most)
    return sp.IntraKernelStrided(strides=strides, patterns=2)


def tfmot_files(network: str, sparsity: float, seed: int, folder: pathlib.Path) -> Other:
    """The network pruned by tfmot, in a process of its own.

    Raises:
        RuntimeError: that process failed.
    """
    command = [sys.executable, "-m", "benchmarks._tfmot_files", network, str(sparsity), str(seed), str(folder)]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    child = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(f"{network}: tfmot failed. Received: {child.stderr[-2000:]}. Use --methods without tfmot.")
    figures = json.loads((folder / "figures.json").read_text())
    figures["files"] = {
        quantize: {variant: (folder / name).read_bytes() for variant, name in names.items()}
        for quantize, names in figures["files"].items()
    }
    return Other(**figures)


def measure(
    dense: keras.Model,
    shrunk: Mapping[str, te.ShrunkModel],
    others: Mapping[str, Other],
    *,
    quantize: Quantize,
    runs: int,
    seed: int = 0,
) -> Iterator[dict]:
    """One row a method; the files of all of them run in turn, the dense one among them.

    Args:
        dense: the whole network, a softmax layer at its end.
        shrunk: by method, the pruned network.
        others: by method, files that another tool made.
        quantize: number format of the files.
        runs: timed runs of each file.
        seed: seed of the inputs.

    Raises:
        ValueError: a lowered network does not compute what the shrunk one does.
    """
    shape = (SAMPLES, *dense.input_shape[1:])
    samples = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    def converted(model: keras.Model) -> bytes:
        return convert(model, quantize=quantize, representative_data=samples)

    files, rows, refused = {"dense": {"dense": converted(dense)}}, {}, {}
    for method, small in shrunk.items():
        low = te.lower(small, quantize=quantize)
        rows[method] = _row(dense, small.model, low, samples, method)
        files[method] = {"shrunk": converted(small.model), "lowered": converted(low.model)}
    for method, other in others.items():
        rows[method] = {"sparsity_reached": other.sparsity_reached, "macs_kept": other.macs_kept}
        refused[method] = {variant: _refusal(file) for variant, file in other.files[quantize].items()}
        files[method] = {
            variant: file for variant, file in other.files[quantize].items() if not refused[method][variant]
        }
    figures = _timed(files, runs)
    for method, row in rows.items():
        yield {
            "method": method,
            **row,
            "macs_dense": kept_macs(dense),
            "files": {**figures["dense"], **figures[method]},
            "refused": {variant: reason for variant, reason in refused.get(method, {}).items() if reason},
        }


def _row(dense: keras.Model, small: keras.Model, low: te.LoweredModel, samples: np.ndarray, method: str) -> dict:
    """What a method kept, and proof that lowering changed nothing."""
    difference = relative_difference(small, low.model, samples)
    if not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f"Model '{dense.name}', {method}: lowered and shrunk logits differ. Received: {difference:.1e} of the "
            f"largest logit, allowed is {LARGEST_DIFFERENCE:.0e}. See the plan:\n{low.plan}"
        )
    return {
        "sparsity_reached": 1 - kept_weights(small) / kept_weights(dense),
        "macs_kept": kept_macs(small),
        "difference": difference,
        "plan": str(low.plan).splitlines(),
    }


def relative_difference(first: keras.Model, second: keras.Model, samples: np.ndarray) -> float:
    """Largest difference of the logits of two networks over the largest logit of the first."""
    one, two = (keras.ops.convert_to_numpy(_logits(model)(samples, training=False)) for model in (first, second))
    return float(np.abs(one.astype(np.float64) - two).max() / np.abs(one).max())


def _logits(model: keras.Model) -> keras.Model:
    if not isinstance(model.layers[-1], keras.layers.Softmax):
        raise ValueError(
            f"Model '{model.name}': its last layer must be a Softmax, whose input are logits. Received: "
            f"{model.layers[-1].name}. Give the classifier no activation of its own."
        )
    return keras.Model(model.input, model.layers[-1].input)


def _timed(files: Mapping[str, Mapping[str, bytes]], runs: int) -> dict[str, dict[str, dict]]:
    """Figures of every file; files that are the same bytes run once."""
    unique = list(dict.fromkeys(file for variants in files.values() for file in variants.values()))
    reports = dict(zip(unique, te.benchmark_together(unique, threads=1, runs=runs), strict=True))
    return {
        method: {variant: _figures(reports[file]) for variant, file in variants.items()}
        for method, variants in files.items()
    }


def _refusal(file: bytes) -> str:
    """Why LiteRT cannot run another tool's file; empty if it can."""
    try:
        litert_latencies_us([open_file(file)], threads=1, warmup=0, runs=1)
    except ValueError as error:
        return str(error)
    return ""


def _figures(report: te.BenchReport) -> dict:
    names = ("latency_us", "latency_us_p10", "latency_us_p90", "size_bytes", "macs", "arena_bytes")
    return {name: getattr(report, name) for name in names}
