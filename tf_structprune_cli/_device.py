"""On which device files are measured: the options of the command line, and what they make."""

import argparse
from typing import Any

from rich.table import Table

from tf_structprune_cli._console import plain_console

_OPTIONS = ("serial", "binary", "app", "delegate", "rounds", "core", "library", "include")


def add_device(parser: argparse.ArgumentParser) -> None:
    """The options that name a device; without one the namespace has no value."""

    def add(name: str, **settings: Any) -> None:
        parser.add_argument(name, default=argparse.SUPPRESS, **settings)

    add(
        "--device",
        metavar="host|android|qemu",
        help="where files are measured: this machine, a phone that adb reaches, or a Cortex-M that QEMU emulates, "
        "whose instructions are counted (default: host)",
    )
    add("--serial", metavar="SERIAL", help="of the phone, where several are connected")
    add("--binary", metavar="FILE", help="LiteRT's benchmark_model, made for the phone; it is pushed there once")
    add("--app", action="store_true", help="instead, TFLite's official benchmark app, which is installed on the phone")
    add("--delegate", metavar="NAME", help="who runs files on a phone: xnnpack, gpu, npu or none (default: xnnpack)")
    add("--rounds", type=int, metavar="N", help="among how many rounds a phone's inferences are divided (default: 5)")
    add("--core", metavar="NAME", help="that QEMU emulates: m3, m4, m7, m33 or m55 (default: m4)")
    add("--tflm-lib", dest="library", metavar="FILE", help="TFLite Micro's library, which you have built for that core")
    add(
        "--tflm-include",
        dest="include",
        type=_listed_paths,
        metavar="DIR[,DIR...]",
        help="its headers: TFLite Micro's tree, and the folders of flatbuffers, gemmlowp and ruy where its makefile "
        "has not downloaded them",
    )


def device_from(arguments: argparse.Namespace) -> Any:
    """The device that the options name.

    Raises:
        DeviceError, ValueError: as `tflite_export.devices.device_of`.
    """
    from tflite_export.devices import device_of

    given = {name: getattr(arguments, name, None) for name in _OPTIONS}
    return device_of(getattr(arguments, "device", "host"), **given)


def add_benchmark(commands: Any) -> argparse.ArgumentParser:
    """The command `benchmark`."""
    benchmark: argparse.ArgumentParser = commands.add_parser(
        "benchmark",
        help="what .tflite files take, here, on a phone or on an emulated microcontroller",
        description="Time each FILE, all in turns, on this machine or on phones, and tell latency, time to load and "
        "memory. A phone is measured by LiteRT's own benchmark tool; temperature and clock are watched, and what is "
        "done before a phone is lost is kept. Under QEMU instructions are counted, outputs are compared with the NumPy "
        "reference, and flash is told by what it is for.",
    )
    add = benchmark.add_argument
    add("files", metavar="FILE", nargs="+", help="a .tflite file")
    add_device(benchmark)
    add("--threads", default="1", metavar="N[,N...]", help="CPU threads; of several, each in turn (default: 1)")
    add("--runs", type=int, default=100, metavar="N", help="timed inferences of each file (default: 100)")
    add("--operators", action="store_true", help="also what each operator takes")
    add("--json", default=argparse.SUPPRESS, metavar="OUT", help="write all figures to OUT too; it must not exist")
    add("--overwrite", action="store_true", help="replace an OUT that is there")
    return benchmark


def run_benchmark(arguments: argparse.Namespace) -> None:
    """Measure, print, and write.

    Raises:
        DeviceError, FileExistsError, FileNotFoundError, ValueError: as the measurement has it.
    """
    from tflite_export.bench import measure_on
    from tflite_export.file import open_file
    from tflite_export.write import check_free, write_whole

    out = getattr(arguments, "json", None)
    if out is not None:  # before an hour of measurements
        check_free(out, overwrite=arguments.overwrite)
    console = plain_console()
    files = [open_file(path) for path in arguments.files]  # before a phone is asked for
    report = measure_on(_devices(arguments), files, runs=arguments.runs, operators=arguments.operators)
    for table in _tables(report):
        console.print(table)
    for line in dict.fromkeys([*(note for each in report.figures for note in each.notes), *report.failed]):
        console.print(line)
    if out is not None:
        console.print(f"Written to {write_whole(out, report.to_json().encode(), overwrite=arguments.overwrite)}")


def _devices(arguments: argparse.Namespace) -> list[Any]:
    """A device for each phone and number of threads."""
    from tflite_export.devices import device_of

    text = getattr(arguments, "device", "host")
    name, _, which = text.partition(":")
    options = {key: getattr(arguments, key, None) for key in _OPTIONS}
    serials: list[Any] = [None]
    if name == "android":
        text, serials = name, _serials(options["serial"], which)
    counts = dict.fromkeys(_listed(arguments.threads) or [arguments.threads])
    return [
        device_of(text, **{**options, "serial": serial or options["serial"], "threads": _threads(name, count)})
        for serial in serials
        for count in counts
    ]


def _serials(asked: str | None, of_device: str) -> list[Any]:
    """The phones that are named, by --serial or behind the colon of --device; None for the only one."""
    if asked and of_device and _listed(asked) != _listed(of_device):
        raise ValueError(
            f"Phones are named once. Received: --device android:{of_device} beside --serial {asked}. Leave one out."
        )
    return list(dict.fromkeys(_listed(asked or of_device))) or [None]


def _threads(device: str, text: str) -> int | None:
    """A number of threads; an emulated core has one, which is no option of it."""
    return None if device == "qemu" and _count(text) == 1 else _count(text)


def _listed(text: str) -> list[Any]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _listed_paths(text: str) -> tuple[str, ...]:
    return tuple(_listed(text))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"--threads takes counts. Received: --threads {text}. Use e.g. --threads 1,4.")
    return int(text)


def _tables(report: Any) -> list[Table]:
    """The files of each device, then the operators of each file."""
    devices = dict.fromkeys(each.device for each in report.figures)
    rows = {name: [each for each in report.figures if each.device == name] for name in devices}
    tables = [(_times if each[0].program is None else _counts)(name, each) for name, each in rows.items()]
    return [*tables, *(_operators(each) for each in report.figures if each.operators)]


def _times(device: str, rows: list[Any]) -> Table:
    table = Table(title=f"{device}: microseconds")
    table.add_column("file", overflow="fold")
    for column in ("median", "p10", "p90", "load", "memory (KiB)"):
        table.add_column(column, justify="right")
    for each in rows:
        times = (each.latency_us, each.latency_us_p10, each.latency_us_p90, each.init_us)
        memory = "" if each.peak_bytes is None else f"{each.peak_bytes / 1024:,.0f}"
        table.add_row(each.file, *("" if us is None else f"{us:,.1f}" for us in times), memory)
    return table


def _counts(device: str, rows: list[Any]) -> Table:
    table = Table(title=device)
    table.add_column("file", overflow="fold")
    for column in ("instructions", "arena", "stack", "flash", "model", "operators", "runtime (bytes)"):
        table.add_column(column, justify="right")
    for each in rows:
        size = each.program
        memory = (each.arena_bytes, each.stack_bytes)
        figures = (each.instructions, *memory, size.flash_bytes, size.model, size.operators, size.runtime)
        table.add_row(each.file, *(f"{figure:,}" for figure in figures))
    return table


def _operators(figures: Any) -> Table:
    table = Table(title=f"{figures.file}, {figures.device}")
    whole = sum(each.us for each in figures.operators) or 1.0
    counted = figures.instructions / figures.latency_us if figures.instructions else None
    named = any(each.output for each in figures.operators)  # slim files have no names
    table.add_column("operator", overflow="fold")
    if named:
        table.add_column("output", overflow="fold")
    for column in ("instructions" if counted else "microseconds", "%"):
        table.add_column(column, justify="right")
    for each in figures.operators:
        cost = f"{each.us * counted:,.0f}" if counted else f"{each.us:,.1f}"
        table.add_row(each.name, *([each.output] if named else []), cost, f"{100 * each.us / whole:.1f}")
    return table
