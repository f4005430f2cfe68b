"""What operators add to the flash of a Cortex-M's firmware, by set of kernels, alone and several together.

    python -m benchmarks.operator_code --libraries m4:reference=LIB.a,m4:cmsis_nn=LIB.a \\
        --include TFLM,FLATBUFFERS/include,GEMMLOWP,RUY

Needs `arm-none-eabi-g++` and TFLite Micro's library, built for each core and set of kernels by its user. A program that
registers one operator is linked, and one that registers none. What the linker keeps of the first and not of the second
is the operator's; of what several operators need, each part is counted by the set of those that need it, so that any
of them together are a sum over the sets. Sums are held against linked programs of several operators. An operator that
a library lacks has no figure. `--table` is what the READMEs of bundles tell these figures from. Some seconds an
operator.
"""

import json
import pathlib
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

from absl import app, flags, logging

from tflite_export.bundle import CodeTable, Need
from tflite_export.devices import Qemu, Toolchain, flash_parts
from tflite_export.write import to_plain

FLAGS = flags.FLAGS
flags.DEFINE_list("libraries", None, "CORE:KERNELS=FILE, of TFLite Micro.", required=True)
flags.DEFINE_list("include", None, "Folders of its headers.", required=True)
flags.DEFINE_list("operators", None, "Which; those that files of CNNs have by default.")
flags.DEFINE_string("out", "benchmarks/results/operator_code", "Results, without the ending.")
flags.DEFINE_string("table", "tflite_export/bundle/operator_code.json", "The figures as bundles read them.")

CNN = (
    *("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED"),
    *("HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAX_POOL_2D", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "PAD", "PADV2"),
    *("QUANTIZE", "REDUCE_MAX", "RELU", "RELU6", "RESHAPE", "SLICE", "SOFTMAX", "SPLIT", "STRIDED_SLICE", "SUM"),
    *("TANH", "TFLM_DECODE", "TRANSPOSE", "TRANSPOSE_CONV"),
)
TOGETHER = (
    ("ADD", "AVERAGE_POOL_2D", "CONV_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"),  # a ResNet
    ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "RESHAPE", "SOFTMAX"),  # a DS-CNN
    ("CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "PAD", "QUANTIZE", "RESHAPE"),
    ("CONCATENATION", "CONV_2D", "LOGISTIC", "MUL", "TFLM_DECODE", "TRANSPOSE_CONV"),
)
Parts = dict[tuple[str, str], int]


def parts_of(toolchain: Toolchain, operators: Iterable[str]) -> dict[str, Parts]:
    """By operator, and by "" for none, what the linker keeps of a program that registers it."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for operator in ("", *operators):
            try:
                program = toolchain.bare([operator] if operator else [], pathlib.Path(folder))
            except ValueError as error:
                logging.warning("%s", error)
                continue
            found[operator] = flash_parts(program)
            logging.info("%s %d", operator, sum(found[operator].values()))
    return found


def table_of(parts: dict[str, Parts]) -> CodeTable:
    """The figures of one library."""
    nothing = parts.pop("")
    needs: dict[tuple[str, str], dict[str, int]] = {}
    for operator, mine in parts.items():
        for key in mine.keys() - nothing.keys():
            if key[1]:  # no gap
                needs.setdefault(key, {})[operator] = mine[key]
    by_set: dict[frozenset[str], int] = {}
    for each in needs.values():
        by_set[frozenset(each)] = by_set.get(frozenset(each), 0) + max(each.values())
    runtime = sum(nothing.values())
    for operator, mine in parts.items():  # the call that registers it, and strings that it shares with what is there
        told = sum(size for names, size in by_set.items() if operator in names)
        alone = frozenset({operator})
        by_set[alone] = by_set.get(alone, 0) + sum(mine.values()) - runtime - told
    order = sorted(by_set.items(), key=lambda each: sorted(each[0]))
    return CodeTable(runtime, tuple(Need(tuple(sorted(names)), size) for names, size in order if size))


def linked(toolchain: Toolchain, operators: Sequence[str]) -> int:
    """Bytes of a program that has all of them."""
    with tempfile.TemporaryDirectory() as folder:
        return sum(flash_parts(toolchain.bare(operators, pathlib.Path(folder))).values())


def page(tables: dict[str, CodeTable], checks: list[dict[str, Any]]) -> str:
    """The figures as Markdown, a column a library."""
    lines = [
        "# Code of TFLite Micro's operators",
        "",
        "`python -m benchmarks.operator_code`",
        "",
        "Bytes of flash that each operator alone adds to a linked program without any (`arm-none-eabi-g++ -O2`, "
        "sections that nothing needs dropped); kernels for int8 alone where the library has them.",
        "",
        "| operator | " + " | ".join(tables) + " |",
        "|---" + "|---:" * len(tables) + "|",
        "| none: the runtime | " + " | ".join(f"{table.runtime:,}" for table in tables.values()) + " |",
    ]
    for operator in sorted({name for table in tables.values() for name in table.operators}):
        found = (table.bytes_of([operator]) if operator in table.operators else None for table in tables.values())
        lines.append(f"| {operator} | " + " | ".join("" if each is None else f"{each:,}" for each in found) + " |")
    lines += ["", "Several together share code. The sum over what each set of operators needs, and the linked program:"]
    lines += ["", "| operators | library | each alone, summed | summed by sets | linked |", "|---|---|---:|---:|---:|"]
    for each in checks:
        figures = " | ".join(f"{each[name]:,}" for name in ("alone", "summed", "linked"))
        lines.append(f"| {', '.join(each['operators'])} | {each['library']} | {figures} |")
    return "\n".join(lines) + "\n"


def main(_: list[str]) -> None:
    """Link and write."""
    tables, checks = {}, []
    for text in FLAGS.libraries:
        where, _, library = text.partition("=")
        core, _, kernels = where.partition(":")
        toolchain = Qemu(core, library, tuple(FLAGS.include)).toolchain
        table = table_of(parts_of(toolchain, FLAGS.operators or CNN))
        tables[kernels] = table
        for operators in (each for each in TOGETHER if set(each) <= set(table.operators)):
            alone = sum(table.bytes_of([each]) for each in operators)
            found = linked(toolchain, operators) - table.runtime
            summed = {"alone": alone, "summed": table.bytes_of(operators), "linked": found}
            checks.append({"library": where, "operators": operators, **summed})
    pathlib.Path(FLAGS.table).write_text(json.dumps(to_plain(tables), indent=1) + "\n")
    out = pathlib.Path(FLAGS.out)
    out.with_suffix(".json").write_text(json.dumps(checks, indent=1) + "\n")
    out.with_suffix(".md").write_text(page(tables, checks))


if __name__ == "__main__":
    app.run(main)
