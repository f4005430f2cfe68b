"""The control of a pruned network: the same thin network, trained from scratch for as many epochs.

    tf-structprune compress resnet8_cifar10.keras --data cifar10.npz --out DIR \
        --sparsity 0.5 --prune-first --tolerance 0.08 --epochs 40 --finetune-rate 0.002 \
        --distill 0.5 --augment flip,shift --seed 0
    python benchmarks/resnet8_control.py --data cifar10.npz --compressed DIR --out benchmarks/results/resnet8

Takes the architecture of DIR/model.keras, draws new weights and trains it with the settings in
DIR/summary.json, without a teacher: it has no dense model to learn from. The test set gives the
figure at the last epoch. Writes OUT.json and OUT.md with both beside the dense network.
"""

import dataclasses
import json
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags, logging

from tflite_export.compress import (
    CompressReport,
    CompressSettings,
    check_data,
    figures_of,
    file_score,
    load_data,
    load_model,
    retrain,
)
from tflite_export.quantize import convert

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as .npz.", required=True)
flags.DEFINE_string("compressed", None, "Directory that compress wrote.", required=True)
flags.DEFINE_string("out", "benchmarks/results/resnet8", "Results without suffix.")

CALIBRATION = 200
CHECK = """

The compressed network is in `resnet8_half/`. To test it:

    import numpy as np
    from tflite_export.compress import file_score
    data = np.load("cifar10.npz")
    1 + file_score("benchmarks/results/resnet8_half/model_int8.tflite", data["x_test"], data["y_test"].ravel())
"""


def from_scratch(thin: keras.Model, settings: CompressSettings) -> keras.Model:
    """The same architecture with new weights."""
    keras.utils.set_random_seed(settings.seed)
    return keras.models.clone_model(thin)


def measure(settings: CompressSettings) -> dict[str, float]:
    """Train the control and test it."""
    thin = load_model(pathlib.Path(FLAGS.compressed) / "model.keras")
    data, task = check_data(load_data(FLAGS.data, seed=settings.seed), thin)
    model = from_scratch(thin, settings)
    figures = retrain(model, thin, data, settings, task=task, verbose=2)
    outputs = model.predict(data.x_test, batch_size=512, verbose=0)
    chosen = np.random.default_rng(settings.seed).choice(len(data.x_train), CALIBRATION, replace=False)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "control.tflite"
        file.write_bytes(convert(model, quantize="int8", representative_data=data.x_train[chosen]))
        int8 = 1 + file_score(file, data.x_test, data.y_test)
    return {
        "accuracy_float": float(np.mean(outputs.argmax(axis=1) == data.y_test)),
        "accuracy_int8": int8,
        "epochs": settings.epochs,
        "val_accuracy": figures["val_accuracy"][-1],
    }


def table(report: CompressReport, control: dict) -> str:
    """Dense, compressed and control side by side."""
    lines = [
        "# ResNet-8 on CIFAR-10: half the MACs",
        "",
        f"Sparsity {report.sparsity:.3f} of the prunable weights, {report.settings.epochs} epochs of retraining, seed "
        f"{report.seed}, one run; test set at the last epoch only. Control: the same thin network trained from "
        "scratch for as many epochs, same data, batch, rate and augmentation, no teacher. Latencies: LiteRT with "
        "XNNPACK, one thread, interleaved in one process, median.",
        "",
        "| | dense | compressed | dense / compressed | thin from scratch |",
        "|---|---|---|---|---|",
    ]
    for figure in figures_of(report):
        name = figure.name.replace("score", "accuracy")
        other = figure.text(control[name]) if name in control else "same"
        lines.append("| " + " | ".join((*figure.row(report), other)) + " |")
    return "\n".join(lines) + CHECK


def main(_: list[str]) -> None:
    """Train the control, write both results."""
    report = CompressReport.from_json((pathlib.Path(FLAGS.compressed) / "summary.json").read_text())
    control = measure(dataclasses.replace(report.settings, distill=0.0))
    logging.info("control: %s", control)
    out = pathlib.Path(FLAGS.out)
    both = {"compressed": json.loads(report.to_json()), "control": control}
    out.with_suffix(".json").write_text(json.dumps(both, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(report, control))


if __name__ == "__main__":
    app.run(main)
