"""What a run of `compress` was asked to do."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, get_args

from tf_structprune.allocation import METHODS, Budget, as_budgets, check_floor
from tf_structprune.cluster import RayExecutor
from tf_structprune.fixed_point import FixedPoint
from tf_structprune.masks import FEATURE_MAP, GRANULARITIES, WEIGHT, check_sparsity
from tf_structprune.search import SEARCHES
from tf_structprune.stages import RECONSTRUCTIONS, check_tolerance
from tflite_export.bundle import check_bundles
from tflite_export.compress._augment import check_augment
from tflite_export.compress._checks import (
    check_choice,
    check_count,
    check_method_only,
    check_range,
    check_rate,
    check_strides,
    check_workers,
    weight_demands,
)
from tflite_export.compress._optimizer import OPTIMIZERS
from tflite_export.file import EndType
from tflite_export.pack import Packing
from tflite_export.quantize import Calibration

LEAST_STEPS = 500  # of a retraining, which small data give with smaller batches and more epochs
LAYER = "layer"
"""The granularity of whole layers, which takes no masks: they go before anything else does."""
_EPOCHS, _BATCH, _LEAST_BATCH = 10, 128, 16


@dataclass(frozen=True)
class Retraining:
    """The length of one retraining.

    Attributes:
        epochs: rounds through the training data.
        batch: samples of a step.
        steps: steps of an epoch.
    """

    epochs: int
    batch: int
    steps: int

    def __str__(self) -> str:
        return f"{self.epochs} epochs of {self.steps} batches of {self.batch}" if self.epochs else "none"


_METHOD_ONLY = {"rho": ("admm",)}
"""Settings that not every method reads, with the methods that do; others refuse any value but the default."""


@dataclass(frozen=True)
class CompressSettings:
    """Settings of one run. The command line has an option for each, with this default and this text as its help.

    Attributes:
        sparsity: fraction of the prunable weights to remove in all, every layer about the same (or a `Budget`, or
            several, for the cost that stays, which is allocated among the channel groups), in [0, 1).
        smallest: go on to the smallest model within the tolerance: feature maps go step by step, each step retrained
            and judged; one that is refused is taken back and halved. What falls is the cost that a budget names, else
            MACs. The table and plot of all steps are in OUT.
        allocation: how a budget is allocated to feature maps.
        floor: share of its channels that each channel group keeps of a budget, in [0, 1), 0 for none; where the budget
            cannot be met with it, it is halved until it can, and that is told. With `smallest` it is that of the
            channels that each step finds, so that step by step groups go below it as the tolerance allows.
        granularity: what to prune, in this order: layer, feature_map, kernel, intra_kernel, weight;
            `masks.stage_shares` divides the sparsity. Whole layers (convolutions that keep the shape, residual blocks)
            and feature maps make the model smaller and faster; removed kernels and patterns do so where lowering pays;
            removed single weights make the stored model smaller, and nothing faster.
        kernel_groups: kernels go in blocks, of N groups of outputs by N blocks of inputs; "any": one by one, a freer
            choice that hardly runs faster; "auto": masks that run fast once lowered, see `masks.lowerable`, in as few
            blocks as reach the sparsity, of which the last may take more than it; with `lower="none"`, "any".
        strides: intra-kernel strides that may be drawn; "columns": whole kernels, columns and single weights of each
            layer's own kernel size, which run fast once lowered; "any": 1 to k + 1 for k x k kernels; "auto":
            "columns", with `lower="none"`, "any".
        patterns: largest number of different intra-kernel patterns in a layer; "any": no limit; "auto": 2, with
            `lower="none"`, "any".
        weights: which single weights go: the same share of every "layer", the least of the whole "model", or, with e.g.
            "2:4", 2 of every 4 stay.
        method: "search": a selector finds what goes, before the retraining; "admm": weights are pulled to the nearest
            with so many zeros for three fifths of the epochs, then the smallest go and the rest is retrained; "pqk":
            of the last granularity the smallest go step by step in half of the epochs, in fixed point from the start if
            there is one, then the network with all weights back teaches the pruned one; those before are searched;
            "joint": likewise, but by Taylor scores at the pruned network and with removed weights that may return, and
            then the masks stay; "model" among `weights` ranks all layers together, as the paper has it; "imp": a fifth
            of what is left goes in each round, by magnitude, and a retraining follows; a round that is taken back is
            the last one.
        rho: weight of that pull, see `callbacks.ADMM`.
        search: name of the selector: best_of_n, particle_filter, evolutionary, activation_vote, magnitude,
            squared_magnitude, geometric_median, normalization_scale, least_squares, taylor or random.
        candidates: candidates that a searching selector scores in each stage.
        finalists: of the candidates that a searching selector scores by prediction, before a full reconstruction, so
            many are solved and scored on data; each costs a reconstruction.
        tolerance: accepted rise of the validation error over the given model's, in the unit of the metric (0.01 is one
            point of an error rate), or as a share of that error, e.g. 10%: of every stage, and of the integer file,
            which is mended as far as that helps (calibration, equalized channels, quantization-aware training, QAT) or
            refused.
        reconstruct: what makes up for removed weights before each retraining, from training samples without labels:
            "full": the kept weights are solved by least squares, layer by layer, and candidates and allocations are
            scored by what that cannot make up for; "statistics": those of batch normalizations are measured anew;
            "none".
        min_validation: least number of validation samples; fewer do not tell such a tolerance.
        epochs: epochs of retraining after each granularity, of "imp" after each round; if not given 10, or on small
            data as many as make 500 steps; 0 for none: what is kept makes up for what is removed, in minutes and
            without labels.
        finetune_batch: samples of a retraining batch; if not given 128, or on small data as few, down to 16, as make
            500 steps.
        optimizer: what retrains: adam, or muon, which updates kernels of convolutions as matrices and takes a higher
            rate (0.005 where adam takes 0.002).
        finetune_rate: learning rate at the start of a retraining; it falls as a cosine to zero. "auto": that at which
            the loss is least in a range test of 100 steps, before each retraining.
        early_end: end the retraining of a pruned model with the first epoch after which at most half of the tolerance
            is lost; the other half is left for the integer file.
        distill: weight of the given model's outputs in the retraining loss, 0 to 1; the rest is that of the targets,
            which alone is weighted by samples and classes.
        augment: random changes of the training images, any of Keras's `Random...` layers by name with their amounts:
            flip, shift, rotation=0.1, zoom=0.1, brightness=0.2 and so on; or of spectrograms (time x frequency) as
            SpecAugment has it, time_mask=8,frequency_mask=4, in rows and columns.
        keep: names or patterns of layers to keep whole.
        keep_first: whether the first convolution stays whole.
        keep_last: whether the last layer with a kernel (the classifier) stays whole; it never loses outputs.
        round_to: leave each layer a multiple of N channels, unless none is removed (16 suits float32 on x86, 8 or 16
            most NPUs and DSPs).
        min_channels: leave each layer at least N channels.
        lower: "auto": layers with removed kernels or patterns compute only what is left, where that is measured to be
            faster; "none": they compute zeros.
        target: what the files are lowered for: latency on a CPU, or a small arena.
        micro: "auto": files for microcontrollers too, unless TFLite Micro lacks an operator of the model; "require": it
            must not lack one; "none": without them.
        calibration: ranges of signals in int8: "mse", those with which the integer file errs least on training samples,
            and biases that take back what rounding adds; "minmax", the least and the largest values.
        io: what integer files take and give: integers of their signals, bytes, or real numbers.
        names: whether integer files name their inputs and outputs and have a signature, as some hosts want.
        pack: "auto": one more file for TFLite Micro, whose weights an operator unpacks, where that file and the
            operator's code together take less flash; "huffman", "bitmap", "lut" (tables) or "own": packed so in any
            case; the integer file is written beside it.
        bundle: ecosystems, some of cmake, esp-idf, zephyr and arduino: for each there is a project in micro/, which
            tests itself on the device with recorded samples.
        executor: who scores candidates: this process, or workers of the Ray cluster that RAY_ADDRESS names, of this
            machine without one (extra ray). The scores are the same. With `reconstruct="full"` candidates and
            allocations are scored by what they are predicted to lose, here.
        workers: with `executor="ray"`, processes that score; if not given 2.
        fixed_point: word lengths of weights and signals, put in and retrained after pruning; None for TensorFlow's
            int8 with free scales. With one, a sparsity of 0 leaves pruning out.
        seed: seed of the split, the search and the training.

    Raises:
        ValueError: a value out of its range.
    """

    sparsity: float | Budget | tuple[Budget, ...] = 0.5
    smallest: bool = False
    allocation: Literal["uniform", "greedy", "evolutionary", "least_squares"] = "least_squares"
    floor: float = 0.25
    granularity: tuple[str, ...] = ("feature_map",)
    kernel_groups: int | Literal["auto", "any"] = "auto"
    strides: tuple[int, ...] | Literal["columns", "auto", "any"] = "auto"
    patterns: int | Literal["auto", "any"] = "auto"
    weights: str = "layer"
    method: Literal["search", "admm", "pqk", "joint", "imp"] = "search"
    rho: float = 1e-3
    search: str = "least_squares"
    candidates: int = 50
    finalists: int = 1
    tolerance: float | str = 0.01
    reconstruct: Literal["none", "statistics", "full"] = "full"
    min_validation: int = 16
    epochs: int | None = None
    finetune_batch: int | None = None
    optimizer: Literal["adam", "muon"] = "adam"
    finetune_rate: float | Literal["auto"] = 1e-3
    early_end: bool = False
    distill: float = 0.5
    augment: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    keep_first: bool = True
    keep_last: bool = True
    round_to: int = 1
    min_channels: int = 1
    lower: Literal["auto", "none"] = "auto"
    target: Literal["cpu", "micro"] = "cpu"
    micro: Literal["auto", "require", "none"] = "auto"
    calibration: Literal["mse", "minmax"] = "mse"
    io: Literal["int8", "uint8", "float32"] = "int8"
    names: bool = False
    pack: Literal["none", "auto", "huffman", "bitmap", "lut", "own"] = "none"
    bundle: tuple[str, ...] = ()
    executor: Literal["local", "ray"] = "local"
    workers: int | None = None
    fixed_point: FixedPoint | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.sparsity, float | int):
            check_sparsity(self.sparsity)
        elif len(budgets := as_budgets(self.sparsity)) == 1:
            object.__setattr__(self, "sparsity", budgets[0])
        for at, kind in enumerate(self.granularity):
            if at or kind != LAYER:
                self._check_kind(kind)
        if len(set(self.granularity)) != len(self.granularity) or not self.granularity:
            raise ValueError(
                f"granularity names each kind once. Received: {','.join(self.granularity)!r}. Use e.g. kernel."
            )
        self._check_allocated()
        check_choice("allocation", (self.allocation,), METHODS)
        check_floor(self.floor)
        check_count("kernel_groups", self.kernel_groups, least=2)
        check_count("patterns", self.patterns, least=1)
        check_strides(self.strides)
        weight_demands(self.weights)
        check_choice("method", (self.method,), ("search", "admm", "pqk", "joint", "imp"))
        for name, methods in _METHOD_ONLY.items():
            check_method_only(name, getattr(self, name), getattr(CompressSettings, name), self.method, methods)
        self._check_admm()
        self._check_stepwise()
        check_choice("search", (self.search,), tuple(SEARCHES))
        check_choice("reconstruct", (self.reconstruct,), RECONSTRUCTIONS)
        check_augment(self.augment)
        check_choice("optimizer", (self.optimizer,), OPTIMIZERS)
        check_choice("lower", (self.lower,), ("auto", "none"))
        check_choice("target", (self.target,), ("cpu", "micro"))
        check_choice("micro", (self.micro,), ("auto", "require", "none"))
        check_choice("calibration", (self.calibration,), get_args(Calibration))
        check_choice("io", (self.io,), get_args(EndType))
        check_choice("pack", (self.pack,), ("none", *get_args(Packing)))
        if self.pack != "none" and self.micro == "none":
            raise ValueError(
                f"Packed weights are for TFLite Micro alone. Received: pack={self.pack!r} with micro='none'. Use "
                "micro='auto'."
            )
        check_bundles(self.bundle)
        if self.bundle and self.micro == "none":
            raise ValueError(
                f"Projects are for microcontrollers. Received: bundle={','.join(self.bundle)} with micro='none'. Use "
                "micro='auto'."
            )
        check_choice("executor", (self.executor,), ("local", "ray"))
        check_workers(self.executor, self.workers)
        check_tolerance(self.tolerance)
        check_range("distill", self.distill, 0, 1)
        least = dict.fromkeys(
            ("candidates", "finalists", "finetune_batch", "round_to", "min_channels", "min_validation"), 1
        )
        for name, smallest in {**least, "epochs": 0}.items():
            if (count := getattr(self, name)) is not None and count < smallest:
                raise ValueError(f"{name} must be at least {smallest}. Received: {name}={count}. Use a count.")
        if self.fixed_point is not None and None in (self.fixed_point.weight_bits, self.fixed_point.signal_bits):
            raise ValueError(
                f"fixed_point must give weights and signals a word length, for an integer file has no others. "
                f"Received: {self.fixed_point}. Use e.g. FixedPoint(8, 8)."
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2**32). Received: seed={self.seed}. Use e.g. 0.")
        check_rate("finetune_rate", self.finetune_rate)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Settings from options by name; `budget`, a `Budget`, a text such as "macs=0.5" or several of either, stands
        for `sparsity`.

        Raises:
            TypeError: an unknown name, or a budget beside a sparsity.
            ValueError: a value out of its range.
        """
        given = dict(options)
        if (budget := given.pop("budget", None)) is not None:
            if "sparsity" in given:
                raise TypeError(
                    f"A run has a sparsity or a budget. Received: sparsity={given['sparsity']} beside "
                    f"budget={budget}. Leave one of them out."
                )
            given["sparsity"] = as_budgets(budget)
        if given.get("smallest") and isinstance(given.get("sparsity"), float | int):
            raise TypeError(
                f"The smallest model has the sparsity that the tolerance allows. Received: smallest beside sparsity="
                f"{given['sparsity']}. Leave one of them out."
            )
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, [*known, "budget"])
                raise TypeError(f"Unknown option of compress. Received: {name}. Use {' or '.join(near or known)}.")
        return cls(**given)

    def retraining(self, samples: int) -> Retraining:
        """How long each stage is retrained on so many samples.

        What is not given is chosen so that there are 500 steps at least, if the other allows it.

        Args:
            samples: training samples, at least 1.
        """
        batch, epochs = self.finetune_batch, self.epochs
        if batch is None:
            batch, rounds = _BATCH, _EPOCHS if epochs is None else epochs
            while batch > _LEAST_BATCH and 0 < rounds * math.ceil(samples / batch) < LEAST_STEPS:
                batch //= 2
        steps = math.ceil(samples / batch)
        if epochs is None:
            epochs = max(_EPOCHS, math.ceil(LEAST_STEPS / steps))
        return Retraining(epochs, batch, steps)

    def settled(self, samples: int) -> "CompressSettings":
        """The same with the epochs and the batch that so many training samples lead to."""
        chosen = self.retraining(samples)
        return replace(self, epochs=chosen.epochs, finetune_batch=chosen.batch)

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """What the model may cost; none where a sparsity is asked for."""
        return () if isinstance(self.sparsity, float | int) else as_budgets(self.sparsity)

    @property
    def remedy(self) -> str:
        """What may help a run that was refused, in the words of the command line."""
        less = "a larger --budget" if self.budgets else "a lower --sparsity"
        helps = [less] if self.sparsity and (self.budgets or not self.smallest) else []
        helps += ["more bits"] if self.fixed_point is not None else []
        helps += ["more --epochs", *(() if self.distill else ("--distill 0.5",)), "or a larger --tolerance"]
        return f"Use {', '.join(helps)}."

    @property
    def needs_labels(self) -> str:
        """What of the run cannot do without labels, the beginning of a sentence about a gradient; "" for nothing."""
        if self.method == "joint":
            return "Joint pruning follows"
        searched = self.method not in ("admm", "imp") and self.sparsity != 0 or self.smallest
        return "Taylor scores (search='taylor') are made of" if self.search == "taylor" and searched else ""

    @property
    def idle(self) -> str:
        """Options that do nothing here, or not what one may think, in sentences for people, "" for none."""
        taught = self.distill not in (0, CompressSettings.distill)  # the default is not what anybody asked for
        given = [*(["--augment"] if self.augment else []), *(["--distill"] if taught else [])]
        told = []
        if self.epochs == 0 and given:
            told.append(f"Nothing is retrained: {' and '.join(given)} can do nothing.")
        if WEIGHT in self.granularity:
            told.append("Single weights make the stored model smaller (tf-structprune pack), and nothing faster.")
        if self.method == "admm" and (self.search != CompressSettings.search or self.early_end):
            told.append("ADMM finds what goes by itself, to the last epoch: --search and --early-end can do nothing.")
        if self.method == "pqk" and (self.search != CompressSettings.search or self.early_end or taught):
            told.append(
                "The last granularity is PQK's, which finds what goes and is its own teacher: there --search, "
                "--early-end and --distill can do nothing."
            )
        if self.method == "joint" and (self.search != CompressSettings.search or self.early_end):
            told.append(
                "The last granularity goes by Taylor scores, to the last epoch: there --search and --early-end can do "
                "nothing."
            )
        if self.method == "imp" and self.search not in (CompressSettings.search, "magnitude"):
            told.append("Rounds go by magnitude: --search can do nothing.")
        if self.executor == "ray" and self.reconstruct == "full":
            told.append(
                "Before a full reconstruction candidates are scored by prediction, in this process: --executor ray can "
                "do nothing. It does with --reconstruct statistics or none."
            )
        return " ".join(told)

    def _check_admm(self) -> None:
        """Refuse what ADMM cannot do."""
        if not 0 < self.rho < math.inf:
            raise ValueError(f"rho must be a number above 0. Received: rho={self.rho}. Use e.g. 0.001.")
        if self.method == "admm" and (self.smallest or self.epochs in (0, 1)):
            given = "smallest=True" if self.smallest else f"epochs={self.epochs}"
            raise ValueError(
                f"ADMM trains towards what goes, in two epochs or more, and not step by step. Received: method='admm' "
                f"with {given}. Use a sparsity or a budget and epochs=10, or method='search'."
            )

    def _check_stepwise(self) -> None:
        """Refuse what PQK, joint and iterative pruning cannot do."""
        if self.method == "imp" and (self.smallest or self.budgets):
            given = "a budget" if self.budgets else "smallest=True"
            raise ValueError(
                f"Rounds of iterative pruning lead to a sparsity. Received: method='imp' with {given}. Use a sparsity, "
                "or method='search'."
            )
        if self.method not in ("pqk", "joint"):
            return
        told = {"pqk": "PQK", "joint": "Joint pruning"}[self.method]
        if self.smallest or self.budgets or self.epochs in (0, 1):
            given = "a budget" if self.budgets else "smallest=True" if self.smallest else f"epochs={self.epochs}"
            raise ValueError(
                f"{told} prunes to a sparsity, in two epochs or more. Received: method='{self.method}' with {given}. "
                "Use a sparsity and epochs=10, or method='search'."
            )
        if self.method == "joint" and self.granularity[-1] == FEATURE_MAP:
            raise ValueError(
                "Joint pruning lets removed weights return, which feature maps cannot. Received: method='joint' with "
                f"granularity='{','.join(self.granularity)}'. Use granularity='feature_map,weight', or "
                "method='search'."
            )

    def _check_kind(self, kind: str) -> None:
        if kind == LAYER and self.granularity[:1] == (LAYER,):
            raise ValueError(
                f"granularity names each kind once. Received: {','.join(self.granularity)!r}. Use e.g. layer."
            )
        if kind == LAYER:
            raise ValueError(
                f"Layers go before anything else does. Received: granularity={','.join(self.granularity)!r}. Put layer "
                "first."
            )
        check_choice("granularity", (kind,), (LAYER, *GRANULARITIES))

    def _check_allocated(self) -> None:
        """Refuse budgets and steps of what they are not spent on, and an arena that nothing measures."""
        told = f"Received: granularity={','.join(self.granularity)!r}."
        if self.budgets and not self.smallest and self.granularity not in ((FEATURE_MAP,), (LAYER,)):
            raise ValueError(
                f"A budget is allocated to feature maps, or to layers, and nothing else. {told} Use feature_map or "
                "layer with a budget, or a sparsity."
            )
        if self.smallest and self.granularity != (FEATURE_MAP,):
            raise ValueError(
                f"The smallest model is reached by removing feature maps, and nothing else. {told} Use feature_map, or "
                "a sparsity."
            )
        if self.granularity == (LAYER,) and self.method != "search":
            raise ValueError(
                f"Layers go by what the rest can make up for, whatever the method. {told[:-1]} with "
                f"method='{self.method}'. "
                f"Use method='search', or {self.method} with granularity='layer,feature_map'."
            )
        if self.micro == "none" and any(budget.kind == "arena" for budget in self.budgets):
            raise ValueError(
                "The arena is what TFLite Micro uses. Received: a budget of arena with micro='none'. Use micro='auto'."
            )

    @property
    def scorer(self) -> str | RayExecutor:
        """Who scores candidates, as `score` takes it."""
        return RayExecutor(self.workers or 2) if self.executor == "ray" else self.executor

    @property
    def demands(self) -> dict[str, Any]:
        """What `trace` and `wrap` have to know of them, as their keyword arguments."""
        return {
            "keep": self.keep,
            "keep_first": self.keep_first,
            "keep_last": self.keep_last,
            "round_to": self.round_to,
            "min_channels": self.min_channels,
        }
