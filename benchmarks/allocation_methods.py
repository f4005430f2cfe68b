"""Which method of allocation leaves most behind a reconstruction: networks at a part of their MACs, nothing trained.

    python benchmarks/allocation_methods.py --model resnet8=resnet8_cifar10.keras --data resnet8=cifar10.npz

Each method allocates the budget by 1,000 training images without labels; where it scores masked models as they are cut,
the classes that the dense model gives stand for labels. Then `search.LeastSquares` chooses the maps, for all methods
alike, and the kept weights are reconstructed from the same images. The test images, which decide nothing, give the
figure. Seconds are of the allocation alone, moments included. Every seed, of the images and the search, is told.
"""

import json
import pathlib
import time
from collections import defaultdict
from dataclasses import dataclass

import keras
import numpy as np
from _untrained import chosen_rows, test_part
from absl import app, flags

import tf_structprune as sp
from tf_structprune.masks import FEATURE_MAP
from tf_structprune.scoring import RECONSTRUCTION
from tf_structprune.stages import find_masks
from tf_structprune.task import Validation, as_score, check_validation
from tflite_export.compress import load_model

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("model", None, "A classifier, as NAME=FILE.keras; again for several.", required=True)
flags.DEFINE_multi_string("data", None, "x_train, x_test, y_test of a model, as NAME=FILE.npz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/allocation_methods", "Results without suffix.")
flags.DEFINE_float("floor", 0.25, "Share of its maps that each group keeps.")


@dataclass(frozen=True)
class Way:
    """How a budget is allocated.

    Attributes:
        method: of `sp.allocate`.
        score: by which it chooses, or the result is told.
    """

    method: str
    score: str

    def __str__(self) -> str:
        scores = {"mcr": "masked models as cut", RECONSTRUCTION: "reconstruction error"}
        return f"{self.method} | {scores[self.score] if self.method in ('greedy', 'evolutionary') else ''}"


WAYS = (
    Way("uniform", "mcr"),
    Way("greedy", "mcr"),
    Way("greedy", RECONSTRUCTION),
    Way("evolutionary", RECONSTRUCTION),
    Way("least_squares", "mcr"),
)


@dataclass(frozen=True)
class Case:
    """A trained model and its data.

    Attributes:
        name: for the table.
        model: trained.
        x: training images.
        test: what the figures are of.
    """

    name: str
    model: keras.Model
    x: np.ndarray
    test: Validation

    @classmethod
    def of(cls, name: str, model: str, data: str) -> "Case":
        """The case of two files."""
        with np.load(data) as arrays:
            return cls(name, load_model(model), arrays["x_train"], test_part(arrays))

    def images(self, seed: int) -> Validation:
        """Training images of a seed, with the classes that the model gives them."""
        chosen = chosen_rows(len(self.x), seed)
        seen = check_validation((self.x[chosen].astype(np.float32), None), as_score("mcr"), 500)
        given = np.asarray(seen.outputs_of(self.model))
        classes = given.argmax(axis=1) if given.shape[1] > 1 else (given[:, 0] > 0.5).astype(np.int64)
        return check_validation((seen.x, classes), seen.score, 500)


def run(case: Case, budget: sp.Budget, way: Way, seed: int) -> dict:
    """Figures of one way."""
    seen = case.images(seed)
    masked = sp.wrap(case.model, granularity=FEATURE_MAP, keep_first=False)
    begun = time.monotonic()
    data = {"validation_data": (seen.x, seen.y), "score": way.score, "floor": FLAGS.floor}
    found = sp.allocate(masked, budget, method=way.method, seed=seed, **data)
    seconds = time.monotonic() - begun
    chosen = find_masks(masked, FEATURE_MAP, found, search=sp.search.LeastSquares(), validation=seen, seed=seed)
    sp.set_masks(masked, chosen.masks)
    sp.reconstruct(masked, seen.x, seed=seed)
    return {
        "accuracy": 1 + case.test.of(masked),
        "macs": found.fraction,
        "kept": list(found.kept.values()),
        "units": list(found.units.values()),
        "floor": found.floor,
        "score": found.metric.text(found.score),
        "seconds": seconds,
    }


def table(cases: dict[str, float], rows: list[dict]) -> str:
    """The rows as Markdown, one way a line; the best mean of each budget is bold."""
    dense = ", ".join(f"{name} {100 * accuracy:.2f} %" for name, accuracy in cases.items())
    lines = [
        "# Methods of allocation behind a reconstruction",
        "",
        f"Written by `benchmarks/allocation_methods.py`. {FLAGS.images:,} training images, no labels, no training; "
        f"maps chosen by `search.LeastSquares`, weights reconstructed; floor {100 * FLAGS.floor:g} % of each group. "
        f'Top-1 on the test images for each seed of the images and the search; dense: {dense}. "kept" is the number of '
        f"maps of each group in order, of the first seed; seconds are of the allocation, the median. {FLAGS.beside}",
        "",
        "| model | budget | method | scores of | top-1 (%) by seed | mean | MACs (%) | kept | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    together = defaultdict(list)
    for row in rows:
        together[row["model"], row["budget"], row["way"]].append(row)
    means = {key: float(np.mean([row["accuracy"] for row in found])) for key, found in together.items()}
    for key, found in together.items():
        best = means[key] == max(mean for other, mean in means.items() if other[:2] == key[:2])
        cells = [
            *key,
            ", ".join(f"{100 * row['accuracy']:.2f}" for row in found),
            f"{'**' if best else ''}{100 * means[key]:.2f}{'**' if best else ''}",
            f"{100 * found[0]['macs']:.1f}",
            "-".join(map(str, found[0]["kept"])),
            f"{np.median([row['seconds'] for row in found]):.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def files_of() -> dict[str, tuple[str, str]]:
    """The model and the data of each name."""
    models, data = (dict(each.split("=", 1) for each in given) for given in (FLAGS.model, FLAGS.data))
    if set(models) != set(data):
        raise app.UsageError(f"Each model has data of its name. Received: {', '.join(models)}; {', '.join(data)}.")
    return {name: (file, data[name]) for name, file in models.items()}


def main(_: list[str]) -> None:
    """Measure and write both results, after each row."""
    dense, rows, out = {}, [], pathlib.Path(FLAGS.out)
    for name, (model, data) in files_of().items():
        case = Case.of(name, model, data)
        dense[name] = 1 + case.test.of(case.model)
        for budget in map(sp.Budget.parse, FLAGS.budgets):
            for way in WAYS:
                for seed in map(int, FLAGS.seeds):
                    told = {"model": name, "budget": f"{budget.kind} {budget.asked}", "way": str(way), "seed": seed}
                    rows.append(told | run(case, budget, way, seed))
                    print(rows[-1], flush=True)
                    out.with_suffix(".json").write_text(json.dumps({"dense": dense, "rows": rows}, indent=2) + "\n")
                    out.with_suffix(".md").write_text(table(dense, rows))


if __name__ == "__main__":
    app.run(main)
