"""The report of `compress`, as people read it in a terminal."""

from rich.console import Console
from rich.table import Table

from tf_structprune.allocation import Allocation, told_floor
from tflite_export.bench import Multiplications
from tflite_export.compress import CompressReport, MemoryFigures, NpuFigures, figures_of


def print_report(report: CompressReport, console: Console) -> None:
    """Print what became of each stage, and the figures before and after."""
    table = Table(title=f"{100 * report.sparsity:.1f} % of the prunable weights removed")
    table.add_column("")
    for column in ("before", "after", "before / after"):
        table.add_column(column, justify="right")
    for figure in figures_of(report):
        table.add_row(*figure.row(report))
    console.print(table)
    if report.device:
        console.print(f"Latencies are of {report.device}.")
    metric = report.metric
    if report.steps:
        _print_steps(report, console)
    for stage in report.stages:
        if stage.allocation is not None and not report.steps:
            _print_allocation(stage.allocation, report.settings.floor, console)
        if not stage.accepted:
            console.print(
                f"Not reached: {stage.granularity} at sparsity {stage.sparsity:.3f} left a validation {metric.name} of "
                f"{metric.told(stage.after)}, beyond the tolerance; it was undone.",
            )  # fmt: skip
    _print_fixed_point(report, console)
    _print_validation(report, console)
    _print_memory(report.memory, console)
    if report.packing is not None:
        console.print(f"Packed weights: {report.packing}")
    if report.micro_reason is not None:
        console.print(f"No files for microcontrollers: {report.micro_reason}")
    for note in report.bundle_notes:
        console.print(f"Project for {note}")
    _print_npu(report.npu, console)
    if report.multiplications is not None:
        _print_multiplications(report.multiplications, console)


def _print_steps(report: CompressReport, console: Console) -> None:
    table = Table(title="Steps to the smallest model")
    for column in ("step", "MACs", "int8 bytes", "latency (us)", f"validation {report.metric.name}", ""):
        table.add_column(column, justify="left" if column in ("step", "") else "right")
    for step in report.steps:
        figures = f"{step.macs:,}", f"{step.flash_bytes:,}", f"{step.latency_us:,.1f}", report.metric.told(step.value)
        table.add_row(step.name, *figures, step.outcome)
    console.print(table)


def _print_allocation(allocation: Allocation, floor: float, console: Console) -> None:
    asked = "; ".join(f"{spent.budget.kind} of at most {spent.budget.asked}" for spent in allocation.spent)
    table = Table(title=f"{asked}, {allocation.method}")
    for column in ("group", "units", "kept"):
        table.add_column(column, justify="left" if column == "group" else "right", overflow="fold")
    for name, kept in allocation.kept.items():
        table.add_row(name, f"{allocation.units[name]:,}", f"{kept:,}")
    console.print(table)
    for spent in allocation.spent:
        console.print(f"{spent.budget.kind}: {spent}")
    if allocation.floor < floor:
        console.print(told_floor(floor, allocation.floor))


def _print_fixed_point(report: CompressReport, console: Console) -> None:
    stage, metric = report.fixed_point, report.metric
    if stage is None:
        return
    told = f"{stage.recipe.weight_bits}-bit weights, {stage.recipe.signal_bits}-bit signals"
    if stage.recipe.layers:
        told += f", exceptions for {len(stage.recipe.layers)} names"
    before, after = metric.told(stage.before), metric.told(stage.after)
    if not stage.accepted:
        console.print(
            f"Not reached: fixed point ({told}) left a validation {metric.name} of {after}, beyond the tolerance; "
            "the integer file is TensorFlow's int8.",
        )  # fmt: skip
        return
    console.print(
        f"Fixed point: {told}; validation {metric.name} {before} before retraining, {after} after.",
    )
    for name, agreement in report.exact.items():
        same = "bit for bit alike" if agreement.skipped is None else f"compared, except: {agreement.skipped}"
        top1 = "" if agreement.xnnpack_top1 is None else f", the same class on {100 * agreement.xnnpack_top1:.1f} %"
        console.print(
            f"{name}: LiteRT, TFLite Micro and NumPy {same} on {agreement.samples} samples; XNNPACK at most "
            f"{agreement.xnnpack_steps} steps apart{top1}.",
        )  # fmt: skip
    packed = {"Two weights in a byte": stage.int4, "Weights as indices into tables, TFLM only": stage.lut}
    for title, file in packed.items():
        if file is not None:
            arena = "not measured" if file.arena_bytes is None else f"{file.arena_bytes:,} bytes"
            console.print(f"{title}: {file.size_bytes:,} bytes, TFLM arena {arena}.")


def _print_validation(report: CompressReport, console: Console) -> None:
    """How the integer file was judged, and what it took to make it."""
    found, metric = report.validation, report.metric
    if len(found.attempts) > 1:
        for attempt in found.attempts:
            told = attempt.reason if attempt.value is None else f"validation {metric.name} {metric.told(attempt.value)}"
            console.print(f"Integer file, {attempt.name}: {told}")
    line = (
        f"The integer file's validation {metric.name} is {metric.told(found.compressed_int8)}, the given model's "
        f"{metric.told(found.dense_float)}"
    )
    if found.interval is not None:
        low, high = (metric.signed(end) for end in (found.interval.low, found.interval.high))
        line += f": {metric.loss} {low} to {high} with 95 % confidence, from {found.interval.samples:,} samples"
        if found.samples_to_tell is not None and found.samples_to_tell > found.interval.samples:
            asked = report.tolerance
            told = asked if isinstance(asked, str) else metric.difference(asked)
            line += f"; about {found.samples_to_tell:,} would tell a tolerance of {told}"
    console.print(f"{line}.")


_MEMORY_ROWS = {
    "weights_bytes": "flash: weights",
    "biases_bytes": "flash: biases",
    "other_bytes": "flash: other constants",
    "overhead_bytes": "flash: flatbuffer overhead",
    "tflm_arena_bytes": "RAM: TFLM arena, measured",
    "activation_peak_bytes": "RAM: live activations, computed",
}


def _print_memory(memory: MemoryFigures, console: Console) -> None:
    before, after = memory.baseline, memory.compressed
    if before is None or after is None:
        return
    table = Table(title="Memory of the int8 file (bytes)")
    table.add_column("")
    for column in ("before", "after"):
        table.add_column(column, justify="right")
    for name, title in _MEMORY_ROWS.items():
        figures = (getattr(side, name) for side in (before, after))
        table.add_row(title, *("not measured" if figure is None else f"{figure:,}" for figure in figures))
    console.print(table)


def _print_npu(npu: NpuFigures, console: Console) -> None:
    before, after = npu.baseline, npu.compressed
    if before is None or after is None:
        console.print(f"No NPU estimate: {npu.reason}")
        return
    on_cpu = ", ".join(f"{count} {name}" for name, count in after.cpu_operators.items()) or "none"
    console.print(
        f"{after.accelerator}, estimated by Vela {after.vela_version}: {before.total_cycles:,} -> "
        f"{after.total_cycles:,} cycles, {before.inference_us:,.1f} -> {after.inference_us:,.1f} us at "
        f"{after.clock_hz / 1e6:.0f} MHz, SRAM {before.sram_bytes:,} -> {after.sram_bytes:,} bytes; "
        f"operators left on the CPU: {on_cpu}",
    )  # fmt: skip


def _print_multiplications(section: Multiplications, console: Console) -> None:
    table = Table(title="Multiplications of kernel-pruned layers: direct / im2col / FFT")
    table.add_column("layer", overflow="fold")
    for column in ("kernels kept", "direct", "im2col", "FFT"):
        table.add_column(column, justify="right")
    for layer in section.layers:
        counts = (f"{count:,}" for count in (layer.direct, layer.im2col, layer.fft))
        table.add_row(layer.name, f"{layer.kept_kernels:,} of {layer.kernels:,}", *counts)
    console.print(table)
    console.print(section.note)
