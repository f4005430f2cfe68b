"""Masks that were found without labels against masks that were found with them, on CIFAR-10.

    python ../shared/data/load.py cifar10 cifar10.npz
    python -m benchmarks.without_labels --data cifar10.npz --out DIR [--networks resnet8,vgg] [--seeds 1] [--half]

Iterative magnitude pruning (a fifth of what is left a round, rewound to the weights after the first epoch) of each
network on the labels and on the rotation pretext, which sees the same images without labels. The masks of each round,
and random masks of the same sparsity, plain and with what trains to zero on the labels removed first, are then trained
on the labels, from new initial values that are the same for all masks of a seed. The network of each round of the
pretext is also probed: a linear classifier on its features as they are (Caron et al., arXiv 2001.03554). The test set
gives the score of the last epoch, for every mask; nothing is selected. `--half` means pools images to 16 x 16.

Each round and each score is written when it is done, so an interrupted call goes on with what is missing.
"""

import json
import pathlib
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks._batches import Batches, images
from tf_structprune import pretext
from tf_structprune.layers import MaskedModel, fresh_weights

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.")
flags.DEFINE_string("out", None, "Folder for rounds and scores, which an interrupted call goes on from.")
flags.DEFINE_string("results", "benchmarks/results/without_labels", "Files that are written, without ending.")
flags.DEFINE_list("networks", ["resnet8", "vgg"], "What is pruned.")
flags.DEFINE_integer("seeds", 1, "Seeds, from 0.")
flags.DEFINE_float("sparsity", 0.99, "Of the last round.")
flags.DEFINE_integer("round_epochs", 10, "Epochs of a round.")
flags.DEFINE_integer("epochs", 20, "Epochs of training with masks.")
flags.DEFINE_list("rounds", ["1", "2", "4", "7", "10", "14", "17", "21"], "Rounds whose masks are trained.")
flags.DEFINE_float("rate", 2e-3, "Learning rate at the start of each round and training.")
flags.DEFINE_bool("half", False, "Whether images are 16 x 16.")
flags.DEFINE_float("width", 1.0, "Share of the maps of each layer.")
flags.DEFINE_integer("images", 0, "Training images; 0 for all.")

BATCH, ZERO, PROBED = 128, 1e-3, 10_000
LOSS = "sparse_categorical_crossentropy"
SOURCES = ("labels", "rotations", "random", "random, zeros first")
Data = dict[str, Any]
layers = keras.layers


def _conv(x: Any, filters: int, name: str, size: int = 3, strides: int = 1) -> Any:
    maps = max(1, round(filters * FLAGS.width))
    x = layers.Conv2D(maps, size, strides, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def _resnet8(x: Any) -> Any:
    x = layers.ReLU()(_conv(x, 16, "stem"))
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        y = layers.ReLU()(_conv(x, filters, f"first_{filters}", strides=strides))
        y = _conv(y, filters, f"second_{filters}")
        short = _conv(x, filters, f"short_{filters}", size=1, strides=strides) if strides > 1 else x
        x = layers.ReLU()(layers.Add()([short, y]))
    return x


def _vgg(x: Any) -> Any:
    for stage, filters in enumerate((32, 64, 128), start=1):
        for at in "ab":
            x = layers.ReLU()(_conv(x, filters, f"conv{stage}{at}"))
        x = layers.MaxPooling2D()(x)
    return x


NETWORKS: dict[str, Callable[[Any], Any]] = {"resnet8": _resnet8, "vgg": _vgg}


def network(name: str, data: Data) -> keras.Model:
    """A new network with masks on all convolutions."""
    inputs = keras.Input(data["x_train"].shape[1:])
    x = layers.GlobalAveragePooling2D()(NETWORKS[name](inputs))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", name="classifier")(x), name=name)
    return sp.wrap(model, granularity="weight", keep_first=False)


def read() -> Data:
    """Images from -1 to 1 and labels."""
    data = {}
    for part in ("train", "test"):
        x, y = images(FLAGS.data, part, FLAGS.images)
        if FLAGS.half:
            x = x.reshape(len(x), 16, 2, 16, 2, 3).mean(axis=(2, 4))
        data |= {f"x_{part}": x, f"y_{part}": y.astype(np.int64)}
    return data


def fit(model: keras.Model, data: Data, epochs: int, seed: int, *callbacks: keras.callbacks.Callback) -> None:
    """Batches that are flipped and shifted; whatever the process did before, they are the same."""
    batches = Batches(data["x_train"], data["y_train"], BATCH, seed)
    begin = keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=2, callbacks=[begin, *callbacks])


class Rounds(keras.callbacks.Callback):
    """Writes the network at the end of every round."""

    def __init__(self, folder: pathlib.Path) -> None:
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Masks and weights of the network."""
        if (epoch + 1) % FLAGS.round_epochs == 0:
            network = getattr(self.model, "student", self.model)
            arrays = {f"weight {at}": weight for at, weight in enumerate(network.get_weights())}
            np.savez(self.folder / f"{(epoch + 1) // FLAGS.round_epochs - 1}.npz", **arrays)


def pruned_in_rounds(model: keras.Model, data: Data, folder: pathlib.Path, seed: int) -> None:
    """All rounds of a task; its folder has a file of each."""
    if (folder / "done").exists():
        return
    (folder / "rounds").mkdir(parents=True, exist_ok=True)
    pruning = sp.IterativePruning(
        FLAGS.sparsity, round_epochs=FLAGS.round_epochs, rate=FLAGS.rate, state_dir=folder / "state"
    )
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    fit(model, data, pruning.epochs, seed, pruning, Rounds(folder / "rounds"), backup)
    (folder / "done").touch()


def put(model: keras.Model, folder: pathlib.Path, index: int) -> keras.Model:
    """The network with the weights and masks of a round; round 0 is dense."""
    with np.load(folder / "rounds" / f"{index}.npz") as file:
        model.set_weights([file[f"weight {at}"] for at in range(len(file.files))])
    return model


def tasks(name: str, data: Data, folder: pathlib.Path, seed: int) -> Callable[[str], keras.Model]:
    """Prune on both tasks; gives a new network as one of them has it, with or without the classifier."""
    keras.utils.set_random_seed(seed)
    with_labels = network(name, data)
    task = pretext.RotationPrediction(pretext.features_of(with_labels))  # the same initial values
    with_labels.compile(keras.optimizers.Adam(FLAGS.rate), LOSS, metrics=["accuracy"], jit_compile=False)
    task.compile(keras.optimizers.Adam(FLAGS.rate), jit_compile=False)
    pruned_in_rounds(with_labels, data, folder / "labels", seed)
    pruned_in_rounds(task, data, folder / "rotations", seed)
    return lambda kind: network(name, data) if kind == "labels" else pretext.features_of(network(name, data))


def masks_of(source: str, index: int, make: Any, folder: pathlib.Path, seed: int) -> sp.MaskSet:
    """The masks of a round, or random ones of its sparsity."""
    kind = "rotations" if source == "rotations" else "labels"
    found = put(make(kind), folder / kind, index)
    if not source.startswith("random"):
        return sp.get_masks(found)
    sparsity = MaskedModel(found).sparsity
    dense = put(make("labels"), folder / "labels", 0)
    return sp.random_after_zeros(dense, sparsity, threshold=ZERO if "zeros" in source else 0.0, seed=seed)


def trained(name: str, masks: sp.MaskSet, data: Data, seed: int) -> dict[str, float]:
    """Figures of a new network that is trained on the labels with these masks."""
    model = network(name, data)
    model.set_weights(fresh_weights(model, model, 1000 + seed))
    sp.transfer_masks(masks, model)
    steps = FLAGS.epochs * -(-len(data["y_train"]) // BATCH)
    falls = keras.optimizers.schedules.CosineDecay(FLAGS.rate, steps)
    model.compile(keras.optimizers.Adam(falls), LOSS, metrics=["accuracy"], jit_compile=False)
    fit(model, data, FLAGS.epochs, 1000 + seed)
    top1 = 100 * float(model.evaluate(data["x_test"], data["y_test"], verbose=0)[1])
    return {"top1": top1, "sparsity": MaskedModel(model).sparsity}


def cells(name: str, data: Data, folder: pathlib.Path, seed: int) -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """What is measured: by source and round, how."""
    make = tasks(name, data, folder, seed)
    rounds = [index for index in map(int, FLAGS.rounds) if (folder / "labels" / "rounds" / f"{index}.npz").exists()]
    dense = sp.get_masks(network(name, data))
    yield "dense", 0, lambda: trained(name, dense, data, seed)
    for index in rounds:
        for source in SOURCES:
            yield (
                source,
                index,
                lambda s=source, i=index: trained(name, masks_of(s, i, make, folder, seed), data, seed),
            )
    for index in (0, *rounds):

        def probe(index: int = index) -> dict[str, float]:
            features = put(make("rotations"), folder / "rotations", index)
            train, test = ((data[f"x_{part}"][:PROBED], data[f"y_{part}"][:PROBED]) for part in ("train", "test"))
            top1 = 100 * pretext.linear_probe(features, train, test)
            return {"top1": top1, "sparsity": MaskedModel(features).sparsity}

        yield "linear probe", index, probe


def table(rows: list[dict[str, Any]]) -> str:
    """Means and ranges over the seeds."""
    lines = [
        "# Masks without labels",
        "",
        f"Written by `python -m benchmarks.without_labels`: CIFAR-10{', 16 x 16 pixels' if FLAGS.half else ''}, "
        f"{FLAGS.images or 50_000:,} training images; rounds of {FLAGS.round_epochs} epochs, masks trained for "
        f"{FLAGS.epochs} on the labels from new initial values; seeds 0 to {max(row['seed'] for row in rows)}. Top-1 "
        "(%) on the test set, last epoch, mean (lowest to highest) over the seeds. Linear probe: of the network that "
        f"the rotations trained, on {min(PROBED, FLAGS.images or PROBED):,} images.",
    ]
    ways = (*SOURCES, "linear probe")
    for name in dict.fromkeys(row["network"] for row in rows):
        lines += ["", f"## {name}", "", f"| sparsity (%) | {' | '.join(ways)} |", "|---" * (len(ways) + 1) + "|"]
        mine = [row for row in rows if row["network"] == name]
        for index in sorted({row["round"] for row in mine}):
            here = [row for row in mine if row["round"] == index]
            told = [_spread([row["top1"] for row in here if row["source"] in (way, "dense")]) for way in ways[:-1]]
            probe = _spread([row["top1"] for row in here if row["source"] == ways[-1]])
            lines.append(f"| {100 * here[0]['sparsity']:.1f} | {' | '.join([*told, probe])} |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def plot(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """By network: top-1 over what is left, a line a source."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = Figure(figsize=(5.5 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for source in (*SOURCES, "linear probe"):
            found: dict[float, list[float]] = {}
            for row in rows:
                first = row["source"] == "dense" and source in SOURCES
                if row["network"] == name and (row["source"] == source or first):
                    found.setdefault(round(100 * (1 - row["sparsity"]), 1), []).append(row["top1"])
            left = sorted(found, reverse=True)
            style = "--" if source == "linear probe" else "-"
            axes.plot(left, [statistics.mean(found[each]) for each in left], style, marker=".", label=source)
        axes.set(title=name, xlabel="weights left (%)", ylabel="test top-1 (%)", xscale="log")
        axes.invert_xaxis()
        axes.legend()
    figure.savefig(path, dpi=110)


def main(_: list[str]) -> None:
    """Measure what is missing, then write table and plot."""
    folder = pathlib.Path(FLAGS.out)
    folder.mkdir(parents=True, exist_ok=True)
    log, data = folder / "scores.jsonl", read()
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    done = {(row["network"], row["seed"], row["source"], row["round"]) for row in rows}
    for seed in range(FLAGS.seeds):
        for name in FLAGS.networks:
            for source, index, measure in cells(name, data, folder / f"{name}_{seed}", seed):
                if (name, seed, source, index) in done:
                    continue
                rows.append({"network": name, "seed": seed, "source": source, "round": index} | measure())
                logging.info("%s", rows[-1])
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    if FLAGS.results:
        pathlib.Path(FLAGS.results + ".json").write_text(json.dumps(rows, indent=1) + "\n")
        pathlib.Path(FLAGS.results + ".md").write_text(table(rows))
        plot(rows, pathlib.Path(FLAGS.results + ".png"))


if __name__ == "__main__":
    flags.mark_flags_as_required(["data", "out"])
    app.run(main)
