"""What masks cost in `fit`: ResNet-8 plain, masked and pruned by half, and tfmot's wrapper on the Keras 2 twin.

    python -m benchmarks.fit_overhead --out-prefix benchmarks/results/fit_overhead

Random weights and random images of CIFAR-10's shape: the time of a step does not depend on their values. All models
train in turns in one process, after an unmeasured round that compiles them; a ratio is that of two neighbours in time.
tfmot runs with its callback, with which alone its wrapper trains; it updates its masks in every hundredth step, which
is its default. It refuses Keras 3 models, so its twin is of tf_keras.
"""

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

BATCH = 128


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out-prefix", default="benchmarks/results/fit_overhead", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    return parser.parse_args(argv)


def keras_3(x: Any, y: Any) -> dict[str, Callable[[], None]]:
    """Plain and masked models of Keras 3."""
    import tf_structprune as sp
    from benchmarks.networks import resnet8

    plain, masked, pruned = resnet8(), sp.wrap(resnet8()), sp.wrap(resnet8())
    shares = {"feature_map": 0.2, "kernel": 0.2, "intra_kernel": 0.2}
    sp.set_masks(pruned, sp.random_masks(pruned, shares))
    found = {}
    for name, model in {"plain": plain, "masked, nothing removed": masked, "masked, half removed": pruned}.items():
        model.compile("adam", "sparse_categorical_crossentropy")
        found[name] = lambda model=model: model.fit(x, y, batch_size=BATCH, verbose=0)
    return found


def keras_2(x: Any, y: Any) -> dict[str, Callable[[], None]]:
    """The plain twin and tfmot's."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from benchmarks.networks import resnet8

    schedule = tfmot.sparsity.keras.ConstantSparsity(0.5, begin_step=0)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(resnet8(tf_keras), pruning_schedule=schedule)
    plain = resnet8(tf_keras)
    for model in (plain, wrapped):
        model.compile("adam", "sparse_categorical_crossentropy")
    callback = tfmot.sparsity.keras.UpdatePruningStep()
    return {
        "tf_keras, plain": lambda: plain.fit(x, y, batch_size=BATCH, verbose=0),
        "tf_keras, tfmot, half zero": lambda: wrapped.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[callback]),
    }


def measured(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds a step of each model, by round."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (options.steps * BATCH, 32, 32, 3)).astype(np.float32)
    y = rng.integers(0, 10, len(x))
    models = {**keras_3(x, y), **keras_2(x, y)}
    for run in models.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(options.rounds):
        for name in rng.permutation(list(models)):
            begun = time.perf_counter()
            models[name]()
            seconds[str(name)].append((time.perf_counter() - begun) / options.steps)
    return seconds


def table(seconds: dict[str, list[float]], options: argparse.Namespace) -> str:
    """The results as Markdown."""
    lines = [
        "# Masks in fit",
        "",
        f"Written by `benchmarks/fit_overhead.py`: ResNet-8, batches of {BATCH}, {options.steps} steps a round, "
        f"{options.rounds} rounds in a random order. Medians; ratios to the plain model of the same library in the "
        "same round, with their quartiles.",
        "",
        "| model | seconds a step | to plain |",
        "|---|---|---|",
    ]
    for name, values in seconds.items():
        plain = seconds["tf_keras, plain" if name.startswith("tf_keras") else "plain"]
        low, middle, high = statistics.quantiles([a / b for a, b in zip(values, plain, strict=True)], n=4)
        lines.append(f"| {name} | {statistics.median(values):.3f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write JSON and Markdown."""
    options = arguments()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # tfmot then takes tf_keras; it does not change `import keras`
    seconds = measured(options)
    options.out_prefix.parent.mkdir(parents=True, exist_ok=True)
    options.out_prefix.with_suffix(".json").write_text(json.dumps(seconds, indent=2) + "\n")
    options.out_prefix.with_suffix(".md").write_text(table(seconds, options))


if __name__ == "__main__":
    main()
