"""Half the MACs of a segmentation U-Net and of a sound autoencoder, within a tolerance, beside a thin one from scratch.

    python -m benchmarks.other_tasks --fsdd fsdd.npz --out benchmarks/results/other_tasks [--seeds 0,1,2]

The U-Net finds discs, squares and the background in generated images of 48 x 48; its metric is the mean IoU. The
autoencoder restores windows of five frames of 128 log-mel bands of spoken digits, as anomaly detection has it (DCASE
2020, task 2; MLPerf Tiny); its metric is the mean squared error. A row a seed: the trained network, and what `compress`
hands over, in float and in int8 on the test part, beside a narrower one of as many MACs from scratch, for as many
epochs as both took together (the control).
"""

import json
import pathlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from absl import app, flags

from benchmarks.speech import log_mel, parts_of

FLAGS = flags.FLAGS
flags.DEFINE_string("fsdd", None, "Spoken digits as load.py writes them: x_*, int16 at 8 kHz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/other_tasks", "Results, without the ending.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of training, pruning and retraining.")
flags.DEFINE_integer("epochs", 20, "Epochs of the dense network's training, and of its retraining.")

SIDE, IMAGES = 48, {"train": 2_000, "val": 500, "test": 500}
BANDS, WINDOW = 128, 5
_L = keras.layers


@dataclass(frozen=True)
class Task:
    """What is trained and pruned.

    Attributes:
        build: makes the network, its hidden layers times a width.
        compiled: what it is compiled with.
        tolerance: of `compress`.
        half: width at which the network has about half the MACs.
    """

    build: Callable[[float], keras.Model]
    compiled: dict[str, Any]
    tolerance: float | str
    half: float


def shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images with two discs and two squares on noise, and the class of each pixel: 0 background, 1 disc, 2 square."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = rng.normal(0, 0.25, (count, SIDE, SIDE, 1)).astype(np.float32)
    classes = np.zeros((count, SIDE, SIDE), np.int32)
    for image, truth in zip(images, classes, strict=True):
        for kind in rng.permutation([1, 1, 2, 2]):
            (row, column), size = rng.uniform(8, SIDE - 8, 2), rng.uniform(4, 8)
            away = np.abs(rows - row), np.abs(columns - column)
            inside = np.hypot(*away) < size if kind == 1 else np.maximum(*away) < size
            image[inside, 0] += rng.uniform(0.5, 1)
            truth[inside] = kind
    return images, classes


def unet(width: float = 1) -> keras.Model:
    """Three levels of 16, 32 and 64 feature maps."""
    maps = [round(16 * width), round(32 * width), round(64 * width)]
    inputs = keras.Input((SIDE, SIDE, 1), name="image")
    x, kept = inputs, []
    for level, filters in enumerate(maps):
        x = _twice(x, filters, f"down_{level}")
        if level < len(maps) - 1:
            kept.append(x)
            x = _L.MaxPooling2D(2)(x)
    for level in (1, 0):
        up = _L.Conv2DTranspose(maps[level], 2, strides=2, activation="relu", name=f"up_{level}")(x)
        x = _twice(_L.Concatenate()([kept[level], up]), maps[level], f"join_{level}")
    return keras.Model(inputs, _L.Conv2D(3, 1, activation="softmax", name="classes")(x), name="unet")


def _twice(x: Any, filters: int, name: str) -> Any:
    for turn in "ab":
        x = _L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}{turn}")(x)
        x = _L.ReLU()(_L.BatchNormalization()(x))
    return x


def frames(sound: np.ndarray) -> np.ndarray:
    """Windows of five frames of log-mel energies, shape (windows, 640)."""
    mel = log_mel(sound, frame=256, hop=128, bands=BANDS)
    loud = mel.mean(axis=2) > -10  # silence behind the end of a word is left out
    windows = np.lib.stride_tricks.sliding_window_view(mel, WINDOW, axis=1)[:, ::WINDOW]
    spoken = np.lib.stride_tricks.sliding_window_view(loud, WINDOW, axis=1)[:, ::WINDOW].all(axis=2)
    found: np.ndarray = windows.swapaxes(2, 3).reshape(*spoken.shape, -1)[spoken]
    return (found / 10).astype(np.float32)


def autoencoder(width: float = 1) -> keras.Model:
    """The network of MLPerf Tiny's anomaly detection: 640-128-128-128-128-8-128-128-128-128-640."""
    x = inputs = keras.Input((BANDS * WINDOW,), name="frames")
    for index, units in enumerate((128, 128, 128, 128, 8, 128, 128, 128, 128), 1):
        x = _L.Dense(units if units == 8 else round(units * width), use_bias=False, name=f"dense_{index}")(x)
        x = _L.ReLU()(_L.BatchNormalization()(x))
    return keras.Model(inputs, _L.Dense(BANDS * WINDOW, name="restored")(x), name="autoencoder")


TASKS = {
    "U-Net": Task(unet, {"loss": "sparse_categorical_crossentropy"}, 0.02, 0.71),
    "autoencoder": Task(autoencoder, {"loss": "mse"}, "10%", 0.57),
}


def data_of(name: str) -> dict[str, Any]:
    """Training, validation and test part by name."""
    if name == "U-Net":
        return {part: shapes(count, seed) for seed, (part, count) in enumerate(IMAGES.items())}
    spoken = {part: frames(sound) for part, (sound, _) in parts_of(FLAGS.fsdd, validation=300).items()}
    return {part: (windows, windows) for part, windows in spoken.items()}


def trained(task: Task, data: dict[str, Any], seed: int, epochs: int, width: float = 1) -> keras.Model:
    """A network trained from scratch, the rate falling as a cosine."""
    keras.utils.set_random_seed(seed)
    model = task.build(width)
    batch = 64
    steps = epochs * -(-len(data["train"][0]) // batch)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(rate), **task.compiled, jit_compile=False)
    model.fit(*data["train"], batch_size=batch, epochs=epochs, verbose=0)
    return model


def row(name: str, data: dict[str, Any], seed: int) -> dict[str, Any]:
    """The figures of one seed."""
    import tflite_export as te
    from tf_structprune.graph import trace
    from tf_structprune.task import Validation, task_of

    task, epochs = TASKS[name], FLAGS.epochs
    dense = trained(task, data, seed, epochs)
    found = task_of(dense, data["val"][0], data["train"][1])
    thin = trained(task, data, seed, 2 * epochs, task.half)
    figure = found.figure
    thin_score = figure.value(Validation(*data["test"], found.score, 512).of(thin))
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = te.compress(
                dense,
                data,
                pathlib.Path(folder) / "out",
                budget="macs=0.5",
                tolerance=task.tolerance,
                epochs=epochs,
                finetune_batch=64,
                seed=seed,
            )
        except te.RefusedError as error:
            return {"network": name, "seed": seed, "refused": str(error).partition(" What was reached")[0]}
    before, after = report.baseline, report.compressed
    return {
        "network": name,
        "metric": figure.name,
        "seed": seed,
        "tolerance": task.tolerance,
        "epochs": epochs,
        "dense_float": before.score_float,
        "dense_int8": before.score_int8,
        "pruned_float": after.score_float,
        "pruned_int8": after.score_int8,
        "thin_float": thin_score,
        "dense_macs": before.macs,
        "pruned_macs": after.macs,
        "thin_macs": trace(thin).macs,
        "dense_int8_bytes": before.int8_bytes,
        "pruned_int8_bytes": after.int8_bytes,
        "int8_latency_ratio": before.latency_us_int8 / after.latency_us_int8,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    head = (
        "| network, metric | tolerance | seed | dense float, int8 | pruned float, int8 | MACs | int8 bytes | faster |"
    )
    lines = [head + " thin from scratch, float | its MACs |", "|---" * 10 + "|"]
    for each in rows:
        if "refused" in each:
            lines.append(f"| {each['network']} | | {each['seed']} | refused: {each['refused']} |" + " |" * 6)
            continue
        macs = {side: each[f"{side}_macs"] / each["dense_macs"] for side in ("pruned", "thin")}
        lines.append(
            f"| {each['network']}, {each['metric']} | {each['tolerance']} | {each['seed']} "
            f"| {each['dense_float']:.4f}, {each['dense_int8']:.4f} | {each['pruned_float']:.4f}, "
            f"{each['pruned_int8']:.4f} | {macs['pruned']:.2f} | "
            f"{each['pruned_int8_bytes'] / each['dense_int8_bytes']:.2f} | {each['int8_latency_ratio']:.2f} x | "
            f"{each['thin_float']:.4f} | {macs['thin']:.2f} |"
        )
    return "\n".join(lines)


def main(_: list[str]) -> None:
    """Measure and write."""
    out, rows = pathlib.Path(FLAGS.out), []
    for name in TASKS:
        data = data_of(name)
        for seed in map(int, FLAGS.seeds):
            rows.append(row(name, data, seed))
            out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    note = (
        "Test figures at the last epoch, every seed. Shares are of the dense network's; faster: int8 in LiteRT here. "
        "The control has the epochs of both trainings in one."
    )
    text = f"# Half the MACs of a U-Net and an autoencoder\n\n`python -m benchmarks.other_tasks`\n\n{note}\n\n"
    out.with_suffix(".md").write_text(f"{text}{table(rows)}\n")


if __name__ == "__main__":
    app.run(main)
