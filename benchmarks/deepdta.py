"""Half of DeepDTA's MACs within a share of its own error, in int8, from a network that `train_deepdta` trained.

    python -m benchmarks.deepdta --model deepdta_davis.keras --data davis.npz --out DIR \
        --results benchmarks/results/deepdta

Errors are of the test pairs, which decide nothing; the tolerance holds for the validation pairs.
"""

import json
import pathlib
from typing import Any

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "The trained network; its figures lie beside it.", required=True)
flags.DEFINE_string("data", None, "Davis as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "Folder of the run.", required=True)
flags.DEFINE_string("results", "benchmarks/results/deepdta", "Results, without the ending.")
flags.DEFINE_string("budget", "macs=0.5", "What may stay.")
flags.DEFINE_string("tolerance", "2%", "Largest rise of the validation error.")
flags.DEFINE_integer("epochs", 6, "Epochs of retraining.")
flags.DEFINE_float("rate", 1e-3, "Learning rate at the start of retraining.")
flags.DEFINE_integer("seed", 0, "Seed.")


def row(report: Any, seed: int) -> dict[str, Any]:
    """The figures of a run, of the dense network and of the one that is handed over."""
    before, after, held_out = report.baseline, report.compressed, report.validation
    return {
        "seed": seed,
        "budget": FLAGS.budget,
        "tolerance": FLAGS.tolerance,
        "epochs": FLAGS.epochs,
        "validation_mse_float": [held_out.dense_float, held_out.compressed_float],
        "validation_mse_int8": [held_out.dense_int8, held_out.compressed_int8],
        "test_mse_float": [before.score_float, after.score_float],
        "test_mse_int8": [before.score_int8, after.score_int8],
        "parameters": [before.parameters, after.parameters],
        "macs": [before.macs, after.macs],
        "int8_bytes": [before.int8_bytes, after.int8_bytes],
        "latency_us_float32": [before.latency_us_float32, after.latency_us_float32],
        "latency_us_int8": [before.latency_us_int8, after.latency_us_int8],
    }


def table(figures: dict[str, Any]) -> str:
    """The figures in Markdown."""
    lines = ["| | dense | pruned | pruned / dense |", "|---|---|---|---|"]
    for name, pair in figures.items():
        if isinstance(pair, list):
            told = [f"{value:.4f}" if "mse" in name else f"{value:,.0f}" for value in pair]
            lines.append(f"| {name.replace('_', ' ')} | {told[0]} | {told[1]} | {pair[1] / pair[0]:.3f} |")
    return "\n".join(lines)


def main(_: list[str]) -> None:
    """Compress and write the figures."""
    import keras

    import tflite_export as te

    report = te.compress(
        keras.models.load_model(FLAGS.model, compile=False),
        FLAGS.data,
        FLAGS.out,
        budget=FLAGS.budget,
        tolerance=FLAGS.tolerance,
        allocation="uniform",  # to choose by scores takes an hour on two cores
        search="magnitude",
        epochs=FLAGS.epochs,
        finetune_rate=FLAGS.rate,
        finetune_batch=128,
        seed=FLAGS.seed,
        verbose=1,
    )
    write(row(report, FLAGS.seed))


def write(figures: dict[str, Any]) -> None:
    """Results as JSON and as Markdown."""
    out = pathlib.Path(FLAGS.results)
    out.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n")
    told = (
        f"Seed {figures['seed']}, budget {figures['budget']}, tolerance {figures['tolerance']} of the dense network's "
        f"validation error, {figures['epochs']} epochs of retraining. int8 is the `.tflite` file in LiteRT."
    )
    told += f" Of the training: {note}" if (note := figures.get("training", {}).get("note")) else ""
    head = "# DeepDTA on Davis\n\n`python -m benchmarks.train_deepdta`, `python -m benchmarks.deepdta`\n\n"
    out.with_suffix(".md").write_text(f"{head}{told}\n\n{table(figures)}\n")


if __name__ == "__main__":
    app.run(main)
