"""The command line `tf-structprune`: parse, call, print."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging
from rich.console import Console
from rich.table import Table

from tf_structprune_cli._tensorflow import import_quietly

_EXAMPLES = """examples:
  tf-structprune demo --out digits
  tf-structprune inspect model.keras
  tf-structprune compress model.keras --data data.npz --out small --sparsity 0.6 --epochs 20 \\
      --distill 0.5 --augment flip,shift --finetune-batch 128
"""


def run() -> None:
    """Entry point: run the command of `sys.argv` and exit with its status."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 on success, 1 when the command refused or failed, 130 after Ctrl-C; argparse itself exits
        with 2 on a wrong command line.
    """
    arguments = _parser().parse_args(argv)
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO if arguments.verbose else logging.WARNING)
    try:
        import_quietly()
        _COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt:
        Console(stderr=True).print("tf-structprune: interrupted, nothing was written.", highlight=False)
        return 130
    except (ValueError, TypeError, OSError, RuntimeError, ModuleNotFoundError) as error:
        logging.debug("Traceback:", exc_info=True)
        line = " ".join(str(error).split())
        Console(stderr=True, soft_wrap=True).print(f"tf-structprune: {line}", highlight=False, markup=False)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tf-structprune",
        description="Prune a trained Keras CNN in a structured way, retrain it, and export it as small, fast, "
        "verified TFLite models for phones and microcontrollers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_compress(commands)
    _add_inspect(commands)
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


def _add_compress(commands: Any) -> None:
    compress = commands.add_parser(
        "compress",
        help="the same for your own model and data",
        description="Prune MODEL to the sparsity asked for, one granularity after the other, retrain after each, and "
        "keep only what stays within the tolerance on validation data: x_val and y_val of DATA, which MODEL should "
        "not have been trained on, or else a part split off x_train. The test part is used for the final figures "
        "only. OUT gets model.keras, model_float32.tflite, model_int8.tflite, micro/ "
        "(C sources), history.csv, summary.json and, under baseline/, the dense model's files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = compress.add_argument
    add("model", metavar="MODEL", help="a trained Sequential or functional classifier: .keras, or .h5 of Keras 2")
    add(
        "--data",
        required=True,
        default=argparse.SUPPRESS,
        metavar="DATA.npz",
        help="x_train, y_train, x_test, y_test as the model takes them",
    )
    _add_out(compress)
    _add_pruning(compress)
    _add_training(compress)
    _add_kept(compress)
    _add_lowering(compress)
    add("--seed", type=int, default=0, help="seed of the split, the search and the training")


def _add_pruning(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    add("--sparsity", type=float, default=0.5, help="fraction of the prunable weights to remove in all, in [0, 1)")
    add(
        "--granularity",
        type=_names,
        default="feature_map",
        metavar="KIND[,KIND...]",
        help="what to prune, in this order: feature_map, kernel, intra_kernel. Removed feature maps make the model "
        "smaller and faster; removed kernels and patterns do so where --lower finds that it pays",
    )
    add(
        "--search",
        default="best_of_n",
        help="best_of_n, particle_filter, evolutionary, activation_vote, magnitude or random",
    )
    add("--candidates", type=int, default=50, help="candidates that the search scores in each stage")
    add(
        "--round-to",
        type=int,
        default=1,
        metavar="N",
        help="leave each layer a multiple of N channels (16 suits float32 on x86, 8 or 16 most NPUs and DSPs)",
    )
    add("--min-channels", type=int, default=1, metavar="N", help="leave each layer at least N channels")


def _add_training(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    add("--tolerance", type=float, default=0.01, help="accepted rise of the validation error, as a fraction")
    add("--epochs", type=int, default=10, help="epochs of retraining after each granularity")
    add("--finetune-batch", type=int, default=128, help="samples of a retraining batch")
    add("--finetune-rate", type=float, default=1e-3, help="learning rate at the start, falling as a cosine to zero")
    add("--distill", type=float, default=0.0, help="weight of the dense model's outputs in the retraining loss, 0 to 1")
    add(
        "--augment",
        type=_names,
        default="",
        metavar="KIND[,KIND]",
        help="random changes of training images: flip, shift",
    )


def _add_lowering(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    add(
        "--lower",
        default="auto",
        metavar="auto|none",
        help="auto: layers with removed kernels or patterns compute only what is left, where that is measured to be "
        "faster; none: they compute zeros",
    )
    add("--target", default="cpu", metavar="cpu|micro", help="what to lower for: latency on a CPU, or a small arena")


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="what can be pruned in a model, and what cannot and why",
        description="Print the channel groups, layers, MACs and parameters of a model, what can go and what not.",
    )
    inspect.add_argument("model", metavar="MODEL", help="a Sequential or functional model: .keras, or .h5 of Keras 2")
    _add_kept(inspect)
    inspect.add_argument("--verbose", action="store_true", help="log what is done")


def _add_kept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep", type=_names, default="", metavar="NAME[,NAME...]", help="layers to keep whole, names or patterns"
    )
    parser.add_argument("--prune-first", action="store_true", help="prune the first convolution like any other")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", required=True, default=argparse.SUPPRESS, metavar="DIR", help="directory to make; it must not exist"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a DIR that an earlier run wrote")
    parser.add_argument("--verbose", action="store_true", help="log each step and show training progress")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


# The packages are imported by the commands that need them: --help and usage errors answer at once.


def _demo(arguments: argparse.Namespace) -> None:
    from tflite_export.compress import CompressSettings, compress_into, load_digits, train_digits
    from tflite_export.write import staged_directory

    settings = CompressSettings(
        sparsity=0.75,
        granularity=("feature_map", "kernel", "intra_kernel"),
        tolerance=0.02,
        epochs=12,
        finetune_batch=64,
        finetune_rate=2e-3,
        seed=arguments.seed,
    )
    with staged_directory(arguments.out, overwrite=arguments.overwrite) as folder:
        data = load_digits(seed=arguments.seed)
        model = train_digits(data, seed=arguments.seed)
        summary = compress_into(folder, model, data, settings=settings, verbose=arguments.verbose)
    _print_summary(summary, arguments.out)


def _compress(arguments: argparse.Namespace) -> None:
    from tflite_export.compress import CompressSettings, compress, load_data, load_model

    settings = CompressSettings(
        sparsity=arguments.sparsity,
        granularity=arguments.granularity,
        search=arguments.search,
        candidates=arguments.candidates,
        tolerance=arguments.tolerance,
        epochs=arguments.epochs,
        finetune_batch=arguments.finetune_batch,
        finetune_rate=arguments.finetune_rate,
        distill=arguments.distill,
        augment=arguments.augment,
        keep=arguments.keep,
        keep_first=not arguments.prune_first,
        round_to=arguments.round_to,
        min_channels=arguments.min_channels,
        lower=arguments.lower,
        target=arguments.target,
        seed=arguments.seed,
    )
    model = load_model(arguments.model)
    data = load_data(arguments.data, seed=arguments.seed)
    summary = compress(
        model, data, arguments.out, settings=settings, overwrite=arguments.overwrite, verbose=arguments.verbose
    )
    _print_summary(summary, arguments.out)


def _inspect(arguments: argparse.Namespace) -> None:
    from tf_structprune.graph import trace
    from tflite_export.compress import load_model

    model = load_model(arguments.model)
    graph = trace(model, keep=arguments.keep, keep_first=not arguments.prune_first)
    table = Table(title=f"{graph.model_name}: {graph.parameters:,} parameters, {graph.macs:,} MACs")
    for column in ("layer", "kind", "kernel", "weights", "MACs", "may be pruned"):
        table.add_column(column, justify="right" if column in ("weights", "MACs") else "left", overflow="fold")
    for layer in graph.layers:
        shape = "x".join(str(size) for size in layer.kernel_shape)
        state = "yes" if layer.prunable else f"no: {layer.reason}"
        table.add_row(layer.name, layer.kind, shape, f"{layer.weights:,}", f"{layer.macs:,}", state)
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(str(graph), highlight=False, markup=False)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {"demo": _demo, "compress": _compress, "inspect": _inspect}


def _print_summary(summary: dict[str, Any], out: str) -> None:
    from tflite_export.compress import FIGURES

    table = Table(title=f"{100 * summary['sparsity']:.1f} % of the prunable weights removed")
    table.add_column("")
    for column in ("before", "after", "before / after"):
        table.add_column(column, justify="right")
    for figure in FIGURES:
        table.add_row(*figure.row(summary))
    console = Console(soft_wrap=True)
    console.print(table)
    for stage in summary["stages"]:
        if not stage["accepted"]:
            console.print(
                f"Not reached: {stage['granularity']} at sparsity {stage['sparsity']:.3f} left a validation error of "
                f"{100 * stage['mcr_after_retraining']:.2f} %, beyond the tolerance; it was undone.", highlight=False
            )  # fmt: skip
    if summary["multiplications"]:
        _print_multiplications(summary["multiplications"], console)
    console.print(f"Written to {out}", highlight=False, markup=False)


def _print_multiplications(section: dict[str, Any], console: Console) -> None:
    table = Table(title="Multiplications of kernel-pruned layers: direct / im2col / FFT")
    table.add_column("layer", overflow="fold")
    for column in ("kernels kept", "direct", "im2col", "FFT"):
        table.add_column(column, justify="right")
    for layer in section["layers"]:
        counts = (f"{layer[way]:,}" for way in ("direct", "im2col", "fft"))
        table.add_row(layer["name"], f"{layer['kept_kernels']:,} of {layer['kernels']:,}", *counts)
    console.print(table)
    console.print(section["note"], highlight=False, markup=False)
