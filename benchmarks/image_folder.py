"""`compress` from a folder of images gives what it gives from arrays: same masks, same weights, same figures.

    python -m benchmarks.image_folder --data cifar10.npz --model resnet8_cifar10.keras \
        --out benchmarks/results/image_folder [--train 4000]

CIFAR-10 is written out as PNG files, in train/, val/ and test/ with a folder a class.
"""

import json
import pathlib
import tempfile
from typing import Any

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it.", required=True)
flags.DEFINE_string("model", None, "A network trained on it.", required=True)
flags.DEFINE_string("out", "benchmarks/results/image_folder", "Results, without the ending.")
flags.DEFINE_integer("train", 4_000, "Training images; a quarter as many are validation and test images.")
CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def parts(path: str, train: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and classes of each part, sorted by class as a folder is."""
    with np.load(path) as file:
        held_out = train // 4
        rows = {
            "train": ("train", slice(train)),
            "val": ("train", slice(train, train + held_out)),
            "test": ("test", slice(held_out)),
        }
        found = {part: (file[f"x_{key}"][chosen], file[f"y_{key}"][chosen]) for part, (key, chosen) in rows.items()}
    orders = {part: np.argsort(y, kind="stable") for part, (_, y) in found.items()}
    return {part: (x[orders[part]], y[orders[part]].astype(np.int64)) for part, (x, y) in found.items()}


def write_images(folder: pathlib.Path, data: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """PNG files in PART/CLASS/."""
    from PIL import Image

    for part, (x, y) in data.items():
        for index, (image, label) in enumerate(zip(x, y, strict=True)):
            place = folder / part / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{index:06d}.png")


def run(model: Any, data: Any, out: pathlib.Path) -> tuple[dict[str, Any], list[np.ndarray], bytes]:
    """Figures apart from timings, weights of the small model, and its int8 file."""
    import keras

    import tflite_export as te

    report = te.compress(model, data, out, sparsity=0.3, candidates=10, epochs=2, tolerance=0.2)
    figures = {
        side: {name: value for name, value in vars(getattr(report, side)).items() if not name.startswith("latency")}
        for side in ("baseline", "compressed")
    }
    small = keras.models.load_model(out / "model.keras", compile=False)
    return figures, small.get_weights(), (out / "model_int8.tflite").read_bytes()


def main(_: list[str]) -> None:
    """Measure and write."""
    import keras

    model = keras.models.load_model(FLAGS.model, compile=False)
    data = parts(FLAGS.data, FLAGS.train)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_images(folder / "images", data)
        arrays, files = (
            run(model, given, folder / place)
            for given, place in ((data, "from_arrays"), (folder / "images", "from_images"))
        )
    same_weights = len(arrays[1]) == len(files[1]) and all(map(np.array_equal, arrays[1], files[1]))
    result = {
        "training_images": FLAGS.train,
        "same_figures": arrays[0] == files[0],
        "same_weights": same_weights,
        "same_int8_file": arrays[2] == files[2],
        "figures": files[0],
    }
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    told = [
        f"| {key.replace('_', ' ')} | {'yes' if value else 'NO'} |" for key, value in result.items() if value in (0, 1)
    ]
    lines = ["# A folder of images and the same as arrays", "", "`python -m benchmarks.image_folder`", ""]
    lines += [f"ResNet-8, {FLAGS.train:,} training images of CIFAR-10 as PNG files, 30 % of the weights removed.", ""]
    out.with_suffix(".md").write_text("\n".join([*lines, "| both runs have | |", "|---|---|", *told]) + "\n")


if __name__ == "__main__":
    app.run(main)
