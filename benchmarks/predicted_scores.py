"""Do scores of candidates before retraining tell which is better after it, and what do they cost?

    python benchmarks/predicted_scores.py --model resnet8_cifar10.keras --data cifar10.npz

Random masks of feature maps are scored as they cut (old), by the error that least squares cannot make up for, predicted
from moments of the dense model (new), and on outputs after reconstruction. Then each network is retrained, all with the
same steps, and scored on images that nothing has seen. Spearman's correlation of each score with that after retraining;
costs of old and new in turns, in one process. Test images are not used.
"""

import json
import pathlib
import time

import keras
import numpy as np
from absl import app, flags
from scipy.stats import spearmanr

import tf_structprune as sp
import tflite_export as te
from tf_structprune.layers import MaskedModel
from tf_structprune.masks import FEATURE_MAP, mask_space
from tf_structprune.scoring import PredictedScorer, Scorer
from tf_structprune.task import as_score, check_validation
from tflite_export.compress import load_model

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A classifier as .keras.", required=True)
flags.DEFINE_string("data", None, "x_train, y_train as .npz.", required=True)
flags.DEFINE_string("out", "benchmarks/results/predicted_scores", "Results without suffix.")
flags.DEFINE_integer("masks", 40, "Random masks.")
flags.DEFINE_float("sparsity", 0.5, "Fraction of the prunable weights that each removes.")
flags.DEFINE_integer("images", 1000, "Training images that scores are taken on.")
flags.DEFINE_integer("judged", 5000, "Other training images, on which networks are judged after retraining.")
flags.DEFINE_integer("steps", 150, "Steps of retraining, batches of 128.")
flags.DEFINE_float("rate", 1e-3, "Learning rate, falling to zero.")
flags.DEFINE_integer("seed", 0, "Seed of images, masks and training.")
flags.DEFINE_integer("turns", 5, "Turns in which costs are compared.")

SCORES = {
    "cut": "outputs, as cut (old)",
    "predicted": "least-squares error, predicted (new)",
    "reconstructed": "outputs, reconstructed",
}


def parts() -> tuple[tuple, tuple, tuple]:
    """Images and labels to score on, to judge on, and to train on."""
    data = np.load(FLAGS.data)
    order = np.random.default_rng(FLAGS.seed).permutation(len(data["x_train"]))
    places = np.split(order, [FLAGS.images, FLAGS.images + FLAGS.judged])
    return tuple((data["x_train"][at].astype(np.float32), data["y_train"][at].ravel()) for at in places)


def retrained(small: keras.Model, training: tuple, judged: tuple) -> float:
    """Accuracy after the same steps for all."""
    keras.utils.set_random_seed(FLAGS.seed)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(FLAGS.rate, FLAGS.steps))
    small.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    count = FLAGS.steps * 128
    small.fit(training[0][:count], training[1][:count], batch_size=128, epochs=1, verbose=0)
    return float((small.predict(judged[0], batch_size=500, verbose=0).argmax(1) == judged[1]).mean())


def costs(masked: keras.Model, masks: list, seen: tuple) -> list[float]:
    """Seconds a candidate of old and new scores in turns, as ratios new / old."""
    validation = check_validation(seen, as_score("mcr"), 250)
    ratios = []
    old, new = Scorer(masked, validation, racing=False, batch_size=250), PredictedScorer(masked, seen[0])
    groups = np.array_split(np.arange(len(masks)), FLAGS.turns + 1)
    for at in groups:
        took = [scorer.score([masks[index] for index in at]).seconds for scorer in (old, new)]
        ratios.append(took[1] / took[0])
    return ratios[1:]  # the first turn compiles


def measure(dense: keras.Model) -> dict:
    """Scores of all masks, their correlations, and costs."""
    seen, judged, training = parts()
    masked = sp.wrap(dense, granularity=FEATURE_MAP)
    handle, rng = MaskedModel(masked), np.random.default_rng(FLAGS.seed)
    space = mask_space(handle.graph, FEATURE_MAP, FLAGS.sparsity)
    masks = [space.sample(rng) for _ in range(FLAGS.masks)]
    validation = check_validation(seen, as_score("mcr"), 250)
    rows: dict[str, list[float]] = {name: [] for name in (*SCORES, "retrained")}
    rows["cut"] = sp.score(handle, masks, data=seen, racing=False).values.tolist()
    begun = time.monotonic()
    rows["predicted"] = sp.score(handle, masks, data=(seen[0], None), score="reconstruction").values.tolist()
    told = {"predicted_seconds_with_moments": time.monotonic() - begun}
    weights = masked.get_weights()
    for mask in masks:
        masked.set_weights(weights)
        handle.set_masks(mask)
        sp.reconstruct(handle, seen[0])
        rows["reconstructed"].append(validation.of(masked))
        rows["retrained"].append(retrained(te.shrink(masked).model, training, judged))
        print(len(rows["retrained"]), rows["reconstructed"][-1], rows["retrained"][-1], flush=True)
    masked.set_weights(weights)
    told["ratios"] = costs(masked, masks, seen)
    told["spearman"] = {name: float(spearmanr(rows[name], rows["retrained"]).statistic) for name in SCORES}
    return told | {"scores": rows}


def table(found: dict) -> str:
    """The correlations as Markdown."""
    ratios, after = found["ratios"], 100 * np.array(found["scores"]["retrained"])
    lines = [
        "# Scores of candidates before and after retraining",
        "",
        f"Written by `benchmarks/predicted_scores.py`. {pathlib.Path(FLAGS.model).stem}, {FLAGS.masks} random masks of "
        f"feature maps that remove {100 * FLAGS.sparsity:.0f} % of the prunable weights, {FLAGS.images:,} training "
        f"images for scores, {FLAGS.steps} steps of retraining from the reconstructed weights, {FLAGS.judged:,} other "
        f"training images to judge, seed {FLAGS.seed}. After retraining: {after.min():.2f} to {after.max():.2f} %, "
        f"median {np.median(after):.2f} %.",
        "",
        "| score before retraining | Spearman correlation with the accuracy after it |",
        "|---|---|",
        *(f"| {SCORES[name]} | {value:.2f} |" for name, value in found["spearman"].items()),
        "",
        f"A predicted score costs {np.median(ratios):.3f} of a forward scoring on {FLAGS.images:,} images (median of "
        f"{len(ratios)} turns, {min(ratios):.3f} to {max(ratios):.3f}); moments and all {FLAGS.masks} together took "
        f"{found['predicted_seconds_with_moments']:.0f} s.",
    ]
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Measure and write both results."""
    found, out = measure(load_model(FLAGS.model)), pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(found))


if __name__ == "__main__":
    app.run(main)
