"""How well the files of a run agree, and what else there is to say of it, in words."""

from tflite_export.compress._report import CompressReport
from tflite_export.report import Fact


def agreement_of(report: CompressReport) -> tuple[Fact, ...]:
    """What was compared with what, and what was found; what was not measured is left out."""
    found = report.verification
    facts = [
        Fact(
            "float file with Keras",
            f"largest difference {found.float_error:.2g} of the outputs, at most {found.float_bound:.2g} allowed, on "
            f"{found.samples:,} samples",
        )
    ]
    if found.int8_top1 is not None:
        bound = f"at least {100 * found.int8_top1_bound:.0f} % asked for"
        facts.append(Fact("integer file with Keras", f"the same decision on {100 * found.int8_top1:.1f} %, {bound}"))
    if found.int8_error is not None:
        facts.append(Fact("integer file with Keras", f"error {100 * found.int8_error:.2g} % of the range of outputs"))
    if found.xnnpack_steps is not None:
        facts.append(Fact("XNNPACK with reference kernels", f"at most {found.xnnpack_steps} steps of int8 apart"))
    if found.tflm_steps is not None:
        facts.append(
            Fact("TFLite Micro with reference kernels", f"at most {found.tflm_steps} steps of the scores apart")
        )
    if found.tflm_skipped is not None:
        facts.append(Fact("TFLite Micro with reference kernels", f"not compared: {found.tflm_skipped}"))
    for name, exact in report.exact.items():
        same = "bit for bit alike" if exact.skipped is None else f"compared, except: {exact.skipped}"
        facts.append(Fact(f"{name} in LiteRT, TFLite Micro and NumPy", f"{same}, on {exact.samples:,} samples"))
    return tuple(facts)


def notes_of(report: CompressReport) -> tuple[Fact, ...]:
    """Layers that stayed whole and why, what lowering did, what is missing and why."""
    facts = [Fact(each.name, f"left whole: {each.reason}. {each.remedy}.") for each in report.skipped_layers]
    facts += [Fact("lowering", line) for line in report.lowered]
    if (stage := report.fixed_point) is not None:
        words = f"{stage.recipe.weight_bits}-bit weights, {stage.recipe.signal_bits}-bit signals"
        facts.append(Fact("fixed point", f"{words}, {'accepted' if stage.accepted else 'taken back'}"))
    if report.packing is not None:
        facts.append(Fact("packed weights", report.packing))
    if report.micro_reason is not None:
        facts.append(Fact("no files for microcontrollers", report.micro_reason))
    before, after = report.npu.baseline, report.npu.compressed
    if before is not None and after is not None:
        told = f"{before.total_cycles:,} to {after.total_cycles:,} cycles, estimated by Vela {after.vela_version}"
        facts.append(Fact(after.accelerator, told))
    return tuple(facts)
