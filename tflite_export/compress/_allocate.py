"""How the budget of a run is allocated."""

import functools
from dataclasses import replace
from functools import partial
from typing import Any, cast

import keras
from absl import logging

from tf_structprune.allocation import SCORING, Allocation, Budget, CostFunction, OutOfReachError
from tf_structprune.layers import MaskedModel, wrap
from tf_structprune.masks import FEATURE_MAP
from tf_structprune.scoring import RECONSTRUCTION
from tf_structprune.stages import allocate, check_reach
from tf_structprune.task import Validation, take
from tflite_export.bench import FILE_KINDS, file_costs, latency_cost
from tflite_export.compress._job import Job
from tflite_export.export import converted_integers, source_of
from tflite_export.file import TFLiteFile, convert_ends
from tflite_export.pack import Packed, Packing, pack, stand_in
from tflite_export.quantize import check_samples
from tflite_export.runtime import arena_bytes

MEASURED_SAMPLES = 16  # for the ranges of the signals, on which neither time nor size depends


def allocate_budget(masked: MaskedModel, budgets: tuple[Budget, ...], samples: Validation, job: Job) -> Allocation:
    """The allocation that the settings ask for; latency, flash and arena are those of the int8 file.

    Where the kept weights are solved afterwards, methods that score allocations do it by what that cannot make up for.

    Args:
        masked: the model as it is now; it is left as it was.
        budgets: what it may cost.
        samples: what candidates are scored on.
        job: the run: method, seed, who scores, and training samples for the files that are timed.
    """
    settings = job.settings
    predicted = settings.reconstruct == "full" and settings.allocation in SCORING
    found = allocate(
        masked,
        budgets,
        validation_data=(samples.x, samples.y),
        method=settings.allocation,
        score=RECONSTRUCTION if predicted else samples.score,
        cost=costs_of(masked, budgets, job),
        floor=settings.floor,
        seed=settings.seed,
        batch_size=samples.batch_size,
        executor=settings.scorer,
    )
    logging.info("Allocation: %s", found)
    return found


def costs_of(masked: MaskedModel, budgets: tuple[Budget, ...], job: Job) -> dict[str, CostFunction]:
    """What measures the budgets that are measured, by kind."""
    few = take(job.data.x_train, slice(MEASURED_SAMPLES))
    kinds = [budget.kind for budget in budgets]
    costs: dict[str, CostFunction] = {}
    if "latency" in kinds:
        costs["latency"] = latency_cost(masked.model, device=job.device, quantize="int8", representative_data=few)
    of_files = [kind for kind in kinds if kind in FILE_KINDS]
    if of_files:
        make, how = partial(integer_file, x=few, job=job), job.settings.pack
        size, arena = partial(flash_bytes, how=how), partial(packed_arena_bytes, how=how)
        costs |= file_costs(masked.model, make=make, kinds=of_files, size=size, arena=arena)
    return costs


def flash_bytes(file: TFLiteFile, how: str) -> int:
    """What an integer file takes of the flash, packed as the run hands it over: with the code of what decodes it.

    Args:
        file: the integer file.
        how: `CompressSettings.pack`.
    """
    packed = _packed(file, how)
    return len(file.data) if packed is None else len(packed.file.data) + packed.code.least_bytes


def packed_arena_bytes(file: TFLiteFile, how: str) -> int:
    """What an integer file, packed as the run hands it over, needs of TFLite Micro's arena.

    Args:
        file: the integer file.
        how: `CompressSettings.pack`.
    """
    packed = _packed(file, how)
    return arena_bytes(file if packed is None else stand_in(packed.file))


@functools.lru_cache(8)  # flash and arena look at the same file, one after the other
def _packed(file: TFLiteFile, how: str) -> Packed | None:
    """The file with packed weights, None where it is handed over as it is."""
    if how == "none":
        return None
    try:
        packed = pack(file, cast(Packing, how))
    except ValueError:  # the coder makes none of its weights smaller
        return None
    return packed if packed.pays else None


def integer_file(model: keras.Model, x: Any, job: Job) -> TFLiteFile:
    """The int8 file that a model becomes, as the run hands it over, but not verified.

    Args:
        model: plain or shrunk.
        x: some samples, for the ranges of the signals.
        job: the run.
    """
    samples = check_samples(x, model, name="x_train")
    file = converted_integers(source_of(model, "int8", samples), job.export, samples)
    return file if job.export.io == "int8" else file.edited(partial(convert_ends, dtype=job.export.io))


def with_first_convolution(job: Job) -> Job:
    """The same run, in which the first convolution may be pruned too if its budgets cannot be met without that."""
    settings, budgets = job.settings, job.settings.budgets
    if not budgets or not settings.keep_first or settings.granularity != (FEATURE_MAP,):
        return job
    try:
        _check(job, budgets)
        return job
    except OutOfReachError as error:
        opened = replace(job, settings=replace(settings, keep_first=False))
        try:
            _check(opened, budgets)
        except OutOfReachError:
            raise error from None
        job.progress.line(f"The first convolution is pruned too. {error}")
        return opened


def _check(job: Job, budgets: tuple[Budget, ...]) -> None:
    masked = MaskedModel(wrap(job.dense, granularity=FEATURE_MAP, **job.settings.demands))
    check_reach(masked, budgets, cost=costs_of(masked, budgets, job))
