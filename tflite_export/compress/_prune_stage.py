"""The stage that prunes one granularity: search, shrink early, retrain thin."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from absl import logging
from numpy.typing import NDArray

from tf_structprune.allocation import Allocation, Budget
from tf_structprune.layers import MaskedModel, wrap
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, Granularity, MaskSet
from tf_structprune.resume import State
from tf_structprune.search import SEARCHES, BestOfN, EvolutionaryParticleFilter, LeastSquares, ParticleFilter, Search
from tf_structprune.shrink import ShrinkPlan, ShrunkModel, shrink
from tf_structprune.stages import Begun, StageReport, find_masks, reconstruct
from tf_structprune.task import count_of, take
from tflite_export.compress._allocate import allocate_budget
from tflite_export.compress._constrain import constrain
from tflite_export.compress._early_end import EarlyEnd
from tflite_export.compress._job import Job
from tflite_export.compress._settings import CompressSettings
from tflite_export.compress._work import of_model

SEARCH_SAMPLES = 2_000
_SAMPLES = 1_000  # that weights are solved and scored on; more change them hardly
_PARTICLES = 10
_SCORING = ("best_of_n", "particle_filter", "evolutionary")  # selectors whose candidates' scores decide


@dataclass(frozen=True)
class Present:
    """What the accepted stages left.

    Attributes:
        small: the shrunk model with its left-over masks.
        goal: fraction of the prunable weights that those stages were to keep; some kept fewer.
        sparsity: fraction of the dense model's prunable weights that is gone.
    """

    small: ShrunkModel
    goal: float = 1.0
    sparsity: float = 0.0

    @classmethod
    def of(cls, dense: keras.Model) -> "Present":
        """What a run begins with."""
        return cls(ShrunkModel(dense, MaskSet(), ShrinkPlan({})))

    def pruned(self, model: keras.Model, share: float, total: int) -> "Present":
        """What a stage leaves.

        Args:
            model: its masked model, trained.
            share: fraction of the weights that it was to remove.
            total: prunable weights of the dense model.
        """
        return Present(shrink(model), self.goal * (1 - share), 1 - MaskedModel(model).kept / total)


@dataclass(frozen=True)
class PruneStage:
    """Prunes one granularity, by a share of what is left or to a budget.

    After feature maps are chosen the model is rebuilt thin and retrained thin, so retraining costs what the thin model
    costs.

    Attributes:
        job: the run.
        name: "stage_1" and so on.
        granularity: what is pruned.
        share: fraction of the weights that are there to remove; 0 for a budget, which tells when it is allocated.
        total: prunable weights of the dense model.
        budgets: what the model may cost, in place of a share.
    """

    job: Job
    name: str
    granularity: str
    share: float
    total: int
    budgets: tuple[Budget, ...] = ()

    def begin(self, present: Present) -> Begun:
        """The model with new masks, for feature maps rebuilt thin.

        Raises:
            ValueError: nothing to prune, or a sparsity or budget out of reach.
        """
        settings = self.job.settings
        keras.utils.set_random_seed(settings.seed)  # of layers that draw, however many stages this process ran
        masked = wrapped(present.small, settings, self.granularity)
        keep = present.goal * (1 - self.share) * self.total
        demands, sparsity = demanded(masked, self.granularity, keep, settings)
        self.job.progress.doing(f"{self.name}: masks of {self.granularity}")
        masks, allocation = self._search(masked, demands, sparsity)
        masked.set_masks(masks)
        self._reconstruct(masked)
        before = self.job.judge.score(masked.model)
        # A search draws as many seeds as it makes layers here: none where Ray scores, or where its masks are known.
        keras.utils.set_random_seed(settings.seed)
        if self.granularity == FEATURE_MAP:
            masked = wrapped(shrink(masked.model), settings, self.granularity)
        report = StageReport(
            self.granularity,
            settings.search,
            1 - masked.kept / self.total,
            before,
            before,
            accepted=False,
            demands=demands,
            allocation=allocation,
        )
        return Begun(masked.model, report)

    def _reconstruct(self, masked: MaskedModel) -> None:
        """Let the kept weights make up for the removed ones, as far as some training samples tell how."""
        job, settings = self.job, self.job.settings
        if settings.reconstruct == "none":
            return
        job.progress.doing(f"{self.name}: reconstruction, {settings.reconstruct}")
        reconstruct(masked, solving_samples(job), mode=settings.reconstruct, seed=settings.seed)

    def callbacks(self) -> Sequence[keras.callbacks.Callback]:
        """What ends the retraining early; masks hold by themselves."""
        return (EarlyEnd(self.job.judge),) if self.job.settings.early_end else ()

    def end(self, present: Present, model: keras.Model) -> Present:
        """The shrunk model."""
        return present.pruned(model, self.share, self.total)

    def _search(self, masked: MaskedModel, demands: Granularity, sparsity: float) -> tuple[MaskSet, Allocation | None]:
        """The masks, and the allocation of a budget; they are kept, and not searched again."""
        job, name, of = self.job, f"{self.name}_search", of_model(masked.model)
        if (known := job.work.known(name, of)) is not None:
            text = known.values["allocation"]
            return MaskSet.from_arrays(known.arrays), None if text is None else Allocation.from_json(text)
        samples = job.judge.validation.sample(SEARCH_SAMPLES, job.settings.seed)
        allocation = None
        if self.budgets:
            allocation = allocate_budget(masked, self.budgets, samples, job)
        masks = find_masks(
            masked,
            demands,
            sparsity if allocation is None else allocation,
            search=_selector(job.settings, self.granularity),
            validation=samples,
            seed=job.settings.seed,
            executor=job.settings.scorer,
            verbose=job.progress.doing,
            predicted=job.settings.reconstruct == "full" and job.settings.search in _SCORING,
            finalists=job.settings.finalists,
        ).masks
        text = None if allocation is None else allocation.to_json()
        job.work.keep(name, State({"allocation": text}, masks.to_arrays()), of)
        return masks, allocation


def solving_samples(job: Job, most: int = _SAMPLES) -> Any:
    """Training samples that weights are solved on, as the model takes them."""
    return take(job.data.x_train, _drawn(job, most))


def labelled_samples(job: Job, most: int = _SAMPLES) -> tuple[Any, Any]:
    """The same ones with their targets."""
    chosen = _drawn(job, most)
    return take(job.data.x_train, chosen), take(job.data.y_train, chosen)


def _drawn(job: Job, most: int) -> NDArray[np.int64]:
    """Which training samples, by the seed, in order."""
    size = count_of(job.data.x_train)
    return np.sort(np.random.default_rng(job.settings.seed).choice(size, min(size, most), replace=False))


def wrapped(small: ShrunkModel, settings: CompressSettings, granularity: str, *, admm: bool = False) -> MaskedModel:
    """A model with the masks that are left on it, and room for those of one granularity; more would cost each step."""
    kinds = tuple(kind for kind in GRANULARITIES if kind == granularity or small.masks.of(kind))
    masked = MaskedModel(wrap(small.model, granularity=kinds, admm=admm, **settings.demands))
    masked.set_masks(small.masks)
    return masked


def demanded(
    masked: MaskedModel, granularity: str, keep: float, settings: CompressSettings
) -> tuple[Granularity, float]:
    """What masks of a granularity must be like to run fast, and the sparsity with which so many weights are kept."""
    kept = masked.kept
    keep = min(keep, kept)
    sparsity = 1 - keep / masked.graph.prunable_weights
    demands = constrain(
        masked.graph, granularity, sparsity, share=1 - keep / kept, base=masked.masks, settings=settings
    )
    logging.info("Demands of the masks: %s", demands)
    return demands, sparsity


def _selector(settings: CompressSettings, granularity: str) -> Search:
    """The selector; before a reconstruction populations start from the maps that it makes up for best."""
    particles = max(3, min(_PARTICLES, settings.candidates))  # two of them may be elites
    generations = max(1, settings.candidates // particles)
    first = LeastSquares() if granularity == FEATURE_MAP and settings.reconstruct == "full" else None
    if settings.search == "best_of_n":
        return BestOfN(settings.candidates)
    if settings.search == "particle_filter":
        return ParticleFilter(particles, generations, first=first)
    if settings.search == "evolutionary":
        return EvolutionaryParticleFilter(particles, generations, first=first)
    selector: Search = SEARCHES[settings.search]()
    return selector
