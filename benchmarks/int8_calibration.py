"""What int8 loses with the converter's ranges, and with ranges and biases of least error.

    python -m benchmarks.int8_calibration --data cifar10.npz --models resnet8_cifar10.keras \
        --centred benchmarks/results/resnet20_cifar10.keras [--quantizer .venv/bin/python]

`--centred` names networks that take pixels from -1 to 1. Half a minute a network and seed. Every way gets the same 200
training images without labels, others for each seed. Top-1 is that of the whole test set; agreement is how often the
float file names the same class there, and the error is the mean square of the difference of the outputs, over the
variance of the float file's. Latency is that of LiteRT with one thread, as a ratio to the converter's file, the files
timed in turns.

`--quantizer` names the Python of an environment with ai-edge-quantizer, Google's own tool; without it, it is left out.
"""

import json
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as x_train, y_train, x_test, y_test, .npz.", required=True)
flags.DEFINE_list("models", [], "Networks that take its pixels as they are, .keras.")
flags.DEFINE_list("centred", [], "Networks that take pixels from -1 to 1, .keras.")
flags.DEFINE_string("quantizer", None, "Python with ai-edge-quantizer.")
flags.DEFINE_integer("samples", 200, "Images that set ranges and biases.")
flags.DEFINE_list("seeds", ["0", "1", "2", "3", "4"], "Of which images these are.")
flags.DEFINE_integer("test_images", 0, "The first so many of the test set; 0 for all.")
flags.DEFINE_string("out", "benchmarks/results/int8_calibration", "Results, without the ending.")
RUNS = 200
HEAD = (
    "| network | int8 by | top-1 (%), by seed | mean | agreement with float (%) | error of outputs | bytes | latency |"
    " made in (s) |"
)


def by_tool(file: bytes, samples: np.ndarray) -> bytes:
    """The file in int8 by ai-edge-quantizer."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "float.tflite").write_bytes(file)
        np.save(folder / "samples.npy", samples)
        subprocess.run([FLAGS.quantizer, "-m", "benchmarks._edge_quantizer", str(folder)], check=True)
        return (folder / "int8.tflite").read_bytes()


def files_of(model: keras.Model, samples: np.ndarray) -> dict[str, tuple[bytes, float]]:
    """Files by the way they were made, with the seconds that took; the float file first."""
    from tflite_export.quantize import convert

    ways: dict[str, Callable[[], bytes]] = {
        "float": lambda: convert(model),
        "converter (minmax)": lambda: convert(model, quantize="int8", representative_data=samples),
        "ours (mse)": lambda: convert(model, quantize="int8", representative_data=samples, calibration="mse"),
    }
    found = {}
    for name, make in ways.items():
        start = time.perf_counter()
        found[name] = make(), time.perf_counter() - start
    if FLAGS.quantizer:
        start = time.perf_counter()
        found["ai-edge-quantizer"] = by_tool(found["float"][0], samples), time.perf_counter() - start
    return found


def rows_of(path: str, samples: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[dict[str, Any]]:
    """A row for each file of a network."""
    from tflite_export.devices import HOST
    from tflite_export.file import TFLiteFile
    from tflite_export.runtime import real_outputs, run_litert

    made = files_of(keras.models.load_model(path, compile=False), samples)
    files = {name: TFLiteFile(data) for name, (data, _) in made.items()}
    times = np.median(HOST.latencies_us(tuple(files.values()), runs=RUNS), axis=1)
    outputs = {name: real_outputs(run_litert(file, x), file.description)[0] for name, file in files.items()}
    wanted, plain = outputs["float"], float(times[list(files).index("converter (minmax)")])
    return [
        {
            "network": pathlib.Path(path).stem,
            "way": name,
            "top1": float(np.mean(outputs[name].argmax(1) == y)),
            "agreement": float(np.mean(outputs[name].argmax(1) == wanted.argmax(1))),
            "error": float(np.square(outputs[name] - wanted).mean() / wanted.var()),
            "bytes": len(file.data),
            "latency": float(us) / plain,
            "seconds": made[name][1],
        }
        for (name, file), us in zip(files.items(), times, strict=True)
    ]


def line(rows: list[dict[str, Any]]) -> str:
    """A line of the table, from the rows of all seeds: means, but for the latency, which is the median."""
    mean = {
        key: float(np.mean([row[key] for row in rows])) for key in ("top1", "agreement", "error", "bytes", "seconds")
    }
    by_seed = [f"{100 * row['top1']:.2f}" for row in rows]
    figures = [
        ", ".join(by_seed if len(set(by_seed)) > 1 else by_seed[:1]),
        f"{100 * mean['top1']:.2f}",
        f"{100 * mean['agreement']:.2f}",
        f"{mean['error']:.1e}",
        f"{round(mean['bytes']):,}",
        f"{np.median([row['latency'] for row in rows]):.2f}",
        f"{mean['seconds']:.1f}",
    ]
    return "| " + " | ".join([rows[0]["network"], rows[0]["way"], *figures]) + " |"


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table, a line for each network and way."""
    pairs = dict.fromkeys((row["network"], row["way"]) for row in rows)
    return [line([row for row in rows if (row["network"], row["way"]) == pair]) for pair in pairs]


def main(_: list[str]) -> None:
    """Measure and write."""
    with np.load(FLAGS.data) as data:
        images, x, y = data["x_train"], data["x_test"].astype(np.float32), data["y_test"].ravel()
    x, y = x[: FLAGS.test_images or None], y[: FLAGS.test_images or None]
    rows = []
    for seed in map(int, FLAGS.seeds):
        chosen = np.random.default_rng(seed).permutation(len(images))[: FLAGS.samples]
        samples = images[chosen].astype(np.float32)
        found = [row for path in FLAGS.models for row in rows_of(path, samples, x, y)]
        found += [row for path in FLAGS.centred for row in rows_of(path, samples / 127.5 - 1, x / 127.5 - 1, y)]
        rows += [{"seed": seed, **row} for row in found]
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    told = f"`python -m benchmarks.int8_calibration`, {FLAGS.samples} images, {len(FLAGS.seeds)} seeds of them."
    table = ["# What int8 loses", "", told, "", HEAD, "|---" * 9 + "|", *lines(rows)]
    out.with_suffix(".md").write_text("\n".join(table) + "\n")
    print("\n".join(table))


if __name__ == "__main__":
    app.run(main)
