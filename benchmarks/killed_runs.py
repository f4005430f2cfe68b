"""Runs of `compress`, and of `fit` with `BackupAndRestore`, killed at random moments and started again.

    python -m benchmarks.killed_runs --kills 20

Each is killed by SIGKILL once, at a moment drawn evenly over the time that a whole run takes, and the same run is
started again. Right: it ends with the weights, masks and figures of the run that nothing stopped and leaves nothing
else behind, or it says in words what to delete, and ends so when that is done. Processes are forked from one that has
imported everything, so that the moments fall into the work.
"""

import argparse
import contextlib
import csv
import dataclasses
import io
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

_EPOCHS = 4
_DELETED = {"compress": (".out.work",), "fit": ("pruning", "backup")}
"""What the words say to delete, by target."""


def network() -> Any:
    """A network so small that a whole run takes seconds, the same each time."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="a")(x)))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="b")(layers.MaxPooling2D()(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)), name="small")


def data(samples: int, seed: int) -> tuple[Any, Any]:
    """Images in which class c lights row 2 c + 1."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, samples)
    x = rng.normal(0, 0.3, (samples, 8, 8, 1)).astype(np.float32)
    x[np.arange(samples), 2 * y + 1] += 1
    return x, y


def compress(folder: pathlib.Path) -> str:
    """The command line; gives what it says when it fails."""
    from tf_structprune_cli import main

    err = io.StringIO()
    command = ["compress", str(folder.parent / "model.keras"), "--data", str(folder.parent / "data.npz")]
    command += "--granularity feature_map,kernel --candidates 3 --epochs 2 --tolerance 1 --augment flip".split()
    command += ["--min-validation", "1"]
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        status = main([*command, "--finetune-batch", "32", "--out", str(folder / "out")])
    return err.getvalue() if status else ""


def fit(folder: pathlib.Path) -> str:
    """Pruning inside `fit`; gives what it says when it fails."""
    import keras

    import tf_structprune as sp

    masked = sp.wrap(keras.models.load_model(folder.parent / "model.keras"))
    keras.utils.set_random_seed(1)
    masked.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    pruning = sp.StructuredPruning(
        validation_data=data(100, 1),
        granularity=("feature_map", "kernel"),
        search=sp.search.BestOfN(4),
        sparsity=0.6,
        tolerance=0.02,
        patience=2,
        verbose=0,
        state_dir=folder / "pruning",
    )
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    try:
        masked.fit(*data(200, 0), epochs=_EPOCHS, shuffle=False, verbose=0, callbacks=[pruning, backup])
    except ValueError as error:
        return str(error)
    arrays = {str(index): weight for index, weight in enumerate(masked.get_weights())}
    reports = json.dumps([dataclasses.asdict(report) for report in pruning.reports])
    np.savez(folder / "whole.npz", reports=np.array(reports), **arrays)
    (folder / "whole.npz").rename(folder / "result.npz")
    return ""


TARGETS: dict[str, Callable[[pathlib.Path], str]] = {"compress": compress, "fit": fit}


def run(target: str, folder: pathlib.Path) -> None:
    """A run in a process of its own; what it says is written to `told.txt`."""
    import tensorflow as tf

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    tf.config.experimental.enable_op_determinism()
    (folder / "begun").touch()
    told = TARGETS[target](folder)
    (folder / "told.txt").write_text(told)


def started(target: str, folder: pathlib.Path) -> Any:
    """The process, once its work has begun."""
    for name in ("begun", "told.txt"):
        (folder / name).unlink(missing_ok=True)
    process = multiprocessing.get_context("forkserver").Process(target=run, args=(target, folder))
    process.start()
    while not (folder / "begun").exists() and process.is_alive():
        time.sleep(0.005)
    return process


def finished(target: str, folder: pathlib.Path) -> str | None:
    """Run to the end; what it says, "" for a success, None if it died without a word."""
    started(target, folder).join()
    return (folder / "told.txt").read_text() if (folder / "told.txt").exists() else None


def result(target: str, folder: pathlib.Path) -> dict[str, Any]:
    """What a run ended with, and which names it left."""
    left = sorted(set(os.listdir(folder)) - {"begun", "told.txt"})
    if target == "fit":
        with np.load(folder / "result.npz") as arrays:
            return {"left": left, **arrays}
    import keras

    model = keras.models.load_model(folder / "out" / "model.keras", compile=False)
    rows = list(csv.DictReader((folder / "out" / "history.csv").open()))
    return {"left": left, "rows": len(rows)} | {str(index): w for index, w in enumerate(model.get_weights())}


def equal(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether both runs ended the same, up to the backend's rounding."""
    return found.keys() == wanted.keys() and all(
        np.allclose(found[name], value, atol=1e-5) if getattr(value, "dtype", np.dtype("O")).kind == "f"
        else np.array_equal(found[name], value)
        for name, value in wanted.items()
    )  # fmt: skip


def killed(target: str, base: pathlib.Path, number: int, after_s: float, whole: dict[str, Any]) -> dict[str, Any]:
    """One run that is killed, and what became of the next."""
    folder = base / f"{target}_{number}"
    folder.mkdir()
    process = started(target, folder)
    process.join(after_s)
    dead = process.is_alive()
    if dead:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.parent.name != "micro"
    )
    if not dead:
        return {"after_s": after_s, "outcome": "had ended", "told": "", "found": []}
    told, outcome = finished(target, folder), "equal"
    if told and ("elete" in told):
        outcome = "told what to delete"
        for name in _DELETED[target]:
            shutil.rmtree(folder / name, ignore_errors=True)
        again = finished(target, folder)
    else:
        again = told
    if again is None or again or not equal(result(target, folder), whole):
        outcome = "wrong"
    return {"after_s": round(after_s, 3), "outcome": outcome, "told": told, "found": found[:12]}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Killed runs",
        "",
        f"Written by `benchmarks/killed_runs.py`, seed {results['seed']}: SIGKILL at a random moment of a whole run, "
        "then the same run again. Equal: weights, masks and figures of a run that nothing stopped, nothing else left.",
        "",
        "| run | killed | equal | told what to delete, then equal | wrong | a whole run, s |",
        "|---|---|---|---|---|---|",
    ]
    for target, row in results["targets"].items():
        counts = Counter(kill["outcome"] for kill in row["kills"])
        cells = (sum(counts.values()) - counts["had ended"], counts["equal"], counts["told what to delete"])
        lines.append(f"| {target} | {' | '.join(map(str, cells))} | {counts['wrong']} | {row['whole_s']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Kill, compare, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="of each run")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out-prefix", default="benchmarks/results/killed_runs", type=pathlib.Path)
    options = parser.parse_args()
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["tensorflow", "keras", "tf_structprune", "tflite_export.compress", "benchmarks.killed_runs"]
    )
    results: dict[str, Any] = {"seed": options.seed, "targets": {}}
    with tempfile.TemporaryDirectory() as folder:
        base = pathlib.Path(folder)
        make(base)
        for target in options.targets:
            (base / f"{target}_whole").mkdir()
            begun = time.monotonic()
            if told := finished(target, base / f"{target}_whole"):
                raise RuntimeError(f"The run that nothing stops fails. Received: {told}")
            whole_s, whole = time.monotonic() - begun, result(target, base / f"{target}_whole")
            rng, kills = np.random.default_rng(options.seed), list[dict[str, Any]]()
            while sum(kill["outcome"] != "had ended" for kill in kills) < options.kills:
                kills.append(killed(target, base, len(kills), float(rng.uniform(0, whole_s)), whole))
                print(target, kills[-1], flush=True)
                results["targets"][target] = {"whole_s": whole_s, "kills": kills}
                options.out_prefix.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
                options.out_prefix.with_suffix(".md").write_text(table(results))


def make(base: pathlib.Path) -> None:
    """The trained model and the data of all runs."""
    model = network()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*data(200, 0), epochs=6, verbose=0)
    model.save(base / "model.keras")
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = data(200, 0), data(60, 1), data(60, 2)
    np.savez(
        base / "data.npz", x_train=x_train, y_train=y_train, x_val=x_val, y_val=y_val, x_test=x_test, y_test=y_test
    )


if __name__ == "__main__":
    main()
