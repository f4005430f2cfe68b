"""The command line `tf-structprune`: parse, call, print."""

import argparse
import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from rich.table import Table

from tf_structprune_cli._console import plain_console
from tf_structprune_cli._device import device_from, run_benchmark
from tf_structprune_cli._parser import TRACE_SETTINGS, make_parser
from tf_structprune_cli._storage import storage_table
from tf_structprune_cli._tensorflow import import_quietly, native_code_silenced
from tf_structprune_cli._tflite import TFLITE, pack_tflite, unpack_tflite


def run() -> None:
    """Entry point: run the command of `sys.argv` and exit with its status."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 on success, 1 when the command refused or failed, 130 after Ctrl-C, 143 after SIGTERM; argparse itself
        exits with 2 on a wrong command line.
    """
    arguments = make_parser().parse_args(argv)
    silence = contextlib.nullcontext() if arguments.verbose else native_code_silenced()
    with silence:
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    logging.use_absl_handler()
    logging.get_absl_handler().python_handler.setStream(sys.stderr)
    logging.set_verbosity(logging.INFO if arguments.verbose else logging.WARNING)
    received: list[int] = []
    try:
        if getattr(arguments, "out", None) == "":
            raise ValueError("--out has no name. Received: --out ''. Give the path of what is to be made.")
        with _interrupted_by_signals(received):
            with contextlib.nullcontext() if arguments.quiet else plain_console(stderr=True).status("Loads TensorFlow"):
                import_quietly()
            _COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt as interruption:
        _tell(str(interruption) or "interrupted, nothing was written.")
        return 128 + (received or [signal.SIGINT])[0]
    except Exception as error:
        if received:  # what TensorFlow and Keras made of an interruption in the midst of their own code
            _tell("interrupted. Where something was kept, the same command goes on from there.")
            return 128 + received[0]
        if not isinstance(error, _TOLD_IN_A_LINE):
            raise
        logging.debug("Traceback:", exc_info=True)
        _tell(" ".join(str(error).split()) or type(error).__name__)
        return 1
    return 0


_TOLD_IN_A_LINE = (ValueError, TypeError, OSError, RuntimeError, MemoryError, ModuleNotFoundError)


def _tell(line: str) -> None:
    plain_console(stderr=True).print(f"tf-structprune: {line}")


@contextlib.contextmanager
def _interrupted_by_signals(received: list[int]) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM raise KeyboardInterrupt; which signal it was is appended.

    A process that was told to be deaf to Ctrl-C stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may take signals
        yield
        return

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    heard = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        heard.append(signal.SIGINT)
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


# The packages are imported by the commands that need them: --help and usage errors answer at once.


def _demo(arguments: argparse.Namespace) -> None:
    from tflite_export.compress import CompressSettings, compress_into, load_digits, train_digits
    from tflite_export.write import staged_directory

    settings = CompressSettings(
        sparsity=0.75,
        granularity=("feature_map", "kernel", "intra_kernel"),
        candidates=20,
        tolerance=0.04,  # five of 143 validation images
        epochs=8,
        finetune_batch=64,
        finetune_rate=2e-3,
        seed=arguments.seed,
    )
    with staged_directory(arguments.out, overwrite=arguments.overwrite) as folder:
        data = load_digits(seed=arguments.seed)
        model = train_digits(data, seed=arguments.seed)
        report = compress_into(
            folder, model, data, settings=settings, verbose=_level(arguments), report=arguments.report
        )
    _print(report, arguments.out)


def _compress(arguments: argparse.Namespace) -> None:
    from tflite_export.compress import check_data, compress, load_model, objective_of

    settings, device = _settings(arguments), device_from(arguments)
    model = load_model(arguments.model)
    loaded = _data(arguments, settings.seed, model)
    objective = objective_of(arguments.loss, arguments.score)
    data, task = check_data(loaded, model, settings, objective)
    length = settings.retraining(data.samples)
    plain_console().print(f"Task: {task}. Retraining after each stage: {length}.")
    report = compress(
        model,
        loaded,
        arguments.out,
        settings=settings,
        overwrite=arguments.overwrite,
        verbose=_level(arguments),
        device=device,
        loss=objective.loss,
        score=objective.score,
        report=arguments.report,
    )
    _print(report, arguments.out)


def _level(arguments: argparse.Namespace) -> int:
    """How much is told: nothing, a line a stage and epoch, or all."""
    return 0 if arguments.quiet else 1 + arguments.verbose


def _data(arguments: argparse.Namespace, seed: int, model: Any) -> Any:
    """The data that an option names."""
    from tflite_export.compress import load_data

    return load_data(arguments.data, seed=seed, model=model, skip_corrupt=arguments.skip_corrupt)


def _print(report: Any, out: str) -> None:
    from tf_structprune_cli._print import print_report

    console = plain_console()
    print_report(report, console)
    console.print(f"Written to {out}")
    pages = [Path(out) / name for name in ("report.html", "report.md")]
    if shown := next((page for page in pages if page.is_file()), None):
        console.print(f"Report: {shown}")


def _settings(arguments: argparse.Namespace) -> Any:
    """The settings that were asked for."""
    from tflite_export.compress import CompressSettings

    names = {"budget", *(field.name for field in dataclasses.fields(CompressSettings))}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    _check_allocation(arguments)
    return CompressSettings.of({**given, "fixed_point": _recipe(arguments)})


def _check_allocation(arguments: argparse.Namespace) -> None:
    """Refuse to allocate what is not asked for."""
    for name in ("allocation", "floor"):
        if name in arguments and not {"budget", "smallest"} & set(vars(arguments)):
            raise ValueError(
                f"--{name} says how a budget is allocated. Received: --{name} {getattr(arguments, name)} without "
                "--budget. Add e.g. --budget macs=0.5."
            )


def _recipe(arguments: argparse.Namespace) -> Any:
    """The word lengths that were asked for, None without any."""
    from tf_structprune.fixed_point import FixedPoint

    names = ("weight_bits", "signal_bits", "shared", "sharing", "entropy")
    words = {name: getattr(arguments, name) for name in names}
    words = {name: value for name, value in words.items() if value is not None}
    kinds = {"power_of_two": arguments.power_of_two, "per_channel": arguments.per_channel}
    if arguments.recipe is not None:
        if words or any(kinds.values()):
            raise ValueError(
                f"--recipe says all about fixed point. Received: {arguments.recipe} beside other options of it. "
                "Change the file, or leave it out."
            )
        return FixedPoint.from_json(_text_of(Path(arguments.recipe)))
    return FixedPoint(**words, **kinds) if words or any(kinds.values()) else None


def _text_of(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(
            f"No recipe there. Received: {path}. Write one with tf-structprune sensitivity, or FixedPoint.to_json."
        )
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no JSON text. Received: {error}. Write a recipe with tf-structprune sensitivity."
        ) from error


def _inspect(arguments: argparse.Namespace) -> None:
    from tf_structprune.graph import trace
    from tflite_export.compress import load_model

    model = load_model(arguments.model)
    graph = trace(model, **{name: value for name, value in vars(arguments).items() if name in TRACE_SETTINGS})
    table = Table(title=f"{graph.model_name}: {graph.parameters:,} parameters, {graph.macs:,} MACs")
    for column in ("layer", "kind", "kernel", "weights", "MACs", "may be pruned"):
        table.add_column(column, justify="right" if column in ("weights", "MACs") else "left", overflow="fold")
    for layer in graph.layers:
        shape = "x".join(str(size) for size in layer.kernel_shape)
        state = _what_may_go(graph, layer)
        table.add_row(layer.name, layer.kind, shape, f"{layer.weights:,}", f"{layer.macs:,}", state)
    console = plain_console()
    console.print(table)
    console.print(str(graph))
    if arguments.storage:
        console.print(storage_table(model))


def _pack(arguments: argparse.Namespace) -> None:
    from tf_structprune.storage import save

    if Path(arguments.out).suffix == TFLITE:
        told = pack_tflite(arguments.model, arguments.out, arguments.pack, overwrite=arguments.overwrite)
        plain_console().print(told)
        return
    plain_console().print(str(save(arguments.model, arguments.out, overwrite=arguments.overwrite)))


def _unpack(arguments: argparse.Namespace) -> None:
    from tf_structprune.storage import load

    if Path(arguments.file).suffix == TFLITE:
        plain_console().print(f"{unpack_tflite(arguments.file, arguments.out, overwrite=arguments.overwrite)}")
        return
    plain_console().print(f"{load(arguments.file, arguments.out, overwrite=arguments.overwrite)}")


def _what_may_go(graph: Any, layer: Any) -> str:
    """What of a layer may be removed, in words."""
    groups = [group for group in graph.groups if layer.name in group.producers]
    if not layer.prunable:
        return f"no: {layer.reason}"
    if any(group.prunable for group in groups):
        return "yes"
    return f"{'no' if layer.is_depthwise else 'not its channels, only kernels'}: {groups[0].reason}"


def _report(arguments: argparse.Namespace) -> None:
    from tf_structprune_cli._report import run_report

    run_report(arguments)


def _sensitivity(arguments: argparse.Namespace) -> None:
    from tf_structprune_cli._sensitivity import run_sensitivity

    run_sensitivity(arguments)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": _demo,
    "compress": _compress,
    "inspect": _inspect,
    "sensitivity": _sensitivity,
    "pack": _pack,
    "unpack": _unpack,
    "benchmark": run_benchmark,
    "report": _report,
}
