"""A phone as a device."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from tflite_export.devices._adb import Adb, DeviceError, phone_of
from tflite_export.devices._alone import alone_on
from tflite_export.devices._measurement import Measurement
from tflite_export.devices._phone import Phone, Rounds
from tflite_export.devices._tool import FOLDER, check_binary, tool_on
from tflite_export.file import TFLiteFile

Delegate = Literal["xnnpack", "gpu", "npu", "none"]
"""Who runs a file on a phone: its cores with XNNPACK, the graphics processor, the neural one, or plain C++ kernels."""
_NAMES = {"xnnpack": "XNNPACK", "gpu": "its GPU", "npu": "its NPU", "none": "plain kernels"}


@dataclass(frozen=True)
class Android:
    """A phone, by `adb` and TFLite's own benchmark tool.

    In every round the tool runs each file once, in an order drawn anew, for its share of the inferences; before and
    after it temperature and clock are read. Where the clock fell by 15 % the phone is left to cool down. A phone that
    is lost in a round is waited for; where it does not come back, or the tool fails, the rounds that are done are the
    result, with a note. Processes of one user that measure one phone wait for each other. Files lie in
    `/data/local/tmp/tf_structprune`, under their checksums, and are removed in the end; the tool stays.

    Attributes:
        serial: of the phone; None for the only one that is connected.
        binary: path of the native tool on this machine, `benchmark_model` of LiteRT, made for the phone.
        app: instead, the official benchmark app, which is installed.
        threads: number of CPU threads, 1 or more.
        warmup: number of untimed inferences before those that are timed, of each file in each round, 0 or more.
        delegate: who runs the files.
        rounds: among how many rounds the inferences are divided, 1 or more.
        cooldown_s: seconds of rest after a round in which the clock fell.
        patience_s: seconds for which a phone that was lost is waited for.

    Raises:
        ValueError: a value out of its range, or binary and app both.
    """

    serial: str | None = None
    binary: str | os.PathLike[str] | None = None
    app: bool = False
    threads: int = 1
    warmup: int = 3
    delegate: Delegate = "xnnpack"
    rounds: int = 5
    cooldown_s: float = 30.0
    patience_s: float = 30.0

    def __post_init__(self) -> None:
        if self.binary is not None:
            object.__setattr__(self, "binary", os.fspath(self.binary))
        if self.app and self.binary is not None:
            raise ValueError(
                f"A phone runs the app or a binary. Received: app=True beside binary={self.binary!r}. Leave one out."
            )
        if self.delegate not in get_args(Delegate):
            raise ValueError(
                f"Unknown delegate. Received: delegate={self.delegate!r}. Use one of: {', '.join(get_args(Delegate))}."
            )
        for name, least in {"threads": 1, "warmup": 0, "rounds": 1, "cooldown_s": 0, "patience_s": 0}.items():
            if not least <= (value := getattr(self, name)) < math.inf:
                raise ValueError(
                    f"{name} must be at least {least}. Received: {name}={value}. Android() has {name}="
                    f"{getattr(Android, name)}."
                )

    @property
    def description(self) -> str:
        """See `MeasuringDevice`; a phone that is not there is told by its serial number alone."""
        try:
            adb = phone_of(self.serial)
            serial, model = adb.serial, adb.shell("getprop ro.product.model")[1].strip()
        except DeviceError:
            serial, model = self.serial or "none", ""
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        tool = "benchmark app" if self.app else "benchmark_model"
        return f"phone {model} ({serial})".replace("  ", " ") + f", {tool}, {_NAMES[self.delegate]}, {threads}"

    def found(self) -> Self:
        """The same with the serial number of the phone that is connected; its tool is there and made for it.

        Raises:
            DeviceError: there is no phone that can be used, or no tool.
        """
        check_binary(self._binary, app=self.app)
        adb = phone_of(self.serial)
        with alone_on(adb.serial):
            tool_on(adb, self._binary)
        return replace(self, serial=adb.serial)

    def latencies_us(self, files: Sequence[TFLiteFile], *, runs: int) -> NDArray[np.float64]:
        """See `Device`; inputs are random.

        The tool tells no single inferences: a row holds the medians of the rounds, one after the other and again from
        the first, until there are `runs` of them. All of its inferences, rounds times the share of each, are at least
        as many.
        """
        rounds = self._rounds(files, runs)
        return np.array([np.resize(rounds.medians_us(at), runs) for at in range(len(files))]).reshape(len(files), runs)

    def measure(self, files: Sequence[TFLiteFile], *, runs: int, operators: bool = False) -> tuple[Measurement, ...]:
        """See `MeasuringDevice`; `runs` inferences are divided among the rounds, and each round has its median."""
        rounds = self._rounds(files, runs, operators=operators)
        return tuple(rounds.measurement(at) for at in range(len(files)))

    @property
    def _binary(self) -> str | None:
        return None if self.binary is None else os.fspath(self.binary)

    def _rounds(self, files: Sequence[TFLiteFile], runs: int, *, operators: bool = False) -> Rounds:
        if runs < 1:
            raise ValueError(f"runs must be at least 1. Received: runs={runs}. Use 100 for a steady median.")
        check_binary(self._binary, app=self.app)
        adb, rounds = phone_of(self.serial), min(self.rounds, runs)
        paths = [f"{FOLDER}/{hashlib.sha256(file.data).hexdigest()}.tflite" for file in files]
        with alone_on(adb.serial):
            phone = self._phone(adb, runs=math.ceil(runs / rounds))
            with phone.holding({path: file.data for path, file in zip(paths, files, strict=True)}):
                return phone.rounds(paths, rounds, operators=operators)

    def _phone(self, adb: Adb, *, runs: int) -> Phone:
        return Phone(
            adb,
            tool_on(adb, self._binary),
            delegate=self.delegate,
            threads=self.threads,
            warmup=self.warmup,
            runs=runs,
            cooldown_s=self.cooldown_s,
            patience_s=self.patience_s,
        )
