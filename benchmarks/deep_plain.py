"""A plain network of 20 convolutions with and without shortcuts around them, which are fused afterwards.

    python ../shared/data/load.py cifar10 cifar10.npz
    python -m benchmarks.deep_plain --data cifar10.npz --out benchmarks/results [--epochs 6] [--seeds 3]

Claims (Xu et al., arXiv 2011.14356): it learns better with shortcuts than without in as many epochs; fused it is the
same network of 20 convolutions again; and layers whose scale the L1 term presses towards zero may go. Each seed trains
it three times on the same images in the same order: as it is, with shortcuts, and with shortcuts of which the weakest
go after two thirds of the epochs. Figures are of the test images, at the last epoch, of the fused network.
"""

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import app, flags, logging

import tf_structprune as sp
from benchmarks._batches import Batches, Part, accuracy, images

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "Folder of the results.", required=True)
flags.DEFINE_integer("epochs", 6, "Epochs, the learning rate falling as a cosine to zero.")
flags.DEFINE_integer("seeds", 3, "How many seeds.")
flags.DEFINE_integer("width", 16, "Maps of the first convolutions; 16 as in ResNet-20, fewer take less time.")
flags.DEFINE_integer("images", 20_000, "The first so many training images.")
flags.DEFINE_float("rate", 2e-3, "Learning rate of Adam at the start.")
flags.DEFINE_float("l1", 1e-3, "Weight of the scales in the loss, where layers go.")
flags.DEFINE_string("budget", "macs=0.7", "What may stay, where layers go.")

BATCH = 128
WIDTHS = (1,) * 6 + (2,) * 7 + (4,) * 6  # of the convolutions behind the first, in times of its maps
_L = keras.layers


def network(*, normalized: bool) -> keras.Model:
    """20 convolutions in a row: the first halves the sides, and so does each that doubles the maps."""
    x = inputs = keras.Input((32, 32, 3), name="image")
    before = 0
    for index, width in enumerate(FLAGS.width * times for times in (1, *WIDTHS)):
        strides = 2 if width != before else 1
        x = _L.Conv2D(width, 3, strides, padding="same", use_bias=not normalized, name=f"conv_{index}")(x)
        x = _L.ReLU()(_L.BatchNormalization()(x) if normalized else x)
        before = width
    x = _L.Dense(10, activation="softmax", name="classifier")(_L.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x, name="plain_20")


def trained(model: keras.Model, batches: Batches, *callbacks: keras.callbacks.Callback) -> keras.Model:
    """The model after training."""
    rate = keras.optimizers.schedules.CosineDecay(FLAGS.rate, FLAGS.epochs * len(batches))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
    renewed = keras.callbacks.LambdaCallback(on_epoch_begin=batches.begin)
    model.fit(batches, epochs=FLAGS.epochs, shuffle=False, verbose=2, callbacks=[renewed, *callbacks])
    return model


def row(seed: int, normalized: bool, data: dict[str, Part]) -> dict[str, Any]:
    """What the three of a seed reach."""
    batches, test = Batches(*data["train"], BATCH, seed), data["test"]

    def built(l1: float | None) -> keras.Model:
        keras.utils.set_random_seed(seed)
        model = network(normalized=normalized)
        return model if l1 is None else sp.residual_convolutions(model, l1=l1, carry=1.0)

    plain = trained(built(None), batches)
    deep = trained(built(0.0), batches)
    cut = sp.RemoveLayers(epoch=FLAGS.epochs * 2 // 3, budget=FLAGS.budget)
    thin = sp.fuse_shortcuts(trained(built(FLAGS.l1), batches, cut))
    fused = sp.fuse_shortcuts(deep)
    few = test[0][:1_000]
    difference = np.abs(deep.predict(few, verbose=0) - fused.predict(few, verbose=0)).max()
    return {
        "seed": seed,
        "normalized": normalized,
        "plain": accuracy(plain, test),
        "fused": accuracy(fused, test),
        "largest_difference": float(difference),
        "thin": accuracy(thin, test),
        "removed": list(cut.removed),
        "macs": [sp.trace(model).macs for model in (plain, fused, thin)],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [
        "# A plain network of 20 convolutions, with and without shortcuts\n",
        f"CIFAR-10, {FLAGS.width} to {4 * FLAGS.width} maps, {FLAGS.images:,} training images, "
        f"{FLAGS.epochs} epochs of Adam at {FLAGS.rate:g}, top-1 of the "
        "10,000 test images at the last epoch. With shortcuts the network was fused before: it has the layers of the "
        f"plain one. Where layers go, {FLAGS.budget} stay after two thirds of the epochs.\n",
        "| normalized | seed | plain | with shortcuts, fused | layers gone too | which | MACs of the plain one |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        share = each["macs"][2] / each["macs"][0]
        lines.append(
            f"| {'yes' if each['normalized'] else 'no'} | {each['seed']} | {each['plain']:.2%} | {each['fused']:.2%} | "
            f"{each['thin']:.2%} | {len(each['removed'])} of {len(WIDTHS) - 2} | {share:.0%} |"
        )
    largest = max(each["largest_difference"] for each in rows)
    return "\n".join([*lines, "", f"Outputs of the fused networks differ by at most {largest:.1g}.", ""])


def main(_: list[str]) -> None:
    """Train all, and write the results after each."""
    out, rows = pathlib.Path(FLAGS.out), list[dict[str, Any]]()
    data = {part: images(FLAGS.data, part, most) for part, most in (("train", FLAGS.images), ("test", None))}
    out.mkdir(parents=True, exist_ok=True)
    for normalized in (True, False):
        for seed in range(FLAGS.seeds):
            rows.append(row(seed, normalized, data))
            logging.info("%s", rows[-1])
            (out / "deep_plain.json").write_text(json.dumps(rows, indent=2) + "\n")
            (out / "deep_plain.md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
