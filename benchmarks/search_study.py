"""Which selector finds the better masks, and how many random masks are worth scoring.

    python -m benchmarks.search_study --network MNIST2 --model MNIST2_0.keras --data mnist.npz
    python -m benchmarks.search_study --network ResNet-8 --model resnet8_cifar10.keras --data cifar10.npz

Feature maps of one trained network, removed at each sparsity and seed by: the best of N random masks (N = 1, 10, 50,
200: the N-versus-sparsity study of Anwar and Sung, arXiv 1610.09639), the plain and the evolutionary particle filter
with 50 scored candidates, and magnitude, which scores none. Candidates are scored on held-out training images, all of
them (`racing=False`), so N = 50 and both filters go through equally many images. The one that each chooses is shrunk,
retrained and tested once, at the last epoch; the test set chooses nothing. The random masks of smaller N are the first
ones of the 200; where two selectors choose the same masks, they are retrained once. So few steps of retraining need
moving averages that follow them: the momentum of ResNet-8's batch normalizations is 0.9 there, not 0.99.

Each network, sparsity and seed is appended to OUT.jsonl when it is done, so an interrupted study goes on where it
stopped; OUT.md and OUT.png are made of OUT.jsonl.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RANDOM = (1, 10, 50, 200)
FILTERS = {"particle filter": 50, "evolutionary filter": 50}  # and the candidates that they score
WAYS = (*(f"best of {count}" for count in RANDOM), *FILTERS, "magnitude")
SPARSITIES = (0.5, 0.7, 0.85)
BATCH, MOMENTUM = 128, 0.9


@dataclass(frozen=True)
class Setup:
    """How a network is read and retrained.

    Attributes:
        epochs: of retraining.
        images: that are trained on, the first ones; None for all that are not held out.
        scale: by which pixels are multiplied.
        held_out: training images at the end that are not trained on.
        searched: of these, images that candidates are scored on.
    """

    epochs: int
    images: int | None
    scale: float
    held_out: int
    searched: int


SETUPS = {"MNIST2": Setup(3, None, 1 / 255, 10_000, 2000), "ResNet-8": Setup(1, 15_000, 1.0, 5_000, 1000)}


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=SETUPS)
    parser.add_argument("--model", help="the trained network, .keras")
    parser.add_argument("--data", help="x_train, y_train, x_test, y_test, .npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(5))
    parser.add_argument("--out", default="benchmarks/results/search_study", help="results without suffix")
    parser.add_argument("--table-only", action="store_true", help="only write OUT.md and OUT.png from OUT.jsonl")
    options = parser.parse_args(argv)
    if not options.table_only and None in (options.network, options.model, options.data):
        parser.error("--network, --model and --data are needed without --table-only")
    return options


def read_data(path: str, setup: Setup) -> dict[str, Any]:
    """Images to train on, to search on and to test."""
    with np.load(path, allow_pickle=False) as arrays:
        x = {part: _images(arrays[f"x_{part}"], setup.scale) for part in ("train", "test")}
        y = {part: arrays[f"y_{part}"].ravel() for part in ("train", "test")}
    first = len(x["train"]) - setup.held_out
    return {
        "train": (x["train"][:first][: setup.images], y["train"][:first][: setup.images]),
        "search": (x["train"][first:][: setup.searched], y["train"][first:][: setup.searched]),
        "test": (x["test"], y["test"]),
    }


def _images(pixels: Any, scale: float) -> Any:
    images = pixels.astype(np.float32) * np.float32(scale)
    return images if images.ndim == 4 else images[..., None]


def run_cell(options: argparse.Namespace, data: dict[str, Any], sparsity: float, seed: int) -> dict[str, Any]:
    """All ways at one sparsity and seed."""
    import tf_structprune as sp
    from tflite_export.compress import load_model

    begun = time.monotonic()
    dense = load_model(options.model)
    masked = sp.wrap(dense)
    chosen, scores = search_all(masked, data["search"], sparsity, seed)
    result = {"network": options.network, "sparsity": sparsity, "seed": seed, "mcr_dense": mcr(dense, *data["test"])}
    retrained: dict[bytes, dict[str, float]] = {}
    for name, masks in chosen.items():
        key = b"".join(array.tobytes() for array in masks.to_arrays().values())
        if key not in retrained:
            retrained[key] = before_and_after(masked, masks, data, SETUPS[options.network].epochs, seed)
        result[name] = {**retrained[key], "mcr_search": scores[name]}
    result["random_scores"] = scores["random"]
    return {**result, "seconds": round(time.monotonic() - begun, 1)}


def search_all(masked: Any, pair: tuple[Any, Any], sparsity: float, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The masks that each way chooses, and their MCR on the search images; "random": that of all random masks."""
    import tf_structprune as sp
    from tf_structprune.masks import mask_space
    from tf_structprune.measure import MEASURES
    from tf_structprune.scoring import Scorer
    from tf_structprune.task import as_score, check_validation

    graph = sp.trace(masked)
    space = mask_space(graph, "feature_map", sparsity)
    scorer = Scorer(masked, check_validation(pair, as_score("mcr"), 64, masked), racing=False)
    candidates = []

    def score(found: Sequence[Any]) -> Any:
        candidates.extend(found)
        return scorer.score(found).values

    importance = MEASURES["l1"](masked, graph, "feature_map", pair[0])
    searches = {
        "particle filter": sp.search.ParticleFilter(particles=10, generations=5),
        "evolutionary filter": sp.search.EvolutionaryParticleFilter(particles=10, elites=2, generations=6),
        "magnitude": sp.search.Magnitude(),
    }
    random = sp.search.find(sp.search.BestOfN(max(RANDOM)), space, score, seed=seed)
    drawn = tuple(candidates)
    best = {f"best of {count}": int(np.argmax(random.scores[:count])) for count in RANDOM}
    chosen = {name: drawn[index] for name, index in best.items()}
    scores: dict[str, Any] = {name: -random.scores[index] for name, index in best.items()}
    for name, search in searches.items():
        found = sp.search.find(search, space, score, importance=importance, seed=seed)
        if len(found.scores) != FILTERS.get(name, 1):
            raise ValueError(f"{name} scored {len(found.scores)} candidates. It must be {FILTERS.get(name, 1)}.")
        chosen[name], scores[name] = found.masks, -found.score
    scores["random"] = [-score for score in random.scores]
    return chosen, scores


def before_and_after(masked: Any, masks: Any, data: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Test MCR of the shrunk network before and after retraining with Adam and a rate that falls as a cosine."""
    import keras

    import tf_structprune as sp
    import tflite_export as te

    present = sp.get_masks(masked)
    sp.set_masks(masked, masks)
    thin = te.shrink(masked).model
    sp.set_masks(masked, present)
    before = mcr(thin, *data["test"])
    for layer in thin.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = MOMENTUM
    keras.utils.set_random_seed(seed)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * -(-len(data["train"][0]) // BATCH))
    thin.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    thin.fit(*data["train"], batch_size=BATCH, epochs=epochs, verbose=0)
    return {"mcr_before": before, "mcr_after": mcr(thin, *data["test"])}


def mcr(model: Any, x: Any, y: Any) -> float:
    """Misclassification rate."""
    return float(np.mean(model.predict(x, batch_size=500, verbose=0).argmax(axis=1) != y))


def table(rows: list[dict[str, Any]]) -> str:
    """Mean and range of the MCR over the seeds."""
    lines = [
        "# Selectors, and how many random masks",
        "",
        "Written by `benchmarks/search_study.py`. Feature maps, all layers jointly; MCR in %, mean (least to most) "
        "over the seeds. *Search*: on the images that the masks were chosen on. *Before*, *after*: on the test set, "
        "which chooses nothing, before and after retraining. N = 50 and both filters score equally many images, "
        "N = 200 four times as many, magnitude none.",
    ]
    for network, setup in SETUPS.items():
        for sparsity in SPARSITIES:
            cells = [row for row in rows if (row["network"], row["sparsity"]) == (network, sparsity)]
            if cells:
                lines += ["", *_section(network, setup, sparsity, cells)]
    return "\n".join([*lines, "", "![MCR against N and sparsity](search_study.png)"]) + "\n"


def _section(network: str, setup: Setup, sparsity: float, cells: list[dict[str, Any]]) -> list[str]:
    images = "all training images" if setup.images is None else f"{setup.images:,} training images"
    epochs = f"1 epoch of {images}" if setup.epochs == 1 else f"{setup.epochs} epochs of {images}"
    lines = [
        f"## {network}, {sparsity:.0%} of the prunable weights removed",
        "",
        f"{len(cells)} seeds, {setup.searched:,} images searched on, retrained for {epochs}; dense: "
        f"{100 * cells[0]['mcr_dense']:.2f} %.",
        "",
        "| selector | search | before | after | after, less than best of 50 by |",
        "|---|---|---|---|---|",
    ]
    for way in WAYS:
        ranges = [_spread([row[way][key] for row in cells]) for key in ("mcr_search", "mcr_before", "mcr_after")]
        gain = _spread([row["best of 50"]["mcr_after"] - row[way]["mcr_after"] for row in cells])
        lines.append(f"| {' | '.join([way, *ranges, gain])} |")
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.2f} ({100 * min(values):.2f} to {100 * max(values):.2f})"


def plot(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """By network: MCR over sparsity for each N before and after retraining, and the expected MCR over N."""
    from matplotlib.figure import Figure

    networks = [name for name in SETUPS if any(row["network"] == name for row in rows)]
    figure = Figure(figsize=(11, 4 * len(networks)), layout="constrained")
    axes = figure.subplots(len(networks), 2, squeeze=False)
    for (left, right), network in zip(axes, networks, strict=True):
        cells = [row for row in rows if row["network"] == network]
        _against_sparsity(left, cells)
        left.set_title(f"{network}: before (solid) and after (dashed) retraining")
        _against_count(right, cells)
        right.set_title(f"{network}: best of N on the search images, before retraining")
    figure.savefig(path, dpi=110)


def _against_sparsity(axes: Any, cells: list[dict[str, Any]]) -> None:
    for color, count in enumerate(RANDOM):
        for style, key in (("-", "mcr_before"), ("--", "mcr_after")):
            means = [_mean(cells, sparsity, f"best of {count}", key) for sparsity in SPARSITIES]
            label = f"N = {count}" if style == "-" else None
            axes.plot([100 * s for s in SPARSITIES], means, style, marker="o", color=f"C{color}", label=label)
    axes.axhline(100 * cells[0]["mcr_dense"], color="0.6", linewidth=1, label="dense")
    axes.set(xlabel="sparsity (%)", ylabel="test MCR (%)", yscale="log")
    low, high = axes.get_ylim()
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 90) if low <= tick <= high]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.yaxis.minorticks_off()
    axes.legend()


def _against_count(axes: Any, cells: list[dict[str, Any]]) -> None:
    counts = np.arange(1, max(RANDOM) + 1)
    for color, sparsity in enumerate(SPARSITIES):
        here = [row for row in cells if row["sparsity"] == sparsity]
        curves = [expected_least(np.array(row["random_scores"]), counts) for row in here]
        axes.plot(counts, 100 * np.mean(curves, axis=0), color=f"C{color}", label=f"sparsity {sparsity:.0%}")
        for marker, way in (("x", "particle filter"), ("*", "evolutionary filter")):
            label = way if color == 0 else None
            axes.plot(FILTERS[way], _mean(cells, sparsity, way, "mcr_search"), marker, color=f"C{color}", label=label)
    axes.set(xlabel="scored candidates N", ylabel="expected least MCR (%)", xscale="log")
    axes.legend()


def _mean(cells: list[dict[str, Any]], sparsity: float, way: str, key: str) -> float:
    return 100 * statistics.mean(row[way][key] for row in cells if row["sparsity"] == sparsity)


def expected_least(values: Any, counts: Any) -> Any:
    """Mean of the least of N values drawn without replacement, exactly, for each N."""
    ordered, size = np.sort(values), len(values)
    left = size - np.arange(size)[:, None]  # values that are not less, this one included
    # P(all N drawn are among the last `left`) = C(left, N) / C(size, N), as a product so that nothing overflows.
    steps = np.arange(counts.max())[None, :]
    at_least = np.cumprod(np.clip((left - steps) / (size - steps), 0, 1), axis=1)[:, counts - 1]
    exactly = at_least - np.vstack([at_least[1:], np.zeros((1, len(counts)))])
    return ordered @ exactly


def main() -> None:
    """Run the cells that are not done yet, then write table and plot."""
    options = arguments()
    log = pathlib.Path(f"{options.out}.jsonl")
    log.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not options.table_only:
        import keras

        data = read_data(options.data, SETUPS[options.network])
        done = {(row["network"], row["sparsity"], row["seed"]) for row in rows}
        for seed in options.seeds:
            for sparsity in SPARSITIES:
                if (options.network, sparsity, seed) in done:
                    continue
                rows.append(run_cell(options, data, sparsity, seed))
                keras.backend.clear_session()
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(options.network, sparsity, seed, f"{rows[-1]['seconds']} s", flush=True)
    pathlib.Path(f"{options.out}.md").write_text(table(rows))
    plot(rows, pathlib.Path(f"{options.out}.png"))


if __name__ == "__main__":
    main()
