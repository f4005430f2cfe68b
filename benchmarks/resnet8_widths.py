"""What fewer channels buy on this machine: latency of ResNet-8 at several widths, float32 and int8.

    python benchmarks/resnet8_widths.py --model resnet8_cifar10.keras --out benchmarks/results/resnet8_widths

Only the widths matter for latency, so the first channels of each group are kept and nothing is
retrained. All files run in turn in one process; the ratios are of medians, with the 10th and 90th
percentile of each file's latency over its median as spread.
"""

import json
import pathlib

import keras
import numpy as np
from absl import app, flags

import tf_structprune as sp
import tflite_export as te
from tflite_export.compress import load_model
from tflite_export.quantize import convert

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "ResNet-8 as .keras.", required=True)
flags.DEFINE_string("out", "benchmarks/results/resnet8_widths", "Results without suffix.")
flags.DEFINE_integer("runs", 500, "Timed runs of each file.")

# Channels of the groups in order: stem, inner 1, inner 2, residual 2, inner 3, residual 3.
WIDTHS = (
    (16, 16, 32, 32, 64, 64),
    (16, 16, 16, 16, 32, 32),
    (12, 12, 24, 24, 48, 48),
    (11, 11, 23, 23, 45, 45),
    (8, 8, 24, 24, 48, 48),
    (8, 8, 16, 16, 32, 32),
)


def at_width(model: keras.Model, widths: tuple[int, ...]) -> keras.Model:
    """The model with the first channels of each group."""
    masked = sp.wrap(model, granularity="feature_map", keep_first=False)
    groups = sp.trace(masked).prunable_groups
    masks = {group.name: np.arange(group.size) < width for group, width in zip(groups, widths, strict=True)}
    sp.set_masks(masked, sp.MaskSet(masks))
    return te.shrink(masked).model


def measure() -> list[dict]:
    """One row a width."""
    dense = load_model(FLAGS.model)
    models = [at_width(dense, widths) for widths in WIDTHS]
    samples = np.random.default_rng(0).uniform(0, 255, (50, 32, 32, 3)).astype(np.float32)
    files = [convert(model) for model in models]
    files += [convert(model, quantize="int8", representative_data=samples) for model in models]
    reports = te.benchmark_together(files, runs=FLAGS.runs, warmup=50)
    rows = []
    for index, widths in enumerate(WIDTHS):
        row = {"widths": widths, "macs": reports[index].macs}
        for kind, part in (("float32", reports[: len(WIDTHS)]), ("int8", reports[len(WIDTHS) :])):
            here = part[index]
            row[f"latency_us_{kind}"] = here.latency_us
            row[f"speedup_{kind}"] = part[0].latency_us / here.latency_us
            row[f"spread_{kind}"] = [here.latency_us_p10 / here.latency_us, here.latency_us_p90 / here.latency_us]
        rows.append({**row, "int8_bytes": here.size_bytes, "arena_bytes": here.arena_bytes})
    return rows


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "# ResNet-8: width against latency",
        "",
        "Written by `benchmarks/resnet8_widths.py`. LiteRT with XNNPACK, one thread, all files in turn in one process; "
        "medians, spread is the 10th to 90th percentile over the median.",
        "",
        "| channels | MACs | speedup float32 (spread) | speedup int8 (spread) | int8 bytes | TFLM arena |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            "-".join(str(width) for width in row["widths"]),
            f"{row['macs'] / rows[0]['macs']:.2f}",
            *(
                f"{row[f'speedup_{kind}']:.2f}x ({row[f'spread_{kind}'][0]:.2f} to {row[f'spread_{kind}'][1]:.2f})"
                for kind in ("float32", "int8")
            ),
            f"{row['int8_bytes']:,}",
            f"{row['arena_bytes']:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Measure and write both results."""
    rows = measure()
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    out.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
