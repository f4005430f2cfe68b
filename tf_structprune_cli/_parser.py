"""The command line's options; nothing of the packages is imported, so that --help answers at once."""

import argparse
import re
from collections.abc import Callable
from typing import Any

from tf_structprune_cli._device import add_benchmark, add_device
from tf_structprune_cli._fields import Field, fields_of

_EXAMPLES = """examples:
  tf-structprune demo --out digits
  tf-structprune inspect model.keras
  tf-structprune sensitivity model.keras --data data.npz --out bits --tolerance 0.01
  tf-structprune compress model.keras --data data.npz --out small --sparsity 0.6 --epochs 20 \\
      --augment flip,shift --finetune-batch 128
  tf-structprune benchmark small/model_int8.tflite --device android --binary benchmark_model
"""


class _CommandParser(argparse.ArgumentParser):
    """Takes no shortened option: once there are more of them it would mean another one, or none."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `command` names the one that was asked for."""
    parser = argparse.ArgumentParser(
        prog="tf-structprune",
        description="Prune a trained Keras CNN in a structured way, retrain it, and export it as small, fast, "
        "verified TFLite models for phones and microcontrollers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_CommandParser)
    _add_demo(commands)
    _add_compress(commands)
    _add_inspect(commands)
    _add_sensitivity(commands)
    _add_pack(commands)
    _add_told(add_benchmark(commands))
    _add_report(commands)
    return parser


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="train, prune, export and measure a small CNN on scikit-learn's digits",
        description="The whole path in under three minutes on two cores: a small CNN is trained on scikit-learn's "
        "digits, pruned at all three granularities, retrained, exported, verified and measured.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_out(demo)
    demo.add_argument("--seed", type=int, default=0, help="seed of the split, the training and the search")
    _add_no_report(demo)


def _add_compress(commands: Any) -> None:
    compress = commands.add_parser(
        "compress",
        help="the same for your own model and data",
        description="Prune MODEL to the sparsity asked for, one granularity after the other, retrain after each, and "
        "keep only what stays within the tolerance on validation data: x_val and y_val of DATA, which MODEL should "
        "not have been trained on, or else a part split off x_train. The test part is used for the final figures "
        "only. OUT gets model.keras, model_float32.tflite, model_int8.tflite (in fixed point model_fixed.tflite, "
        "packed variants of it and model_recipe.json), micro/ (C sources), history.csv, summary.json, the "
        "report and, under baseline/, the dense model's files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_model_and_data(compress)
    _add_objective(compress)
    add_device(compress)
    _add_out(compress)
    _add_no_report(compress)
    for field in compress_fields():
        if field.name == "fixed_point":
            _add_fixed_point(compress)
        else:
            _add_setting(compress, field)
        if field.name == "sparsity":
            _add_budget(compress)


def _add_objective(parser: argparse.ArgumentParser) -> None:
    add, metavar = parser.add_argument, "NAME|MODULE:FUNCTION"
    add(
        "--loss",
        metavar=metavar,
        help="what is retrained with in the place of the task's loss: the name of a Keras loss, or a function of "
        "(targets, outputs) or a Keras loss of your own. Targets then keep the form that they have in DATA",
    )
    add(
        "--score",
        metavar=metavar,
        help="what the tolerance is about in the place of the task's score: kl, the name of a Keras loss, or a "
        "function of (targets, outputs) or a Keras metric of your own, higher is better. Targets then keep their form",
    )


def compress_fields() -> tuple[Field, ...]:
    """The settings of `compress`."""
    return fields_of("tflite_export/compress/_settings.py", "CompressSettings")


def _add_setting(parser: Any, field: Field) -> None:
    """The option of a setting; without it the namespace has no value, so that the settings choose their own."""
    if field.name in _OPPOSITES:
        flag, told = _OPPOSITES[field.name]
        parser.add_argument(flag, dest=field.name, action="store_false", default=argparse.SUPPRESS, help=told)
        return
    flag = f"--{field.name.replace('_', '-')}"
    if field.kind == "bool":
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=_help_of(field))
        return
    read, metavar = _reader_of(field.kind)
    parser.add_argument(flag, type=read, default=argparse.SUPPRESS, metavar=metavar, help=_help_of(field))


def _reader_of(kind: str) -> tuple[Callable[[str], Any], str | None]:
    """How the text of an option becomes a value of a type, and how the help calls it; a word that the type does not
    know is left to the settings to refuse."""
    parts = [part for part in re.sub(r"Literal\[.*\]", "", kind).split(" | ") if part and part != "None"]
    known = "float | str" if parts == ["float", "str"] else (*parts, "str")[0]
    words = re.findall(r"'(\w+)'", kind)
    read, name = _READERS[known, bool(words)]
    return read, "|".join([*([name] if name else []), *words]) or None


def _help_of(field: Field) -> str:
    """What the docstring says of a field, in the command line's words."""
    told = re.sub(r'`(\w+)="(\w+)"`', lambda match: f"--{match[1].replace('_', '-')} {match[2]}", field.told)
    told = re.sub('[`"]', "", told).removesuffix(".").replace("%", "%%")
    default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    return told if default in (None, "", False) else f"{told} (default: {default})"


def _add_budget(compress: argparse.ArgumentParser) -> None:
    compress.add_argument(
        "--budget",
        action="append",
        default=argparse.SUPPRESS,
        metavar="KIND=AMOUNT",
        help="instead: what the model may cost, a share of what it costs or an amount, allocated among the layers by "
        "how much each loses: macs=0.5, macs=6M, parameters=20k, bytes=20KiB of weights, latency=3ms in LiteRT, int8, "
        "one thread, on --device, flash=20KiB of the integer file (with --pack of the packed one and the code that "
        "decodes it), arena=30KiB of TFLite Micro; again for several, which are all met. It is spent on feature maps, "
        "or with --granularity layer on whole layers. Where the budget needs it the first convolution is pruned too",
    )


def _add_fixed_point(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    add(
        "--weight-bits",
        type=int,
        metavar="N",
        help="put weights in words of 2 to 8 bits after pruning and retrain; with --sparsity 0, do only this. "
        "Default with any other option of fixed point: 8",
    )
    add("--signal-bits", type=int, metavar="N", help="the same for signals behind ReLU, 3 to 8 bits")
    add("--power-of-two", action="store_true", help="fixed point whose steps are powers of two: rescaling is a shift")
    add("--per-channel", action="store_true", help="fixed point with a weight step for each output channel")
    add("--shared", type=int, metavar="N", help="fixed point in which the weights of a layer use N of the words only")
    add("--sharing", metavar="NAME", help="how they are chosen: cws, pws, uq or ecsq. Default: cws")
    add(
        "--entropy",
        type=float,
        metavar="X",
        help="fixed point trained with a loss of X a kibibyte of the weights in an entropy code: few words, small once "
        "packed",
    )
    add("--recipe", metavar="FILE.json", help="word lengths by layer, as tf-structprune sensitivity writes them")


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="what can be pruned in a model, and what cannot and why",
        description="Print the channel groups, layers, MACs and parameters of a model, what can go and what not.",
    )
    inspect.add_argument("model", metavar="MODEL", help="a Sequential or functional model: .keras, or .h5 of Keras 2")
    for field in compress_fields():
        if field.name in TRACE_SETTINGS:
            _add_setting(inspect, field)
    inspect.add_argument(
        "--storage", action="store_true", help="also what the weights of each layer take in each format without loss"
    )
    _add_told(inspect)


def _add_sensitivity(commands: Any) -> None:
    sensitivity = commands.add_parser(
        "sensitivity",
        help="how few bits each layer can do with, or which layer loses what in int8",
        description="Measure the rise of the validation error with one layer of MODEL in fixed point and the rest in "
        "float, for each layer and word length, and choose word lengths: the fewest bits within a tolerance, or the "
        "least loss within a size. The recipe is then measured as a whole. Nothing is retrained. OUT gets "
        "sensitivity.json, sensitivity.md, sensitivity.png and recipe.json. With --int8 the same for the plain int8 "
        "file: each layer alone in int8, and all but it, the noise that its rounding makes, how its signal uses the "
        "255 steps, and what mends it; OUT gets sensitivity_int8.json, .md and .png. Numbers are kept in "
        "OUT.cache.jsonl until OUT is complete: after an interruption the same command goes on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = sensitivity.add_argument
    _add_model_and_data(sensitivity)
    _add_out(sensitivity)
    add("--int8", action="store_true", help="which layers lose what in the plain int8 file, and what mends them")
    _add_words(sensitivity)
    limit = sensitivity.add_mutually_exclusive_group()
    limit.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="T",
        help="fewest bits whose expected rise of the validation error, a fraction, stays within T; with --int8 what "
        "the file may lose before layers need a remedy",
    )
    limit.add_argument(
        "--size-bytes",
        type=int,
        default=argparse.SUPPRESS,
        metavar="N",
        help="instead: least loss with weights of N bytes at most",
    )
    add("--samples", type=int, default=2000, metavar="N", help="largest number of validation samples to score on")
    add("--seed", type=int, default=0, help="seed of the split and of the draw of samples")


def _add_words(sensitivity: argparse.ArgumentParser) -> None:
    """The options of fixed point; one that was not given is left out, for --int8 takes none of them."""

    def add(to: Any, flag: str, told: str, **how: Any) -> None:
        to.add_argument(flag, default=argparse.SUPPRESS, help=told, **how)

    counts = {"type": _counts, "metavar": "B[,B...]"}
    add(sensitivity, "--weight-bits", "of weights, from 2 to 8 (default: all)", **counts)
    add(sensitivity, "--signal-bits", "of rectified signals, 3 to 8 (default: all)", **counts)
    steps = sensitivity.add_mutually_exclusive_group()
    told = "steps are powers of two: rescaling is a shift (default)"
    add(steps, "--power-of-two", told, action="store_true")
    add(steps, "--free-steps", "steps are any numbers", dest="power_of_two", action="store_false")
    told = "a weight step for each output channel, else one a layer"
    add(sensitivity, "--per-channel", told, action="store_true")


def _add_pack(commands: Any) -> None:
    pack = commands.add_parser(
        "pack",
        help="a model in few bytes, without loss",
        description="Write MODEL as a .sham file: weights in gaps and values under Huffman codes that layers share "
        "where that is smaller, the rest by LZMA. A .tflite comes back byte for byte, a .keras of the same "
        "configuration and weights. The file is unpacked once and compared before it is handed over. With a FILE in "
        ".tflite, the weights of an integer MODEL are packed inside it, as TFLite Micro decodes them while it runs.",
    )
    pack.add_argument("model", metavar="MODEL", help="a .keras or .tflite file")
    pack.add_argument(
        "--pack",
        default="auto",
        metavar="auto|huffman|bitmap|lut|own",
        help="for a FILE in .tflite, how: auto where file and the decoder's code together get smaller, a coder anyway "
        "(default: auto)",
    )
    unpack = commands.add_parser(
        "unpack",
        help="the model that was packed",
        description="Write the model that FILE holds: a .sham, or a .tflite with packed weights.",
    )
    unpack.add_argument("file", metavar="FILE", help="a file from pack")
    for command, told in (
        (pack, "file to write, .sham or .tflite"),
        (unpack, "file to write, .keras or .tflite as was packed"),
    ):
        command.add_argument("--out", required=True, metavar="FILE", help=f"{told}; it must not exist")
        command.add_argument("--overwrite", action="store_true", help="replace a FILE that is there")
        _add_told(command)


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="the report of a run again, or several runs side by side",
        description="Render the report of a run again from its report.json: DIR/report.html, report.md and "
        "model_explorer/. Several runs come side by side in FILE.html: their figures in one table, cost and score in "
        "one picture. The OUT of tf-structprune sensitivity, with --int8 or without, as a further DIR of one run, adds "
        "what it found.",
    )
    report.add_argument("directories", nargs="+", metavar="DIR", help="OUT of tf-structprune compress or demo")
    report.add_argument(
        "--out", metavar="FILE", help="file to write, .html or .md; needed for several runs. It must not exist"
    )
    report.add_argument("--overwrite", action="store_true", help="replace a FILE that is there")
    _add_told(report)


def _add_no_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write report.html, report.md and report.json",
    )


def _add_model_and_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a trained Sequential or functional model: .keras, or .h5 of Keras 2")
    add(
        "--data",
        required=True,
        default=argparse.SUPPRESS,
        metavar="DATA",
        help="a .npz, or a folder of .npy files, with x_train, y_train, x_test, y_test and perhaps x_val, y_val, as "
        "the model takes them (x_train_NAME for one of several inputs); a folder of images, one folder a class, in "
        "train/, test/ and perhaps val/; or module:function, which returns what fit takes",
    )
    add("--skip-corrupt", action="store_true", help="leave images out that cannot be read")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", required=True, default=argparse.SUPPRESS, metavar="DIR", help="directory to make; it must not exist"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a DIR that an earlier run wrote")
    _add_told(parser)


def _add_told(parser: argparse.ArgumentParser) -> None:
    told = parser.add_mutually_exclusive_group()
    told.add_argument("--quiet", action="store_true", help="tell nothing but the result")
    told.add_argument("--verbose", action="store_true", help="tell all: each decision, each step of training")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(name) for name in _names(text))


def _number_or_text(text: str) -> float | str:
    """A number; a text that is none is left to the settings to read or refuse."""
    try:
        return float(text)
    except ValueError:
        return text


def _count_or_word(text: str) -> int | str:
    """A count; what is none is a word, which the settings know or refuse."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def _counts_or_word(text: str) -> tuple[int, ...] | str:
    counts = [_count_or_word(name) for name in _names(text)]
    return text if any(isinstance(count, str) for count in counts) else tuple(int(count) for count in counts)


_READERS: dict[tuple[str, bool], tuple[Callable[[str], Any], str]] = {
    ("str", False): (str, ""),
    ("str", True): (str, ""),
    ("float", False): (float, ""),
    ("float | str", False): (_number_or_text, "T|N%"),
    ("float", True): (_number_or_text, "RATE"),
    ("int", False): (int, "N"),
    ("int", True): (_count_or_word, "N"),
    ("tuple[str, ...]", False): (_names, "NAME[,NAME...]"),
    ("tuple[int, ...]", True): (_counts_or_word, "N[,N...]"),
}
"""By type, and whether words may stand for it: how to read it, and what the help calls it."""

TRACE_SETTINGS = ("keep", "keep_first", "keep_last")
"""Settings that `trace` takes as they are."""

_OPPOSITES = {
    "keep_first": ("--prune-first", "prune the first convolution like any other"),
    "keep_last": ("--prune-last", "let the last layer with a kernel lose kernels, patterns and weights too"),
}
"""Options that take a setting back, with their help."""
