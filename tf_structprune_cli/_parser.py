"""The command line's options; nothing of the packages is imported, so that --help answers at once."""

import argparse
from typing import Any

_EXAMPLES = """examples:
  tf-structprune demo --out digits
  tf-structprune inspect model.keras
  tf-structprune sensitivity model.keras --data data.npz --out bits --tolerance 0.01
  tf-structprune compress model.keras --data data.npz --out small --sparsity 0.6 --epochs 20 \\
      --distill 0.5 --augment flip,shift --finetune-batch 128
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `command` names the one that was asked for."""
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
    _add_sensitivity(commands)
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
        "only. OUT gets model.keras, model_float32.tflite, model_int8.tflite (in fixed point model_fixed.tflite, "
        "packed variants of it and model_recipe.json), micro/ (C sources), history.csv, summary.json and, "
        "under baseline/, the dense model's files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = compress.add_argument
    _add_model_and_data(compress)
    _add_out(compress)
    _add_pruning(compress)
    _add_training(compress)
    _add_kept(compress)
    _add_lowering(compress)
    _add_fixed_point(compress)
    add("--seed", type=int, default=0, help="seed of the split, the search and the training")


def _add_pruning(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    amount = compress.add_mutually_exclusive_group()
    amount.add_argument(
        "--sparsity", type=float, default=0.5, help="fraction of the prunable weights to remove in all, in [0, 1)"
    )
    amount.add_argument(
        "--budget",
        default=argparse.SUPPRESS,
        metavar="KIND=FRACTION",
        help="instead: the fraction of the model's macs, parameters, bytes or latency that may stay, allocated among "
        "the layers by how much each loses, e.g. macs=0.5; latency is measured in LiteRT, int8, one thread. Feature "
        "maps only",
    )
    add(
        "--allocation",
        default=argparse.SUPPRESS,
        metavar="uniform|greedy|evolutionary",
        help="how a --budget is allocated; greedy if not given",
    )
    add(
        "--granularity",
        type=_names,
        default="feature_map",
        metavar="KIND[,KIND...]",
        help="what to prune, in this order: feature_map, kernel, intra_kernel. Removed feature maps make the model "
        "smaller and faster; removed kernels and patterns do so where --lower finds that it pays",
    )
    _add_demands(compress)
    add(
        "--search",
        default="best_of_n",
        help="best_of_n, particle_filter, evolutionary, activation_vote, magnitude or random",
    )
    add("--candidates", type=int, default=50, help="candidates that the search scores in each stage")
    add(
        "--executor",
        default="local",
        metavar="local|ray",
        help="who scores candidates: this process, or workers of the Ray cluster that RAY_ADDRESS names, of this "
        "machine without one (extra ray). The scores are the same",
    )
    add("--workers", type=int, metavar="N", help="with --executor ray, processes that score; 2 if not given")
    add(
        "--round-to",
        type=int,
        default=1,
        metavar="N",
        help="leave each layer a multiple of N channels (16 suits float32 on x86, 8 or 16 most NPUs and DSPs)",
    )
    add("--min-channels", type=int, default=1, metavar="N", help="leave each layer at least N channels")


def _add_demands(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    add(
        "--kernel-groups",
        type=_count_or_word,
        default="auto",
        metavar="N|auto|any",
        help="kernels go in blocks, of N groups of outputs by N blocks of inputs; auto: as few as reach the sparsity, "
        "which run fast once lowered, and of which the last may take more than it; any: one by one, a freer choice "
        "that hardly runs faster. With --lower none, auto is any",
    )
    add(
        "--strides",
        type=_counts_or_word,
        default="auto",
        metavar="S[,S...]|columns|auto|any",
        help="intra-kernel strides to draw from; columns, and auto: whole kernels, columns and single weights of "
        "each layer's own kernel size, which run fast once lowered; any: 1 to k + 1 for k x k kernels. "
        "With --lower none, auto is any",
    )
    add(
        "--patterns",
        type=_count_or_word,
        default="auto",
        metavar="N|auto|any",
        help="largest number of different intra-kernel patterns in a layer; auto: 2, any with --lower none",
    )


def _add_training(compress: argparse.ArgumentParser) -> None:
    add = compress.add_argument
    add("--tolerance", type=float, default=0.01, help="accepted rise of the validation error, as a fraction")
    add(
        "--epochs",
        type=int,
        default=argparse.SUPPRESS,
        help="epochs of retraining after each granularity; if not given 10, or on small data as many as make 500 steps",
    )
    add(
        "--finetune-batch",
        type=int,
        default=argparse.SUPPRESS,
        help="samples of a retraining batch; if not given 128, or on small data as few, down to 16, as make 500 steps",
    )
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
    add("--recipe", metavar="FILE.json", help="word lengths by layer, as tf-structprune sensitivity writes them")


def _add_inspect(commands: Any) -> None:
    inspect = commands.add_parser(
        "inspect",
        help="what can be pruned in a model, and what cannot and why",
        description="Print the channel groups, layers, MACs and parameters of a model, what can go and what not.",
    )
    inspect.add_argument("model", metavar="MODEL", help="a Sequential or functional model: .keras, or .h5 of Keras 2")
    _add_kept(inspect)
    inspect.add_argument("--verbose", action="store_true", help="log what is done")


def _add_sensitivity(commands: Any) -> None:
    sensitivity = commands.add_parser(
        "sensitivity",
        help="how few bits each layer can do with",
        description="Measure the rise of the validation error with one layer of MODEL in fixed point and the rest in "
        "float, for each layer and word length, and choose word lengths: the fewest bits within a tolerance, or the "
        "least loss within a size. The recipe is then measured as a whole. Nothing is retrained. OUT gets "
        "sensitivity.json, sensitivity.md, sensitivity.png and recipe.json. Scores are kept in OUT.cache.jsonl until "
        "OUT is complete: after an interruption the same command goes on.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = sensitivity.add_argument
    _add_model_and_data(sensitivity)
    _add_out(sensitivity)
    add("--weight-bits", type=_counts, default="2,3,4,5,6,7,8", metavar="B[,B...]", help="of weights, from 2 to 8")
    add("--signal-bits", type=_counts, default="3,4,5,6,7,8", metavar="B[,B...]", help="of rectified signals, 3 to 8")
    steps = sensitivity.add_mutually_exclusive_group()
    steps.add_argument(
        "--power-of-two", action="store_true", default=True, help="steps are powers of two: rescaling is a shift"
    )
    steps.add_argument(
        "--free-steps",
        dest="power_of_two",
        action="store_false",
        default=argparse.SUPPRESS,
        help="steps are any numbers",
    )
    add("--per-channel", action="store_true", help="a weight step for each output channel, else one a layer")
    limit = sensitivity.add_mutually_exclusive_group()
    limit.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        metavar="T",
        help="fewest bits whose expected rise of the validation error, a fraction, stays within T",
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


def _add_model_and_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a trained Sequential or functional classifier: .keras, or .h5 of Keras 2")
    add(
        "--data",
        required=True,
        default=argparse.SUPPRESS,
        metavar="DATA.npz",
        help="x_train, y_train, x_test, y_test and perhaps x_val, y_val, as the model takes them",
    )


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


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(name) for name in _names(text))


def _count_or_word(text: str) -> int | str:
    """A count; what is none is a word, which the settings know or refuse."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def _counts_or_word(text: str) -> tuple[int, ...] | str:
    counts = [_count_or_word(name) for name in _names(text)]
    return text if any(isinstance(count, str) for count in counts) else tuple(int(count) for count in counts)
