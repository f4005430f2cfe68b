"""Joint pruning and quantization of a stereo network: what scores, orders and returning weights are worth.

    python ../shared/data/load.py cifar10 cifar10.npz
    python -m benchmarks.stereo --data cifar10.npz --work DIR [--seeds 0,1,2] [--epochs 8] [--tasks stereo]
    python -m benchmarks.stereo --data cifar10.npz --work DIR --tasks resnet8 --resnet8 resnet8_cifar10.keras

After Yu et al., arXiv 2010.01892, of which only the abstract was to be had: a small hourglass on generated pairs (see
`_stereo_pairs`), and ResNet-8 on CIFAR-10 beside it. From one dense network of each seed, each with as many epochs in
all: the dense one trained on (the control), fixed point alone, and for each word length pruning then quantization (PQ),
quantization then pruning on grids that are held (QP), and both at once (joint). At the fewest bits, joint by other
scores and with masks that only lose more. Memory charges positions, tables and all other parameters; bit operations are
kept MACs x bits of weights x bits of signals; both are beside the dense network in float32. Figures are of the held-out
part at the last epoch; nothing is selected.

Each row is written when it is done, so an interrupted call goes on with what is missing. On one core set
TF_NUM_INTRAOP_THREADS=1.
"""

import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks._batches import Batches, accuracy, images
from benchmarks._stereo_pairs import Pairs, errors, held_out, hourglass

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("work", None, "Folder of the dense networks.", required=True)
flags.DEFINE_string("out", "benchmarks/results/stereo", "Results, without the ending.")
flags.DEFINE_list("seeds", ["0"], "Seeds of the networks, the data and their order.")
flags.DEFINE_list("tasks", ["stereo"], "stereo, resnet8.")
flags.DEFINE_integer("epochs", 8, "Epochs of the dense hourglass, and of all that is made of a dense network.")
flags.DEFINE_integer("count", 2048, "Pairs, or images, of an epoch.")
flags.DEFINE_integer("held_out", 1000, "Pairs, or images, that figures are of.")
flags.DEFINE_list("words", ["8:0.92", "4:0.85"], "Bits of a weight, and the share of the weights that goes with them.")
flags.DEFINE_string("resnet8", None, "The dense ResNet-8, which takes pixels from 0 to 255.")

BATCH, DENSE_RATE, RATE, SIGNAL_BITS, SCORED, CALIBRATION = 32, 4e-3, 2e-3, 8, 512, 256
FLOAT_BITS = 32
Part = tuple[np.ndarray, np.ndarray]
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        loss: that training lessens.
        figure: what is reported first; lower is better.
        batches: those of a seed.
        held: the held-out part.
        figures: of a model on it.
        dense: makes the dense network, trained.
    """

    loss: str
    figure: str
    batches: Callable[[int], Any]
    held: Part
    figures: Callable[[keras.Model, Part], dict[str, float]]
    dense: Callable[["Task", int], keras.Model]


def fitted(task: Task, model: keras.Model, seed: int, first: int, epochs: int, *callbacks: Any, rate: float) -> None:
    """Train for some epochs, the rate falling as a cosine to zero.

    Args:
        task: what is learned.
        model: what is trained.
        seed: of the data.
        first: epochs whose data others have seen before.
        epochs: how many.
        callbacks: as for `fit`.
        rate: at the beginning.
    """
    keras.utils.set_random_seed(seed)
    batches = task.batches(seed)
    falling = keras.optimizers.schedules.CosineDecay(rate, epochs * len(batches))
    model.compile(keras.optimizers.Adam(falling), task.loss, jit_compile=False)
    renewed = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: batches.begin(first + epoch))
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[renewed, *callbacks])


def stereo() -> Task:
    """Disparities of generated pairs."""

    def dense(task: Task, seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = hourglass()
        fitted(task, model, seed, 0, FLAGS.epochs, rate=DENSE_RATE)
        return model

    def batches(seed: int) -> Pairs:
        return Pairs(FLAGS.data, FLAGS.count, BATCH, seed)

    return Task("mae", "end_point_error", batches, held_out(FLAGS.data, FLAGS.held_out), errors, dense)


def resnet8() -> Task:
    """Classes of CIFAR-10, from a network that was trained on all of its training images."""

    def part(name: str, most: int) -> Part:
        x, y = images(FLAGS.data, name, most)
        return np.rint(x * 127.5 + 127.5).astype(np.float32), y

    def wrong(model: keras.Model, held: Part) -> dict[str, float]:
        return {"error": 1 - accuracy(model, held)}

    train = part("train", FLAGS.count)
    loss = "sparse_categorical_crossentropy"
    return Task(
        loss,
        "error",
        lambda seed: Batches(*train, BATCH, seed),
        part("test", FLAGS.held_out),
        wrong,
        lambda _, __: keras.models.load_model(FLAGS.resnet8, compile=False),
    )


TASKS: dict[str, Callable[[], Task]] = {"stereo": stereo, "resnet8": resnet8}


@dataclass(frozen=True)
class Method:
    """How the network of a row is made.

    Attributes:
        order: "control", "Q", "PQ", "QP" or "joint".
        bits: of a weight; 0 for float.
        sparsity: share of the prunable weights that goes.
        score: by which.
        again: whether removed weights may return.
    """

    order: str
    bits: int = 0
    sparsity: float = 0.0
    score: str = "taylor"
    again: bool = True


def methods() -> Iterator[Method]:
    """All of them."""
    yield Method("dense")
    yield Method("control")
    words = [(int(bits), float(share)) for bits, share in (each.split(":") for each in FLAGS.words)]
    for bits, share in words:
        yield Method("Q", bits)
        yield from (Method(order, bits, share) for order in ("PQ", "QP", "joint"))
    least = min(words)
    for score, again in (("taylor", False), ("magnitude", True), ("magnitude", False), ("random", False)):
        yield Method("joint", *least, score, again)


def made(task: Task, dense: keras.Model, seed: int, method: Method) -> keras.Model:
    """The network that a method makes of the dense one; nothing in it is masked any more."""
    whole, half, before = FLAGS.epochs, max(1, FLAGS.epochs // 2), FLAGS.epochs
    x, y = task.batches(seed)[0]  # the first batches of the first epoch
    more = [task.batches(seed)[at] for at in range(1, min(SCORED // BATCH, FLAGS.count // BATCH))]
    x, y = (np.concatenate([first, *rest]) for first, rest in ((x, [a for a, _ in more]), (y, [b for _, b in more])))
    recipe = sp.FixedPoint(weight_bits=method.bits or 8, signal_bits=SIGNAL_BITS)

    def prune(model: keras.Model, first: int, epochs: int, *words: Any) -> keras.Model:
        masked = sp.wrap(model, granularity="weight")
        settings: dict[str, Any] = {"score": method.score, "again": method.again, "seed": seed}
        steps = max(1, epochs // 2)
        callback = sp.TaylorPruning(method.sparsity, samples=(x, y), prune_epochs=steps, **settings)
        fitted(task, masked, seed, first, epochs, callback, *words, rate=RATE)
        return sp.unwrap(masked)

    def rounding(epochs: int) -> sp.FixedPointTraining:
        early = max(1, epochs // 2)
        return sp.FixedPointTraining(
            calibration_data=x[:CALIBRATION], signal_epoch=min(1, epochs - 1), refit_epochs=early
        )

    def quantize(model: keras.Model, first: int, epochs: int) -> keras.Model:
        fixed = sp.to_fixed_point(model, recipe)
        fitted(task, fixed, seed, first, epochs, rounding(epochs), rate=RATE)
        return fixed

    if method.order == "control":
        fitted(task, dense, seed, before, whole, rate=RATE)
        return dense
    if method.order == "Q":
        return quantize(dense, before, whole)
    if method.order == "PQ":
        return quantize(prune(dense, before, half), before + half, whole - half)
    if method.order == "QP":
        return prune(quantize(dense, before, half), before + half, whole - half)
    return dense if method.order == "dense" else prune(sp.to_fixed_point(dense, recipe), before, whole, rounding(whole))


def row_of(name: str, task: Task, seed: int, method: Method) -> Row:
    """The figures of one network."""
    file = pathlib.Path(FLAGS.work) / f"{name}_{seed}_{FLAGS.epochs}_{FLAGS.count}.keras"
    if not file.exists():
        task.dense(task, seed).save(file)
    model = made(task, keras.models.load_model(file, compile=False), seed, method)
    cost = sp.hardware_cost(model)
    figures = task.figures(model, task.held) | {
        "macs": cost.macs,
        "bit_operations": cost.bit_operations,
        "memory_bits": cost.memory_bits,
    }
    return key_of(name, seed, method) | {"figure": task.figure} | figures


def key_of(name: str, seed: int, method: Method) -> Row:
    """What a row is the result of."""
    settings = {"epochs": FLAGS.epochs, "count": FLAGS.count, "held_out": FLAGS.held_out}
    return {"task": name, "seed": seed, **vars(method), **settings}


def mean(rows: Sequence[Row], name: str) -> float:
    """Of one figure over the seeds."""
    return float(np.mean([row[name] for row in rows]))


def table(rows: Sequence[Row]) -> list[str]:
    """The rows of a task in Markdown, means over the seeds."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in ("order", "bits", "sparsity", "score", "again")), []).append(row)
    figure, dense = rows[0]["figure"], next((mine for key, mine in groups.items() if key[0] == "dense"), [])
    control = next((mine for key, mine in groups.items() if key[0] == "control"), dense)
    more = [name for name in ("over_1", "over_3") if name in rows[0]]
    told = [figure.replace("_", " "), "to dense", "to control", *(name.replace("_", " ") + " px" for name in more)]
    lines = [
        f"| order | bits | sparsity | score | return | {' | '.join(told)} | memory | bit operations | seeds |",
        f"|{'---|' * 5}{'---:|' * (len(told) + 3)}",
    ]
    for (order, bits, sparsity, score, again), mine in groups.items():
        pruned = [score, "yes" if again else "no"] if sparsity else ["", ""]
        found = mean(mine, figure)
        rises = [found / mean(base, figure) - 1 for base in (dense, control)]
        shares = [f"{mean(mine, name) / mean(dense, name):.2%}" for name in ("memory_bits", "bit_operations")]
        cells = [order, str(bits or FLOAT_BITS), f"{sparsity:.0%}", *pruned, f"{found:.4f}"]
        cells += [*(f"{rise:+.1%}" for rise in rises), *(f"{mean(mine, name):.2%}" for name in more), *shares]
        lines.append(f"| {' | '.join(cells)} | {len(mine)} |")
    return lines


def page(rows: Sequence[Row]) -> str:
    """The results for people."""
    lines = ["# Joint pruning and quantization of a stereo network", "", "`python -m benchmarks.stereo`", ""]
    for name in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == name]
        lines += [
            f"## {name}",
            "",
            f"{mine[0]['count']:,} samples an epoch, {mine[0]['epochs']} epochs of every network that is made of the "
            f"dense one, {mine[0]['held_out']:,} held-out samples at the last epoch. Memory, with positions, and bit "
            f"operations as shares of the dense network's in float32: {mean(mine[:1], 'memory_bits') / 8:,.0f} bytes, "
            f"{mean(mine[:1], 'bit_operations'):,.0f}.",
            "",
            *table(mine),
            "",
        ]
    return "\n".join(lines)


def main(_: list[str]) -> None:
    """Measure what is missing, and write after each row."""
    out = pathlib.Path(FLAGS.out)
    pathlib.Path(FLAGS.work).mkdir(parents=True, exist_ok=True)
    file = out.with_suffix(".json")
    rows: list[Row] = json.loads(file.read_text()) if file.exists() else []
    for name in FLAGS.tasks:
        task = TASKS[name]()
        for seed in map(int, FLAGS.seeds):
            for method in methods():
                key = key_of(name, seed, method)
                if any(key.items() <= row.items() for row in rows):
                    continue
                rows.append(row_of(name, task, seed, method))
                logging.info("%s", rows[-1])
                file.write_text(json.dumps(rows, indent=2) + "\n")
                out.with_suffix(".md").write_text(page(rows))


if __name__ == "__main__":
    app.run(main)
