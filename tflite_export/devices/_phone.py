"""Rounds of runs on a phone that may warm up or be lost."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from absl import logging

from tflite_export.devices._adb import Adb, DeviceError, LostError, last_line
from tflite_export.devices._heat import HEAT, Heat, heat_note, heat_of, throttled
from tflite_export.devices._measurement import Measurement, OperatorTime
from tflite_export.devices._tool import FOLDER, App, Said, Tool, common_flags, words
from tflite_export.devices._tool_result import ToolResult, operators_of, result_of, unknown_flags

_FLAGS = {
    "xnnpack": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "npu": ("--use_npu=true", "--use_nnapi=true"),
    "none": ("--use_xnnpack=false",),
}
"""Flags of each delegate; of several a tool knows one, by its age."""
_LEFT_ASIDE = "will not be executed by the delegate"
_IN_PART = "will be partially executed by the delegate"
_PROFILE = f"{FOLDER}/profile.csv"
_LOSSES = 5  # a phone that is lost more often than this in one measurement has a bad cable


@dataclass(frozen=True)
class Round:
    """Each file once.

    Attributes:
        results: one a file.
        remarks: what the tool said of its delegate.
        before: the phone in front of it.
        busy: clock behind each call, in MHz, None where it is not told; idle cores are slow, and that is no fault.
        after: the phone behind it.
    """

    results: tuple[ToolResult, ...]
    remarks: frozenset[str]
    before: Heat
    busy: tuple[float | None, ...]
    after: Heat


@dataclass(frozen=True)
class Rounds:
    """What the rounds gave.

    Attributes:
        rounds: those that are done, in order.
        lost: what was lost, a sentence each.
        operators: of each file, what its operators take; empty where that was not asked for.
    """

    rounds: tuple[Round, ...]
    lost: tuple[str, ...] = ()
    operators: tuple[tuple[OperatorTime, ...], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of all files."""
        remarks = sorted(frozenset().union(*(each.remarks for each in self.rounds)))
        best = fastest_mhz(self.rounds)
        slow = sum(throttled(each.busy, best) for each in self.rounds)
        fell = f"The clock fell by 15 % or more in {slow} of {len(self.rounds)} rounds: the phone was throttled."
        moments = [heat for each in self.rounds for heat in (each.before, *map(_clocked, each.busy), each.after)]
        return (*self.lost, *remarks, *([fell] if slow else []), *heat_note(moments))

    def medians_us(self, at: int) -> list[float]:
        """Of one file, a median a round."""
        return [each.results[at].median_us for each in self.rounds]

    def measurement(self, at: int) -> Measurement:
        """All of one file."""
        mine = [each.results[at] for each in self.rounds]
        inits = [each.init_us for each in mine if each.init_us is not None]
        return Measurement(
            tuple(self.medians_us(at)),
            operators=self.operators[at] if self.operators else (),
            init_us=float(np.median(inits)) if inits else None,
            peak_bytes=max((each.peak_bytes for each in mine if each.peak_bytes is not None), default=None),
            notes=self.notes,
        )


def fastest_mhz(rounds: Sequence[Round]) -> float | None:
    """The fastest clock of some rounds; None where none was told."""
    clocks = [clock for each in rounds for clock in (each.before.clock_mhz, *each.busy, each.after.clock_mhz)]
    return max((clock for clock in clocks if clock is not None), default=None)


def _clocked(mhz: float | None) -> Heat:
    return Heat(clock_mhz=mhz)


@dataclass(frozen=True)
class Phone:
    """A phone with its tool, and how files run on it; see `Android`.

    Attributes:
        adb: the phone.
        tool: what runs a file.
        delegate: who computes.
        threads: of the CPU.
        warmup: untimed inferences of a call.
        runs: timed inferences of a call.
        cooldown_s: rest after a round in which the clock fell.
        patience_s: for how long a lost phone is waited for.
    """

    adb: Adb
    tool: Tool
    delegate: str
    threads: int
    warmup: int
    runs: int
    cooldown_s: float
    patience_s: float

    @contextlib.contextmanager
    def holding(self, files: Mapping[str, bytes]) -> Iterator[None]:
        """Within the block the phone has these files, by path.

        Raises:
            DeviceError: they do not fit.
        """
        try:
            for path, data in files.items():
                if self.adb.size(path) != len(data):
                    self.adb.push(data, path)
                    self.adb.shell(f"chmod 644 {path}")  # the app is another user
            yield
        finally:
            with contextlib.suppress(DeviceError):
                self.adb.shell(f"rm -f {' '.join(files)} {FOLDER}/result.pb {_PROFILE}")

    def rounds(self, paths: Sequence[str], count: int, *, operators: bool) -> Rounds:
        """Run all files in turns, so many times; where that ends early, with the rounds that are done.

        Raises:
            DeviceError: the phone was lost before one round was done, or cannot run the tool.
            ValueError: a file that the phone cannot run.
        """
        rng, done, losses = np.random.default_rng(0), list[Round](), 0
        while len(done) < count:
            try:
                done.append(self._round(paths, rng.permutation(len(paths)).tolist()))
            except (DeviceError, ValueError) as error:
                losses += 1
                if isinstance(error, LostError) and losses <= _LOSSES and self.adb.back(self.patience_s):
                    continue
                if not done:
                    raise
                return Rounds(tuple(done), (f"{len(done)} of {count} rounds are done. {error}",))
            if len(done) < count and throttled(done[-1].busy, fastest_mhz(done)):
                logging.info("The clock of phone %s fell: %.0f s of rest.", self.adb.serial, self.cooldown_s)
                time.sleep(self.cooldown_s)
        if not operators:
            return Rounds(tuple(done))
        try:
            return Rounds(tuple(done), operators=tuple(self._operators(path) for path in paths))
        except (DeviceError, ValueError) as error:
            return Rounds(tuple(done), (f"The operators are not told. {error}",))

    def _round(self, paths: Sequence[str], order: Sequence[int]) -> Round:
        before = heat_of(self.adb.shell(HEAT)[1])
        said = {at: self._run(paths[at]) for at in order}
        after = heat_of(self.adb.shell(HEAT)[1])
        return Round(
            results=tuple(self._result(said[at]) for at in range(len(paths))),
            remarks=frozenset().union(*(self._remarks(each) for each in said.values())),
            before=before,
            busy=tuple(heat_of(said[at].log).clock_mhz for at in order),
            after=after,
        )

    def _run(self, path: str, *more: str) -> Said:
        flags = common_flags(path, runs=self.runs, warmup=self.warmup, threads=self.threads)
        return self.tool.run(self.adb, [*flags, *_FLAGS[self.delegate], *more])

    def _result(self, said: Said) -> ToolResult:
        result = result_of(said.result, said.log)
        if result is None:
            raise ValueError(
                f"The benchmark tool tells no time on phone '{self.adb.serial}'. Received: "
                f"{last_line(words(said.log))!r}. Use LiteRT's benchmark_model, or the benchmark app."
            )
        unknown = unknown_flags(said.log)
        if self.delegate in ("gpu", "npu") and all(flag in unknown for flag in _FLAGS[self.delegate]):
            raise DeviceError(
                f"This benchmark tool has no delegate '{self.delegate}'. Received: it left {unknown.strip()} aside. "
                "Take one that was built with it, or --delegate xnnpack."
            )
        return result

    def _remarks(self, said: Said) -> set[str]:
        """What the tool says of its delegate that makes the time one of something else."""
        if _LEFT_ASIDE in said.log:
            return {f"The delegate '{self.delegate}' runs nothing of a file: its time is the CPU's."}
        if _IN_PART in said.log and self.delegate in ("gpu", "npu"):
            return {f"The delegate '{self.delegate}' runs a part of a file, the CPU the rest."}
        return set()

    def _operators(self, path: str) -> tuple[OperatorTime, ...]:
        """A run of its own, for profiling takes time; of the app, whose files nobody else may read, from its log."""
        flags = ["--enable_op_profiling=true"]
        if isinstance(self.tool, App):
            return operators_of(self._run(path, *flags).log)
        flags += ["--op_profiling_output_mode=csv", f"--op_profiling_output_file={_PROFILE}"]
        self.adb.shell(f"rm -f {_PROFILE}")
        said = self._run(path, *flags)
        profile = self.adb.pull(_PROFILE)
        return operators_of(said.log if profile is None else profile.decode("utf-8", "replace"))
