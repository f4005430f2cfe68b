"""Prune stage by stage; keep only what stays within the tolerance."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras
from absl import logging

from tf_structprune.allocation import Allocation, Budget
from tf_structprune.callbacks import find_masks
from tf_structprune.graph import trace
from tf_structprune.layers import get_masks, set_masks, wrap
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, Granularity, MaskSet, kept_weights, stage_shares
from tf_structprune.resume import State
from tf_structprune.scoring import Validation, as_score, check_validation
from tf_structprune.search import SEARCHES, BestOfN, EvolutionaryParticleFilter, ParticleFilter, Search
from tf_structprune.shrink import ShrinkPlan, ShrunkModel, shrink
from tflite_export.bench import HOST, Device
from tflite_export.compress._allocate import allocate_budget
from tflite_export.compress._constrain import constrain
from tflite_export.compress._data import Data
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._train import retrain
from tflite_export.compress._work import NO_WORK, RefusedError, Work

_SEARCH_IMAGES = 2_000
_PARTICLES = 10


@dataclass(frozen=True)
class Stage:
    """What became of one granularity; MCRs are of the validation data.

    Attributes:
        granularity: what was pruned.
        demands: what was pruned, as an object with the demands on its masks.
        search: name of the selector.
        sparsity: fraction of all prunable weights that is gone after it.
        mcr_before_retraining: MCR with the new masks.
        mcr_after_retraining: MCR after the last epoch.
        accepted: whether that is within the tolerance; if not, the stage was undone.
        allocation: how many maps each group was left, where the settings have a budget.
    """

    granularity: str
    demands: Granularity
    search: str
    sparsity: float
    mcr_before_retraining: float
    mcr_after_retraining: float
    accepted: bool
    allocation: Allocation | None = None


@dataclass(frozen=True)
class _Masked:
    """The model of a stage before retraining.

    Attributes:
        model: with the new masks; for feature maps rebuilt thin.
        demands: what was demanded of the masks.
        mcr: of the validation data.
        allocation: of a budget.
    """

    model: keras.Model
    demands: Granularity
    mcr: float
    allocation: Allocation | None


@dataclass(frozen=True)
class Pruned:
    """The model that the accepted stages leave.

    Attributes:
        small: the shrunk model with its left-over masks.
        stages: all stages in order.
        mcr_dense: validation MCR of the dense model.
        history: one row an epoch: stage, granularity, epoch and the figures of `fit`.
    """

    small: ShrunkModel
    stages: tuple[Stage, ...]
    mcr_dense: float
    history: tuple[dict[str, Any], ...]

    @property
    def sparsity(self) -> float:
        """Fraction of the dense model's prunable weights that is gone."""
        return max((stage.sparsity for stage in self.stages if stage.accepted), default=0.0)


def prune_in_stages(
    dense: keras.Model,
    data: Data,
    settings: CompressSettings,
    *,
    verbose: int = 0,
    work: Work = NO_WORK,
    device: Device = HOST,
) -> Pruned:
    """Prune each granularity in turn, shrink early, retrain, and accept or undo.

    After feature maps are chosen the model is rebuilt thin and retrained thin, so retraining costs
    what the thin model costs.

    Args:
        dense: the trained classifier; it is not changed.
        data: training and validation data; the test part is not touched.
        settings: what to do.
        verbose: 1 shows progress.
        work: where searches and epochs are kept, so that an interrupted run goes on.
        device: what times the files of a latency budget.

    Raises:
        ValueError: nothing to prune, or a sparsity or budget out of reach.
        RefusedError: no stage stayed within the tolerance.
    """
    judge = check_validation((data.x_val, data.y_val), as_score("mcr"), 512)
    mcr_dense = -judge.of(dense)
    # What a budget removes is known when it is allocated.
    shares = (0.0,) if isinstance(settings.sparsity, Budget) else stage_shares(settings.sparsity, settings.granularity)
    total = trace(dense, **settings.demands).prunable_weights
    present = ShrunkModel(dense, MaskSet(), ShrinkPlan({}))
    allocate = partial(allocate_budget, data=data, settings=settings, device=device)
    goal = 1.0  # fraction of the weights that the accepted stages were to keep; some keep fewer
    stages: list[Stage] = []
    history: list[dict[str, Any]] = []
    granularities = () if settings.fixed_point and not settings.sparsity else settings.granularity
    for index, (granularity, share) in enumerate(zip(granularities, shares, strict=False)):
        keep = goal * (1 - share)
        logging.info("Stage %d: %s, %s.", index + 1, granularity, _goal(settings, keep))
        keras.utils.set_random_seed(settings.seed)  # of layers that draw, however many stages this process ran
        search = partial(
            _search, judge=judge, allocate=allocate, settings=settings, verbose=verbose, work=work, index=index
        )
        masked = _prune(present, granularity, keep * total, judge, settings, search=search)
        epochs = work.epochs(f"stage_{index + 1}_epochs")
        figures = retrain(masked.model, dense, data, settings, verbose=verbose, states=epochs)
        history += epoch_rows(index, granularity, figures)
        after = -judge.of(masked.model)
        accepted = after <= mcr_dense + settings.tolerance + 1e-9
        sparsity = 1 - _kept(masked.model) / total
        stages.append(
            Stage(
                granularity, masked.demands, settings.search, sparsity, masked.mcr, after, accepted, masked.allocation
            )
        )
        logging.info("Stage %d: %s", index + 1, asdict(stages[-1]))
        if accepted:
            present, goal = shrink(masked.model), keep
    if granularities and not any(stage.accepted for stage in stages):
        raise _refusal(stages, mcr_dense, settings)
    return Pruned(present, tuple(stages), mcr_dense, tuple(history))


def _goal(settings: CompressSettings, keep: float) -> str:
    """What a stage is to reach, in words."""
    budget = settings.sparsity
    if isinstance(budget, Budget):
        return f"to {100 * budget.fraction:g} % of the {budget.kind}"
    return f"to a sparsity of {1 - keep:.3f}"


def _prune(
    present: ShrunkModel,
    granularity: str,
    keep: float,
    judge: Validation,
    settings: CompressSettings,
    *,
    search: Callable[[keras.Model, Granularity, float], tuple[MaskSet, Allocation | None]],
) -> _Masked:
    """The model with new masks that keep so many weights, or meet the budget."""
    masked = _wrapped(present, settings)
    graph = trace(masked)
    kept = _kept(masked)
    keep = min(keep, kept)
    sparsity = 1 - keep / graph.prunable_weights
    base = get_masks(masked, graph=graph)
    demands = constrain(graph, granularity, sparsity, share=1 - keep / kept, base=base, settings=settings)
    logging.info("Demands of the masks: %s", demands)
    masks, allocation = search(masked, demands, sparsity)
    set_masks(masked, masks, graph=graph)
    before = -judge.of(masked)
    # A search draws as many seeds as it makes layers here: none where Ray scores, or where its masks are known.
    keras.utils.set_random_seed(settings.seed)
    model = _wrapped(shrink(masked), settings) if granularity == FEATURE_MAP else masked
    return _Masked(model, demands, before, allocation)


def _search(
    masked: keras.Model,
    demands: Granularity,
    sparsity: float,
    *,
    judge: Validation,
    allocate: Callable[[keras.Model, Budget, Validation], Allocation],
    settings: CompressSettings,
    verbose: int,
    work: Work,
    index: int,
) -> tuple[MaskSet, Allocation | None]:
    """The masks of a stage, and the allocation of a budget; they are kept, and not searched again."""
    name = f"stage_{index + 1}_search"
    if (known := work.known(name)) is not None:
        text = known.values["allocation"]
        return MaskSet.from_arrays(known.arrays), None if text is None else Allocation.from_json(text)
    images = judge.first(_SEARCH_IMAGES)
    allocation = None
    if isinstance(settings.sparsity, Budget):
        allocation = allocate(masked, settings.sparsity, images)
    masks = find_masks(
        masked,
        demands,
        sparsity if allocation is None else allocation,
        search=_selector(settings),
        validation=images,
        seed=settings.seed,
        executor=settings.scorer,
        verbose=bool(verbose),
    ).masks
    work.keep(name, State({"allocation": None if allocation is None else allocation.to_json()}, masks.to_arrays()))
    return masks, allocation


def _wrapped(small: ShrunkModel, settings: CompressSettings) -> keras.Model:
    masked = wrap(small.model, granularity=GRANULARITIES, **settings.demands)
    set_masks(masked, small.masks)
    return masked


def _kept(masked: keras.Model) -> int:
    graph = trace(masked)
    kept = kept_weights(graph, get_masks(masked, graph=graph))
    return sum(kept[layer.name] for layer in graph.prunable_layers)


def _selector(settings: CompressSettings) -> Search:
    particles = max(3, min(_PARTICLES, settings.candidates))  # two of them may be elites
    generations = max(1, settings.candidates // particles)
    if settings.search == "best_of_n":
        return BestOfN(settings.candidates)
    if settings.search == "particle_filter":
        return ParticleFilter(particles, generations)
    if settings.search == "evolutionary":
        return EvolutionaryParticleFilter(particles, generations)
    selector: Search = SEARCHES[settings.search]()
    return selector


def epoch_rows(index: int, granularity: str, figures: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Figures of a retraining as one row an epoch.

    Args:
        index: number of the stage, from 0.
        granularity: what the stage did.
        figures: by name, one value an epoch.
    """
    epochs = range(len(next(iter(figures.values()))))
    return [
        {"stage": index + 1, "granularity": granularity, "epoch": epoch + 1}
        | {name: values[epoch] for name, values in figures.items()}
        for epoch in epochs
    ]


def _refusal(stages: list[Stage], mcr_dense: float, settings: CompressSettings) -> RefusedError:
    tried = ", ".join(
        f"{stage.granularity} at sparsity {stage.sparsity:.2f}: {100 * stage.mcr_after_retraining:.2f} %"
        for stage in stages
    )
    return RefusedError(
        f"No stage stayed within the tolerance of {100 * settings.tolerance:.2f} points. Received: validation MCR "
        f"{100 * mcr_dense:.2f} % dense; {tried}. Use a lower --sparsity, more --epochs, --distill, or a larger "
        "--tolerance. Nothing was written."
    )
