"""How fast candidates are scored: the naive loop against `score`, with and without racing.

    python -m benchmarks.candidate_search --data cifar10.npz --model resnet8_cifar10.keras \
        --out-prefix benchmarks/results/candidate_search

ResNet-8, 50 random feature map candidates at a sparsity of one half, 2,000 validation images; and CIFAR10.small
(random weights, 500 images), 50 candidates of kernels of its last convolution. The naive loop sets the masks and
calls `model.evaluate`, compiled as Keras does it, at its own batch size (32) and at 256. All ways run in turns in one
process; the engine's times include building and compiling, which a search pays once. The images are of the training
part; the test part is not touched.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

NAIVE_CANDIDATES = 4  # of the 50: each takes as long as any other
LATE_SHARE = 4  # CIFAR10.small takes 23 times the MACs of ResNet-8, so a part of the images


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10 as x_train, y_train, x_test, y_test, .npz")
    parser.add_argument("--model", required=True, help="the published ResNet-8, .keras")
    parser.add_argument("--out-prefix", default="benchmarks/results/candidate_search", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=50)
    return parser.parse_args(argv)


def resnet8(options: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The masked network and its candidates."""
    import numpy as np

    import tf_structprune as sp
    from tf_structprune.masks import mask_space
    from tflite_export.compress import load_model

    masked = sp.wrap(load_model(options.model))
    space = mask_space(sp.trace(masked), "feature_map", 0.5)
    rng = np.random.default_rng(0)
    return masked, [space.sample(rng) for _ in range(options.candidates)]


def late_layer(options: argparse.Namespace) -> tuple[Any, list[Any]]:
    """CIFAR10.small and candidates that differ in one late layer."""
    import numpy as np

    import tf_structprune as sp
    from benchmarks.networks import cifar10_small
    from tf_structprune.masks import MaskSet, mask_space

    masked = sp.wrap(cifar10_small())
    graph = sp.trace(masked)
    late = [layer.name for layer in graph.prunable_layers if layer.kind == "Conv2D"][-1]
    space = mask_space(graph, "kernel", 0.5)
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(options.candidates)]
    return masked, [MaskSet(kernel={late: masks.kernel[late]}) for masks in drawn]


def ways(masked: Any, candidates: list[Any], data: tuple[Any, Any]) -> dict[str, Callable[[], dict[str, Any]]]:
    """What is compared: each gives its candidates a second and more."""
    import tf_structprune as sp

    graph, base = sp.trace(masked), sp.get_masks(masked)
    masked.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    few = candidates[:NAIVE_CANDIDATES]

    def naive(batch_size: int) -> dict[str, Any]:
        values = []
        begun = time.perf_counter()
        for candidate in few:
            sp.set_masks(masked, candidate, graph=graph)
            values.append(masked.evaluate(*data, batch_size=batch_size, verbose=0)[1] - 1)
        seconds = time.perf_counter() - begun
        sp.set_masks(masked, base, graph=graph)
        return {"per_second": len(few) / seconds, "values": values}

    def engine(racing: bool) -> dict[str, Any]:
        scores = sp.score(masked, candidates, data=data, racing=racing)
        return {
            "per_second": len(candidates) / scores.seconds,
            "values": scores.values.tolist(),
            "best": scores.best,
            "samples": scores.scored_samples,
        }

    return {
        "naive, batches of 32": lambda: naive(32),
        "naive, batches of 256": lambda: naive(256),
        "score, racing=False": lambda: engine(False),
        "score, racing=True": lambda: engine(True),
    }


def measured(masked: Any, candidates: list[Any], data: tuple[Any, Any], rounds: int) -> dict[str, Any]:
    """All ways in turns, after one unmeasured look of each naive loop, which compiles it."""
    compared = ways(masked, candidates, data)
    for batch_size in (32, 256):
        masked.evaluate(*data, batch_size=batch_size, verbose=0)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in compared}
    for _ in range(rounds):
        for name, run in compared.items():
            runs[name].append(run())
    exact, raced = (runs[f"score, racing={racing}"][0] for racing in (False, True))
    naive = runs["naive, batches of 32"][0]["values"]
    return {
        "per_second": {name: [run["per_second"] for run in each] for name, each in runs.items()},
        "largest_difference": max(abs(a - b) for a, b in zip(naive, exact["values"], strict=False)),
        "same_winner": exact["best"] == raced["best"],
        "behind_the_winner": max(exact["values"]) - exact["values"][raced["best"]],
        "images": len(data[0]),
        "samples": {"racing=False": exact["samples"], "racing=True": raced["samples"]},
    }


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Candidates a second",
        "",
        f"Written by `benchmarks/candidate_search.py`: {results['candidates']} candidates, "
        f"medians of {results['rounds']} rounds in turns, smallest and largest of the ratios to the naive loop "
        "of the same round in brackets. Building and compiling are counted for `score`, not for the naive loop.",
        "",
        "| network | way | candidates a second | against batches of 32 | against batches of 256 |",
        "|---|---|---|---|---|",
    ]
    for network, found in results["networks"].items():
        for name, values in found["per_second"].items():
            cells = [_ratio(values, found["per_second"][f"naive, batches of {size}"]) for size in (32, 256)]
            lines.append(f"| {network} | {name} | {statistics.median(values):.2f} | {cells[0]} | {cells[1]} |")
    for network, found in results["networks"].items():
        lines += [
            "",
            f"{network}, {found['images']:,} images: scores without racing differ from the naive loop's by "
            f"{found['largest_difference']:.4f} at most; the race scored {found['samples']['racing=True']:,} of "
            f"{found['samples']['racing=False']:,} samples, its "
            f"winner is {'the same' if found['same_winner'] else 'another'}, "
            f"{100 * found['behind_the_winner']:.2f} points behind the best.",
        ]
    return "\n".join(lines) + "\n"


def _ratio(values: list[float], others: list[float]) -> str:
    ratios = [one / other for one, other in zip(values, others, strict=True)]
    return f"{statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})"


def main() -> None:
    """Measure both networks, write JSON and Markdown."""
    options = arguments()
    import numpy as np

    with np.load(options.data) as arrays:
        x, y = arrays["x_train"][-options.images :].astype(np.float32), arrays["y_train"][-options.images :].ravel()
    late = options.images // LATE_SHARE
    results: dict[str, Any] = {"candidates": options.candidates, "rounds": options.rounds}
    results["networks"] = {
        "ResNet-8, feature maps": measured(*resnet8(options), (x, y), options.rounds),
        "CIFAR10.small, kernels of one late layer": measured(
            *late_layer(options), (x[:late], y[:late]), options.rounds
        ),
    }
    options.out_prefix.parent.mkdir(parents=True, exist_ok=True)
    options.out_prefix.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
    options.out_prefix.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
