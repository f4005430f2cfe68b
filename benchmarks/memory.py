"""Memory of `compress` on a folder of 50,000 images of 96 x 96 x 3, above what TensorFlow takes by itself.

    python -m benchmarks.memory --out benchmarks/results/memory [--images 50000] [--folder DIR]

Two processes: the same network on 2,000 images, where TensorFlow, the converter and the network take all, and on all of
them. A thread of each looks every tenth of a second at the resident memory, of which Linux tells what is the process's
own and what are pages of mapped files, which it drops when there is need.
"""

import json
import multiprocessing
import pathlib
import tempfile
import threading
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("out", "benchmarks/results/memory", "Results, without the ending.")
flags.DEFINE_integer("images", 50_000, "Images in all.")
flags.DEFINE_string("folder", None, "Where the images are written, and left; a temporary folder by default.")
SIDE, CLASSES, FEW = 96, 4, 2_000


def write_images(folder: pathlib.Path, count: int) -> None:
    """Generated PNG files, a folder a class: gratings of a direction for each class, of random phase and colour."""
    from PIL import Image

    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(0)
    for index in range(count):
        label = index % CLASSES
        angle = np.pi * label / CLASSES
        wave = np.sin((np.cos(angle) * rows + np.sin(angle) * columns) / 3 + rng.uniform(0, 6))
        noise = rng.integers(0, 64, (SIDE, SIDE, 3))
        pixels = (wave[..., None] + 1) * rng.uniform(30, 95, 3) + noise
        place = folder / f"class_{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{index:06d}.png", compress_level=1)


class Peak(threading.Thread):
    """Largest resident memory of this process, in bytes by kind."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended, self.largest = threading.Event(), {"RssAnon": 0, "RssFile": 0, "VmRSS": 0}

    def run(self) -> None:
        """Look until it is told to end."""
        while not self.ended.wait(0.1):
            lines = pathlib.Path("/proc/self/status").read_text().splitlines()
            for name, value in (line.split(":") for line in lines if ":" in line):
                if name in self.largest:
                    self.largest[name] = max(self.largest[name], 1024 * int(value.split()[0]))


def compress(folder: str, out: str, results: Any) -> None:
    """One run in a process of its own; its peak goes into the queue."""
    import keras

    import tflite_export as te

    peak = Peak()
    peak.start()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255)])
    for filters in (8, 16, 16):
        model.add(layers.Conv2D(filters, 3, strides=2, activation="relu"))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(CLASSES, activation="softmax"))
    te.compress(model, folder, out, sparsity=0.3, candidates=4, epochs=1, tolerance=1.0, micro="none")
    peak.ended.set()
    peak.join()
    results.put(peak.largest)


def peak_of(folder: pathlib.Path) -> dict[str, int]:
    """Peak of a run on the images of a folder."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    with tempfile.TemporaryDirectory() as out:
        process = context.Process(target=compress, args=(str(folder), f"{out}/out", results))
        process.start()
        process.join()
    return results.get(timeout=1)


def main(_: list[str]) -> None:
    """Measure and write."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(FLAGS.folder or temporary)
        peaks = {}
        for count in (FEW, FLAGS.images):
            if not (place := folder / str(count)).exists():
                write_images(place, count)
            peaks[count] = peak_of(place)
    few, many = peaks[FEW], peaks[FLAGS.images]
    rows = {name: {"few": few[name], "many": many[name], "above": many[name] - few[name]} for name in few}
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(
        json.dumps({"images": FLAGS.images, "few": FEW, "bytes": rows}, indent=2) + "\n"
    )
    names = {"VmRSS": "all", "RssAnon": "its own", "RssFile": "pages of mapped files"}
    lines = [f"# Memory of compress on {FLAGS.images:,} images of {SIDE} x {SIDE} x 3", ""]
    lines += [f"`python -m benchmarks.memory --images {FLAGS.images}`", ""]
    lines += [f"| peak of resident memory (MiB) | {FEW:,} images | {FLAGS.images:,} images | above |", "|---" * 4 + "|"]
    for name, told in names.items():
        values = " | ".join(f"{value / 2**20:,.0f}" for value in rows[name].values())
        lines.append(f"| {told} | {values} |")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    app.run(main)
