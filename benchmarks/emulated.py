"""ResNet-8 on emulated Cortex-M cores: instructions, flash and arena, dense, halved, in 4 bits and packed.

    python -m benchmarks.emulated --libraries m4:reference=LIB.a,m4:cmsis_nn=LIB.a,m7:cmsis_nn=LIB.a \\
        --include TFLM,FLATBUFFERS/include,GEMMLOWP,RUY --data cifar10.npz

Needs `arm-none-eabi-g++`, `qemu-system-arm` and TFLite Micro's library, built for each core and kernel set by its user.
Every file runs the same 20 random inputs; outputs must be those of the NumPy reference, bit for bit, or the script
ends. 4-bit weights are rounded, not retrained, which is for size and time alone. Instructions are no cycles: only files
on one core with one library compare. One file is allocated by MACs and by instructions on the first library's core. The
dense ResNet-8 of MLPerf Tiny lies beside the checkout. Some seconds a file with CMSIS-NN, minutes with reference
kernels; a killed run goes on.
"""

import functools
import json
import pathlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from absl import app, flags

import tf_structprune as sp
import tflite_export as te
from benchmarks.packed_tflm import changed
from tf_structprune.masks import FEATURE_MAP, kept_space
from tf_structprune.shrink import shrink
from tflite_export.devices import Measurement, Qemu
from tflite_export.file import TFLiteFile, open_file, packed, slim
from tflite_export.pack import pack
from tflite_export.quantize import convert

FLAGS = flags.FLAGS
flags.DEFINE_list("libraries", None, "CORE:KERNELS=FILE, of TFLite Micro.", required=True)
flags.DEFINE_list("include", None, "Folders of its headers.", required=True)
flags.DEFINE_string("dense", "../shared/data/models/resnet8_int8_reference.tflite", "The dense int8 file.")
flags.DEFINE_string("half", "benchmarks/results/resnet8_half_40_epochs/model_int8.tflite", "With half the MACs.")
flags.DEFINE_string("model", "../shared/data/models/resnet8_cifar10.keras", "The dense Keras model, that is allocated.")
flags.DEFINE_string("data", None, "CIFAR-10 as load.py writes it, by which one is allocated.", required=True)
flags.DEFINE_integer("samples", 20, "Random inputs.")
flags.DEFINE_string("into", "benchmarks/results/emulated", "Results, without the ending.")
_IMAGES = 500
_DENSE = "dense, int8"
_KEYS = ("core", "kernels", "file")
_BYTES = ("arena", "stack", "flash", "model", "operators", "runtime")
_INSTRUCTIONS = 0.596  # the share differs from core to core by 0.003, and is to be 0.6 on each
_WORDS = 7 / 127  # of 4 bits against words of 8


def in_nibbles(file: TFLiteFile) -> TFLiteFile:
    """The file with the weights of convolutions rounded to words of 4 bits, two in a byte."""
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")

    def edit(model: Any) -> None:
        graph = model.subgraphs[0]
        for operator in [each for each in file.description.operators if each.name in kinds]:
            weights, bias = (graph.tensors[index] for index in operator.inputs[1:3])
            values = np.asarray(model.buffers[weights.buffer].data, np.uint8).view(np.int8)
            model.buffers[weights.buffer].data = np.round(values * _WORDS).astype(np.int8).view(np.uint8)
            biases = np.asarray(model.buffers[bias.buffer].data, np.uint8).view(np.int32)
            model.buffers[bias.buffer].data = np.round(biases * _WORDS).astype(np.int32).view(np.uint8)
            for tensor in (weights, bias):
                tensor.quantization.scale = (np.asarray(tensor.quantization.scale) / _WORDS).astype(np.float32)

    return file.edited(edit, packed, slim)


def chosen(qemu: Qemu) -> TFLiteFile:
    """Half the MACs at less than 0.6 of the instructions on a core, allocated by least squares; not retrained."""
    dense = keras.models.load_model(FLAGS.model, compile=False)
    with np.load(FLAGS.data) as file:
        x, y = file["x_train"][:_IMAGES].astype(np.float32), file["y_train"].reshape(-1)[:_IMAGES]
    masked = sp.wrap(dense, granularity=FEATURE_MAP, keep_first=False, round_to=2)
    measured = te.latency_cost(masked, device=qemu, quantize="int8", representative_data=x[:50], runs=1)
    found = sp.allocate(
        masked,
        ["macs=0.5", f"latency={_INSTRUCTIONS}"],
        validation_data=(x, y),
        method="least_squares",
        cost={"latency": measured},
    )
    space = kept_space(sp.trace(masked), found.kept, base=sp.get_masks(masked))
    sp.set_masks(masked, space.sample(np.random.default_rng(0)))
    return TFLiteFile(convert(shrink(masked).model, quantize="int8", representative_data=x[:100])).edited(slim)


def files(qemu: Qemu) -> dict[str, Callable[[], TFLiteFile]]:
    """By name, what makes each file that runs."""
    half = open_file(FLAGS.half).edited(slim)
    return {
        _DENSE: lambda: open_file(FLAGS.dense).edited(slim),
        "half, int8": lambda: half,
        "half, allocated by instructions too, int8": functools.partial(chosen, qemu),
        "half, int4": lambda: in_nibbles(half),
        "half, 4 bits, DECODE by table": lambda: pack(changed(half, 0.0, 4), "lut").file,
        "half, 4 bits, DECODE by Huffman": lambda: pack(changed(half, 0.0, 4), "huffman").file,
        "half, 80 % zeros, 4 bits, DECODE": lambda: pack(changed(half, 0.8, 4), "huffman").file,
    }


def row(core: str, kernels: str, name: str, file: TFLiteFile, found: Measurement) -> dict[str, Any]:
    """Figures of one file on one core."""
    size = found.program
    return {
        "core": core,
        "kernels": kernels,
        "file": name,
        "macs": file.description.macs,
        "instructions": found.instructions,
        "arena": found.arena_bytes,
        "stack": found.stack_bytes,
        "flash": size.flash_bytes,
        "model": size.model,
        "operators": size.operators,
        "runtime": size.runtime,
        "compared": found.notes[0],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# ResNet-8 on emulated microcontrollers",
        "",
        f"Written by `python -m benchmarks.emulated`: QEMU, {FLAGS.samples} random inputs, outputs of every file equal "
        "to the NumPy reference bit for bit. Instructions of one inference, and their share of the dense file's on "
        "that core with those kernels; bytes of RAM: arena, and stack where it was measured; bytes of flash of the "
        "linked program: model, kernels of operators, the rest.",
        "",
        f"| core | kernels | file | MACs | instructions | to dense | {' | '.join(_BYTES)} |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    names = [each["file"] for each in rows]
    dense = {(each["core"], each["kernels"]): each["instructions"] for each in rows if each["file"] == _DENSE}
    order = sorted(rows, key=lambda each: (each["core"], each["kernels"], names.index(each["file"])))
    for each in (each for each in order if (each["core"], each["kernels"]) in dense):
        share = each["instructions"] / dense[each["core"], each["kernels"]]
        place = f"{each['core'].upper()} | {each['kernels']} | {each['file']}"
        figures = " | ".join("" if each.get(name) is None else f"{each[name]:,}" for name in _BYTES)
        lines.append(f"| {place} | {each['macs']:,} | {each['instructions']:,} | {share:.3f} | {figures} |")
    return "\n".join(lines) + "\n"


def _device(text: str) -> Qemu:
    where, _, library = text.partition("=")
    return Qemu(where.partition(":")[0], library, tuple(FLAGS.include), samples=FLAGS.samples)


def main(_: list[str]) -> None:
    """Measure every file with every library, but what is measured already, and write."""
    written = pathlib.Path(f"{FLAGS.into}.json")
    rows = json.loads(written.read_text()) if written.exists() else []
    done = {tuple(each[name] for name in _KEYS) for each in rows}
    devices = [(text.partition("=")[0], _device(text)) for text in FLAGS.libraries]
    for name, make in files(replace(devices[0][1], samples=1)).items():
        missing = [(where.split(":"), qemu) for where, qemu in devices if (*where.split(":"), name) not in done]
        file = make() if missing else None
        for (core, kernels), qemu in missing:
            (found,) = qemu.measure((file,), runs=1)
            rows.append(row(core, kernels, name, file, found))
            print(rows[-1], flush=True)
            written.write_text(json.dumps(rows, indent=1) + "\n")
            pathlib.Path(f"{FLAGS.into}.md").write_text(table(rows))


if __name__ == "__main__":
    app.run(main)
