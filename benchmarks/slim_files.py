"""Flatbuffer overhead of slim integer files against the converter's, and the same integers from every runtime.

    python -m benchmarks.slim_files --resnet8 resnet8_cifar10.keras --out benchmarks/results/slim_files

Overhead is what is neither weights nor biases. Networks: ResNet-8 with the weights that are given, and a
keyword-spotting DS-CNN (64 filters, 4 blocks) with random ones, on which it does not depend. Integers are compared on
random samples in LiteRT (reference kernels and XNNPACK) and TFLite Micro, and so are Vela's cycles and SRAM.
"""

import json
import pathlib
from typing import Any

import keras
import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("resnet8", None, "ResNet-8 of MLPerf Tiny as a .keras file.", required=True)
flags.DEFINE_string("out", "benchmarks/results/slim_files", "Results, without the ending.")
SAMPLES = 64
_L = keras.layers


def ds_cnn(filters: int = 64, blocks: int = 4) -> keras.Model:
    """The keyword spotter of MLPerf Tiny, 49 frames of 10 coefficients to 12 words."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((49, 10, 1))
    x = _normed(_L.Conv2D(filters, (10, 4), strides=2, padding="same", use_bias=False)(inputs))
    for _ in range(blocks):
        x = _normed(_L.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = _normed(_L.Conv2D(filters, 1, use_bias=False)(x))
    return keras.Model(inputs, _L.Dense(12, activation="softmax")(_L.GlobalAveragePooling2D()(x)), name="ds_cnn")


def _normed(x: Any) -> Any:
    return _L.ReLU()(_L.BatchNormalization()(x))


def row(name: str, model: keras.Model, x: np.ndarray) -> dict[str, Any]:
    """Bytes of the converter's file and of the slim one, and whether they compute the same."""
    from tflite_export.bench import estimate_npu
    from tflite_export.file import TFLiteFile, least_memory_order, memory_table, slim
    from tflite_export.quantize import convert
    from tflite_export.runtime import run_litert, run_tflm

    plain = TFLiteFile(convert(model, quantize="int8", representative_data=x))
    small = plain.edited(least_memory_order, slim)
    tables = [memory_table(file, tflm_arena_bytes=None) for file in (plain, small)]
    sizes = [len(file.data) for file in (plain, small)]
    overheads = [size - table.weights_bytes - table.biases_bytes for size, table in zip(sizes, tables, strict=True)]
    runs = [
        [run_litert(file, x, kernels="reference"), run_litert(file, x), run_tflm(file, x)] for file in (plain, small)
    ]
    vela = [estimate_npu(file, accelerator="ethos-u55-128") for file in (plain, small)]
    return {
        "network": name,
        "converter_bytes": sizes[0],
        "slim_bytes": sizes[1],
        "converter_overhead_bytes": overheads[0],
        "slim_overhead_bytes": overheads[1],
        "overhead_ratio": overheads[1] / overheads[0],
        "same_integers": all(np.array_equal(a, b) for a, b in zip(*runs, strict=True)),
        "same_vela": (vela[0].total_cycles, vela[0].sram_bytes) == (vela[1].total_cycles, vela[1].sram_bytes),
    }


def main(_: list[str]) -> None:
    """Measure and write."""
    rng = np.random.default_rng(0)
    resnet8 = keras.models.load_model(FLAGS.resnet8, compile=False)
    rows = [
        row("ResNet-8", resnet8, rng.integers(0, 256, (SAMPLES, 32, 32, 3)).astype(np.float32)),
        row("DS-CNN", ds_cnn(), rng.normal(size=(SAMPLES, 49, 10, 1)).astype(np.float32)),
    ]
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")
    head = "| network | converter (bytes) | slim | overhead before | after | ratio | same integers | same in Vela |"
    lines = ["# Slim integer files", "", "`python -m benchmarks.slim_files`", "", head, "|---" * 8 + "|"]
    for each in rows:
        numbers = [f"{each[key]:,}" for key in list(each)[1:5]]
        told = ["yes" if each[key] else "no" for key in ("same_integers", "same_vela")]
        ratio = f"{100 * each['overhead_ratio']:.1f} %"
        lines.append("| " + " | ".join([each["network"], *numbers, ratio, *told]) + " |")
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
