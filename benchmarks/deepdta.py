"""Half of DeepDTA's MACs within a share of its own error, in int8, from a network that `train_deepdta` trained.

python -m benchmarks.deepdta --model deepdta_davis.keras --data davis.npz --out DIR

"""

import json
import pathlib

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "The trained network.", required=True)
flags.DEFINE_string("data", None, "Davis as load.py writes it.", required=True)
flags.DEFINE_string("out", None, "Folder of the run.", required=True)
flags.DEFINE_string("budget", "macs=0.5", "What may stay.")
flags.DEFINE_string("tolerance", "2%", "Largest rise of the validation error.")
flags.DEFINE_integer("epochs", 6, "Epochs of retraining.")
flags.DEFINE_float("rate", 1e-3, "Learning rate at the start of retraining.")
flags.DEFINE_integer("seed", 0, "Seed.")


def main(_: list[str]) -> None:
    """Compress and write the figures."""
    import keras

    import tflite_export as te

    model = keras.models.load_model(FLAGS.model, compile=False)
    report = te.compress(
        model,
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
    before, after = report.baseline, report.compressed
    row = {
        "seed": FLAGS.seed,
        "mse_float": [before.score_float, after.score_float],
        "mse_int8": [before.score_int8, after.score_int8],
        "macs": [before.macs, after.macs],
        "int8_bytes": [before.int8_bytes, after.int8_bytes],
        "latency_us_int8": [before.latency_us_int8, after.latency_us_int8],
    }
    pathlib.Path(FLAGS.out).with_suffix(".json").write_text(json.dumps(row, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
