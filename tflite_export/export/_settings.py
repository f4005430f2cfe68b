"""How a model is exported."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from tf_structprune.fixed_point import FixedPoint
from tflite_export.bench import check_accelerator
from tflite_export.bundle import Bundle, check_bundles
from tflite_export.devices import HOST, Device
from tflite_export.file import EndType
from tflite_export.lower import Target, check_target
from tflite_export.pack import Packing, check_packing
from tflite_export.quantize import FORMATS, Calibration, Quantize, check_calibration
from tflite_export.verify import check_top1_agreement
from tflite_export.write import check_identifier

Micro = Literal["auto", "require", "none"]
"""Whether the files are for microcontrollers too."""

Lower = Literal["auto", "none"]
"""Whether masked-out work is left out of the files where that is measured to pay."""


Pack = Literal["none"] | Packing
"""Whether and how weights are packed."""


@dataclass(frozen=True)
class ExportSettings:
    """Settings of one export; `export` also takes each by its name.

    Attributes:
        quantize: beside the float file, "int8" for a full-integer one; "int16x8" for one with signals of 16 bits, where
            8 are too few; "float16" or "dynamic" (int8 weights) for one that takes and gives floats, for phones alone;
            "none" for none; or a `FixedPoint` recipe: words of its lengths, on grids fitted to the representative data.
            A model from `to_fixed_point` is written on its own grids.
        calibration: what the ranges of integer signals are made from: "mse", the ranges and biases with which the file
            errs least on the representative data, or "minmax", their least and largest values, as TensorFlow's
            converter does it. Of files without such ranges it is not looked at.
        name: stem of the file names and of the C++ names; a C++ identifier.
        top1_agreement: smallest fraction of samples where int8 and Keras must name the same class.
        tflm_steps: largest difference of TFLite Micro from LiteRT's reference kernels, see `verify`.
        micro: "require" writes `micro/` and runs TFLite Micro, when it is installed, and refuses a model with operators
            that it lacks; "auto" then writes the files for phones alone, and `micro_reason` of the summary says why;
            "none" does neither. True stands for "require", False for "none".
        lower: "auto" turns what kernel and strided masks left out into less work in the `.tflite` files, layer
            by layer where that is measured to pay in that file's number format, see `lower.lower`; "none"
            leaves zeros, and so do dense layers in fixed point, and all layers with a weight step a channel. The
            `.keras` file is the model as given, either way.
        target: what the layers are lowered for, "cpu" or "micro".
        device: what times the forms of layers for target "cpu"; by default this machine with one thread.
        io: what integer files take and give: "int8" for the integers of their signals, "uint8" for bytes, "float32" for
            real numbers.
        names: whether integer files name their inputs and outputs and have a signature, as some hosts want; runtimes on
            devices read neither.
        pack: "none", or how the integer file's weights are packed in one more file, for TFLite Micro alone, see
            `pack.pack`: "auto" where file and decoder together get smaller, by "huffman", "bitmap", "lut" or "own"
            anyway, and then `micro/` holds it.
        bundle: ecosystems, some of "cmake", "esp-idf", "zephyr", "arduino": for each there is a project in `micro/`,
            which tests itself on the device with recorded samples.
        npu: Ethos-U for which Vela, when installed, estimates the int8 file, see `bench.ACCELERATORS`; None for
            no estimate. Vela's failures are no error: `npu_reason` of the summary has them.

    Raises:
        ValueError: a value that is none of those.
    """

    quantize: Quantize | FixedPoint = "int8"
    calibration: Calibration = "mse"
    name: str = "model"
    top1_agreement: float = 0.9
    tflm_steps: int = 1
    micro: Micro | bool = "auto"
    lower: Lower = "auto"
    target: Target = "cpu"
    device: Device = HOST
    io: EndType = "int8"
    names: bool = False
    pack: Pack = "none"
    bundle: tuple[Bundle, ...] = ()
    npu: str | None = "ethos-u55-128"

    def __post_init__(self) -> None:
        if not isinstance(self.quantize, FixedPoint) and self.quantize not in FORMATS:
            told = ", ".join(map(repr, FORMATS))
            raise ValueError(f"quantize must be {told} or a FixedPoint. Received: quantize={self.quantize!r}.")
        check_calibration(self.calibration)
        check_io(self.io)
        if self.io == "uint8" and self.quantize == "int16x8":
            raise ValueError(
                "Only signals of 8 bits go in and out as bytes. Received: io='uint8' with quantize='int16x8'. Use "
                "io='float32', or leave it out."
            )
        if self.lower not in ("auto", "none"):
            raise ValueError(f"lower must be 'auto' or 'none'. Received: lower={self.lower!r}.")
        check_micro(self.micro)
        if self.pack != "none":
            check_packing(self.pack)
            self._check_packed()
        check_bundles(self.bundle)
        if self.bundle and not self.runs_micro:
            raise ValueError(
                f"Projects are for microcontrollers. Received: bundle={self.bundle!r} with micro={self.micro!r}. Use "
                "micro='auto'."
            )
        check_identifier(self.name)
        check_top1_agreement(self.top1_agreement)
        check_target(self.target)
        if self.npu is not None:
            check_accelerator(self.npu)

    def _check_packed(self) -> None:
        """Refuse to pack what no microcontroller runs."""
        if self.quantize in ("none", "float16", "dynamic") or not self.runs_micro:
            raise ValueError(
                f"Packed weights are those of an integer file, and TFLite Micro alone runs it. Received: "
                f"pack={self.pack!r} with quantize={self.quantize!r}, micro={self.micro!r}. Use quantize='int8', "
                "micro='auto'."
            )

    @property
    def runs_micro(self) -> bool:
        """Whether TFLite Micro is asked for at all."""
        return self.micro not in ("none", False)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Settings from options by name.

        Raises:
            TypeError: an unknown name.
            ValueError: a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                near = difflib.get_close_matches(name, known)
                raise TypeError(f"Unknown option of an export. Received: {name}. Use {' or '.join(near or known)}.")
        return cls(**options)


def check_io(io: EndType) -> None:
    """Refuse another type of inputs and outputs.

    Raises:
        ValueError: it is none of `EndType`.
    """
    if io not in get_args(EndType):
        raise ValueError(f"io must be {', '.join(map(repr, get_args(EndType)))}. Received: io={io!r}.")


def check_micro(micro: Micro | bool) -> None:
    """Refuse another choice.

    Raises:
        ValueError: it is none of `Micro`, True or False.
    """
    if micro not in ("auto", "require", "none", True, False):
        raise ValueError(f"micro must be 'auto', 'require' or 'none'. Received: micro={micro!r}.")
