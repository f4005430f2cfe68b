"""One Ray worker against two: how much faster candidates are scored, and what becomes of the scores if a worker dies.

    python benchmarks/ray_scaling.py --model resnet8_cifar10.keras --data cifar10.npz

Every worker has one core. Each run makes its workers anew (the start-up, told but not counted) and scores two rounds of
random feature map candidates: the first one builds and compiles networks, the second one meets them. Runs with one and
two workers take turns, and each pair gives a ratio. Then a worker is killed half-way through a round.
"""

import json
import os
import pathlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import ray
from absl import app, flags

import tf_structprune as sp
from tf_structprune.masks import mask_space
from tf_structprune.scoring import Scorer, Scores
from tf_structprune.task import as_score, check_validation

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A classifier as .keras.", required=True)
flags.DEFINE_string("data", None, "x_train and y_train as .npz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/ray_scaling", "Results without suffix.")
flags.DEFINE_integer("candidates", 50, "Candidates in a round.")
flags.DEFINE_integer("images", 2000, "Training images that candidates are scored on.")
flags.DEFINE_integer("pairs", 5, "Runs with one and with two workers.")
flags.DEFINE_integer("seed", 0, "Seed of the images and the candidates.")

ROUNDS = ("first round", "second round")


@dataclass
class Watched:
    """An executor whose workers can be seen, so that one can be killed."""

    executor: sp.RayExecutor
    made: list[Any] = field(default_factory=list)

    def bench(self, *arguments: Any, **settings: Any) -> Any:
        """What the executor makes."""
        self.made.append(self.executor.bench(*arguments, **settings))
        return self.made[-1]


@dataclass(frozen=True)
class Job:
    """What is scored."""

    masked: keras.Model
    validation: Any
    rounds: list[list[sp.MaskSet]]

    def run(self, executor: Any, *, racing: bool) -> tuple[float, list[Scores]]:
        """Seconds to start, and the scores of both rounds."""
        begun = time.perf_counter()
        scorer = Scorer(self.masked, self.validation, racing=racing, executor=executor)
        start = time.perf_counter() - begun
        try:
            return start, [scorer.score(candidates) for candidates in self.rounds]
        finally:
            scorer.close()


def read_job() -> Job:
    """Model, images and candidates."""
    data = np.load(FLAGS.data)
    masked = sp.wrap(keras.saving.load_model(FLAGS.model), granularity="feature_map")
    rng = np.random.default_rng(FLAGS.seed)
    chosen = rng.choice(len(data["x_train"]), FLAGS.images, replace=False)
    pair = data["x_train"][chosen].astype(np.float32), data["y_train"][chosen]
    space = mask_space(sp.trace(masked), "feature_map", 0.5)
    rounds = [[space.sample(rng) for _ in range(FLAGS.candidates)] for _ in ROUNDS]
    return Job(masked, check_validation(pair, as_score("mcr"), 256), rounds)


def equal(one: list[Scores], other: list[Scores]) -> bool:
    """Whether scores and sample counts are the same, bit for bit."""
    return all(
        np.array_equal(a.values, b.values) and np.array_equal(a.samples, b.samples)
        for a, b in zip(one, other, strict=True)
    )


def compare(job: Job, racing: bool) -> dict[str, Any]:
    """Runs with one and two workers in turn, and one in this process."""
    seconds: dict[int, list[list[float]]] = {1: [], 2: []}
    starts: dict[int, list[float]] = {1: [], 2: []}
    found = []
    for pair in range(FLAGS.pairs):
        for workers in (1, 2) if pair % 2 == 0 else (2, 1):
            start, scores = job.run(sp.RayExecutor(workers), racing=racing)
            starts[workers].append(start)
            seconds[workers].append([score.seconds for score in scores])
            found.append(scores)
            print("racing" if racing else "exact", workers, f"start {start:.1f} s", *scores, sep=", ", flush=True)
    _, local = job.run("local", racing=racing)
    ratios = np.array(seconds[1]) / np.array(seconds[2])
    return {
        "mode": "racing" if racing else "exact",
        "seconds": {str(workers): rows for workers, rows in seconds.items()},
        "start_seconds": {str(workers): rows for workers, rows in starts.items()},
        "ratios": ratios.tolist(),
        "scored_samples": [scores.scored_samples for scores in local],
        "runs_equal": all(equal(found[0], other) for other in found),
        "equal_to_local": equal(found[0], local),
        "largest_difference_to_local": max(
            float(np.abs(a.values - b.values).max()) for a, b in zip(found[0], local, strict=True)
        ),
        "same_winners_as_local": [a.best == b.best for a, b in zip(found[0], local, strict=True)],
    }


def kill_one(job: Job, seconds: float) -> dict[str, Any]:
    """All candidates on all images, with one of two workers killed in the middle of the first round."""
    watched = Watched(sp.RayExecutor(2))
    scorer = Scorer(job.masked, job.validation, racing=False, executor=watched)
    try:
        before = list(watched.made[0].workers)
        timer = threading.Timer(seconds / 2, ray.kill, (before[1],), {"no_restart": True})
        timer.start()
        scores = [scorer.score(candidates) for candidates in job.rounds]
        timer.join()
        replaced = [old is not new for old, new in zip(before, watched.made[0].workers, strict=True)]
    finally:
        scorer.close()
    _, undisturbed = job.run(sp.RayExecutor(2), racing=False)
    return {
        "killed_after_seconds": seconds / 2,
        "replaced": replaced,
        "seconds": scores[0].seconds,
        "undisturbed_seconds": undisturbed[0].seconds,
        "equal": equal(scores, undisturbed),
    }


def table(rows: list[dict[str, Any]], killed: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Scoring on Ray: one worker against two",
        "",
        f"Written by `benchmarks/ray_scaling.py`. {pathlib.Path(FLAGS.model).stem}, rounds of {FLAGS.candidates} "
        f"random feature map candidates at 50 %, {FLAGS.images:,} training images, batches of 128 (two "
        "parts of 64 for two workers), one machine with "
        f"{os.cpu_count()} cores, Ray {ray.__version__}, {keras.backend.backend()}. Every worker has one core and one "
        f"thread. {FLAGS.pairs} runs with one and with two workers in turn; median, in brackets the least and the "
        "greatest. The first round of a run builds and compiles its networks, on every worker. Starting the workers is "
        "not counted: it is the last column but one.",
        "",
        "| scores | round | one worker (s) | two workers (s) | one / two | start of one, two (s) | equal to local |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        for index, name in enumerate(ROUNDS):
            one, two = (np.array(row["seconds"][workers])[:, index] for workers in ("1", "2"))
            start = ", ".join(f"{np.median(row['start_seconds'][workers]):.1f}" for workers in ("1", "2"))
            same = "bit for bit" if row["equal_to_local"] else f"within {row['largest_difference_to_local']:.1e}"
            cells = [row["mode"], name, spread(one), spread(two), spread(np.array(row["ratios"])[:, index], "x")]
            lines.append(f"| {' | '.join([*cells, start, same])} |")
    same = "the same, bit for bit" if killed["equal"] else "others"
    lines += [
        "",
        f"With one of two workers killed {killed['killed_after_seconds']:.1f} s after the start of the first exact "
        f"round it took {killed['seconds']:.1f} s instead of {killed['undisturbed_seconds']:.1f} s, the start of the "
        f"new worker included. Workers made anew: {sum(killed['replaced'])}. The scores of both rounds are {same}.",
    ]
    return "\n".join(lines) + "\n"


def spread(values: Any, unit: str = "") -> str:
    """Median, least and greatest."""
    return f"{np.median(values):.2f}{unit} ({values.min():.2f} to {values.max():.2f})"


def main(arguments: list[str]) -> None:
    del arguments
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    job = read_job()
    rows = [compare(job, racing) for racing in (True, False)]
    killed = kill_one(job, float(np.median(rows[1]["seconds"]["2"], axis=0)[0]))
    ray.shutdown()
    out = pathlib.Path(FLAGS.out)
    text = table(rows, killed)
    out.with_suffix(".md").write_text(text)
    settings = {name: FLAGS[name].value for name in ("candidates", "images", "pairs", "seed")}
    out.with_suffix(".json").write_text(json.dumps({"settings": settings, "rows": rows, "killed": killed}, indent=1))
    print(text)


if __name__ == "__main__":
    app.run(main)
