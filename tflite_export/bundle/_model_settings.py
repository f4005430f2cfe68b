"""`NAME_settings.h`: what firmware must know of a model: shapes, scales, zero points, arena."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tflite_export.file import (
    TFLM_DECODE,
    ModelDescription,
    OperatorDescription,
    TensorDescription,
    activation_peak_bytes,
    identifiers,
)
from tflite_export.write import check_identifier

_C_TYPES = {
    "float32": "float",
    **{f"{sign}int{bits}": f"std::{sign}int{bits}_t" for sign, bits in (("", 8), ("u", 8), ("", 16), ("", 32))},
}
_KIB = 1024
_MVE_CHANNELS = 124  # CH_IN_BLOCK_MVE of CMSIS-NN


def arena_margin_bytes(description: ModelDescription, arena_bytes: int) -> int:
    """What to add to an arena that was measured with the reference kernels on a 64-bit host.

    A tenth of it, for structs that change between versions of TFLite Micro; what CMSIS-NN's int8 kernels ask for,
    with or without vector instructions, and the reference kernels do not: the largest scratch buffer and the sums
    of all dense layers (`*_get_buffer_sizes_s8.c` there); and what fills the last KiB.

    Args:
        description: the model.
        arena_bytes: the measured arena.

    Returns:
        Bytes; the sum with `arena_bytes` is a multiple of 1024.
    """
    int8 = [o for o in description.operators if o.inputs and description.tensors[o.inputs[0]].dtype == "int8"]
    scratch = (_SCRATCH[operator.name](description, operator) for operator in int8 if operator.name in _SCRATCH)
    sums = sum(_sums_bytes(description, operator) for operator in int8 if operator.name == "FULLY_CONNECTED")
    return _multiple(arena_bytes + arena_bytes // 10 + max(scratch, default=0) + sums, _KIB) - arena_bytes


@dataclass(frozen=True)
class End:
    """An input or output of a model, and what it is called in C++.

    Attributes:
        tensor: the tensor.
        place: among the inputs or outputs.
        name: in types and functions: "Input" or "Output", with the end's own name behind it where there are several.
        own: that own name, "" for a single one.
        variable: in programs, e.g. "input_image".
    """

    tensor: TensorDescription
    place: int
    name: str
    own: str
    variable: str


@dataclass(frozen=True)
class Ends:
    """All inputs and outputs of a model.

    Attributes:
        inputs: in the order of the file.
        outputs: in the order of the file.
    """

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]

    @classmethod
    def of(cls, description: ModelDescription, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> "Ends":
        """The ends of a model with names for its inputs and outputs; without them, several are numbered."""
        return cls(_ends("input", description.inputs, inputs), _ends("output", description.outputs, outputs))


def _ends(side: str, tensors: Sequence[TensorDescription], names: Sequence[str]) -> tuple[End, ...]:
    title = side.capitalize()
    if len(tensors) == 1:
        return (End(tensors[0], 0, title, "", side),)
    if names and len(names) != len(tensors):
        raise ValueError(
            f"The model has {len(tensors)} {side}s. Received: names {', '.join(names)}. Name each of them."
        )
    words = [word.lower() for word in identifiers([f"{side}_{name}" for name in names or range(len(tensors))])]
    camels = ["".join(part.capitalize() for part in word.split("_")) for word in words]
    own = [camel.removeprefix(title) for camel in camels]
    return tuple(End(*each) for each in zip(tensors, range(len(tensors)), camels, own, words, strict=True))


def model_settings(
    description: ModelDescription,
    name: str,
    *,
    arena_bytes: int | None,
    tflm_version: str | None = None,
    ends: Ends | None = None,
) -> str:
    """Writes the header with the constants of a model, C++11.

    All is in the namespace `NAME_settings`: for `Input` and `Output` a type, `kInputRank`, `kInputShape`,
    `kInputElements`, `kInputScale` and `kInputZeroPoint` (1 and 0 for floats); `ToInput` and `FromOutput`, which
    go from real numbers to the model's and back; `kArenaBytes`, which the macro `NAME_ARENA_BYTES` replaces. Of several
    inputs or outputs each has all this under its own name: `InputImage`, `OutputAngle`. With packed weights,
    `kDecodedBytes`.

    Args:
        description: the model, with inputs of batch 1.
        name: identifier that starts the names.
        arena_bytes: what `runtime.arena_bytes` measured; None leaves `kArenaBytes` at 0 unless the macro is set.
        tflm_version: version of TFLite Micro that measured.
        ends: its inputs and outputs; by default numbered where there are several.

    Returns:
        Text of `NAME_settings.h`; scales read back as the same float32.

    Raises:
        ValueError: `name` is no C++ identifier, or an input or output that C++ has no type for here.
    """
    check_identifier(name)
    ends = ends or Ends.of(description)
    tensors = "\n".join(map(_tensor, (*ends.inputs, *ends.outputs)))
    conversions = "\n".join((*map(_to_model, ends.inputs), *map(_from_model, ends.outputs)))
    guard, macro = f"{name.upper().rstrip('_')}_SETTINGS_H_", f"{name.upper().rstrip('_')}_ARENA_BYTES"
    return f"""\
// What firmware must know of the model in {name}_data.cc. Written by tf-structprune with that file.
#ifndef {guard}
#define {guard}

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace {name}_settings {{

{tensors}
{conversions}
{_arena(description, macro, arena_bytes, tflm_version)}{_decoded(description, name)}
}}  // namespace {name}_settings

#endif  // {guard}
"""


def _tensor(end: End) -> str:
    side, tensor = end.name, end.tensor
    if tensor.dtype not in _C_TYPES or len(tensor.scales) > 1:
        raise ValueError(
            f"{side} '{tensor.name}': must be one of {', '.join(_C_TYPES)}, with one scale at most. Received: "
            f"{tensor.dtype}, {len(tensor.scales)} scales. Convert with quantize='int8' or 'none'."
        )
    shape = tensor.shape or (1,)
    scale = tensor.scales[0] if tensor.scales else 1.0
    zero_point = tensor.zero_points[0] if tensor.scales else 0
    meaning = "real number = scale * (integer - zero point)" if tensor.scales else "the real number itself"
    return f"""\
// {side}: {meaning}.
using {side}Type = {_C_TYPES[tensor.dtype]};
constexpr std::size_t k{side}Rank = {len(shape)};
constexpr int k{side}Shape[k{side}Rank] = {{{", ".join(map(str, shape))}}};
constexpr std::size_t k{side}Elements = {tensor.elements};
constexpr float k{side}Scale = {float_literal(scale)};
constexpr int k{side}ZeroPoint = {zero_point};
"""


def float_literal(value: float) -> str:
    """The shortest decimal that reads back as the same float32."""
    return f"{np.format_float_scientific(np.float32(value), trim='0')}f"


_QUANTIZE = """\
// A real number as the model takes it: rounded half away from zero and saturated, as TFLite's QUANTIZE does it.
inline ${name}Type To${name}(float real) {
  constexpr float low = std::numeric_limits<${name}Type>::min();
  constexpr float high = std::numeric_limits<${name}Type>::max();
  const float steps = std::round(real / k${name}Scale) + static_cast<float>(k${name}ZeroPoint);
  return static_cast<${name}Type>(!(steps > low) ? low : (steps < high ? steps : high));
}
"""
_DEQUANTIZE = """\
// The real number that an output stands for.
inline float From${name}(${name}Type value) {
  return k${name}Scale * static_cast<float>(static_cast<int>(value) - k${name}ZeroPoint);
}
"""
_TAKE_REAL = """\
// The model takes numbers as they are.
inline ${name}Type To${name}(float real) { return static_cast<${name}Type>(real); }
"""
_GIVE_REAL = """\
// The model gives real numbers.
inline float From${name}(${name}Type value) { return static_cast<float>(value); }
"""


def _to_model(end: End) -> str:
    return string.Template(_QUANTIZE if end.tensor.scales else _TAKE_REAL).substitute(name=end.name)


def _from_model(end: End) -> str:
    return string.Template(_DEQUANTIZE if end.tensor.scales else _GIVE_REAL).substitute(name=end.name)


def _arena(description: ModelDescription, macro: str, arena_bytes: int | None, tflm_version: str | None) -> str:
    if arena_bytes is None:
        return _UNKNOWN.format(macro=macro, peak=activation_peak_bytes(description))
    margin = arena_margin_bytes(description, arena_bytes)
    version = tflm_version or "of an unknown version"
    return _MEASURED.format(macro=macro, measured=arena_bytes, margin=margin, version=version)


def _decoded(description: ModelDescription, name: str) -> str:
    """The memory for packed weights; nothing where there are none."""
    if TFLM_DECODE not in description.operator_names:
        return ""
    return _DECODED.format(macro=f"{name.upper().rstrip('_')}_DECODE_APART", bytes=description.decoded_bytes)


_DECODED = """
// Bytes of RAM for the weights that one operator decodes for the layer behind it. They are part of the arena; with
// -D{macro} main.cc gives them memory of their own, for example fast RAM, and the arena can be smaller.
constexpr std::size_t kDecodedBytes = {bytes};
"""
_MEASURED = """\
// Bytes of RAM for the tensor arena.
// Measured: what tflite-micro {version} reported after one inference with its reference kernels, on a 64-bit
// host. Signals take the same on every device; the interpreter's structs take less where pointers have 4 bytes.
// Margin: a tenth for other versions of TFLite Micro, the buffers of CMSIS-NN's int8 kernels for this model (the
// reference kernels need none), rounded up to a whole KiB. Kernels of other vendors may want more.
// If AllocateTensors() fails, it logs what is missing: build with -D{macro}=... . If it succeeds,
// MicroInterpreter::arena_used_bytes() says what your device really needs: set that, plus 16.
constexpr std::size_t kArenaMeasuredBytes = {measured};
constexpr std::size_t kArenaMarginBytes = {margin};
#ifdef {macro}
constexpr std::size_t kArenaBytes = {macro};
#else
constexpr std::size_t kArenaBytes = kArenaMeasuredBytes + kArenaMarginBytes;
#endif
"""
_UNKNOWN = """\
// Bytes of RAM for the tensor arena: NOT KNOWN, for tflite-micro was not installed when this was written.
// The signals alone need {peak} bytes at once (computed); scratch buffers and the interpreter's structs come on
// top. Either install tf-structprune[micro] and export again, or build with -D{macro}=... and more
// bytes until AllocateTensors() succeeds; MicroInterpreter::arena_used_bytes() then says what it needs.
#ifdef {macro}
constexpr std::size_t kArenaBytes = {macro};
#else
constexpr std::size_t kArenaBytes = 0;
#endif
"""


def _conv_scratch(description: ModelDescription, operator: OperatorDescription) -> int:
    _, height, width, channels = description.tensors[operator.inputs[1]].shape
    return 4 * _multiple(height * width * channels, 16)


def _depthwise_scratch(description: ModelDescription, operator: OperatorDescription) -> int:
    _, height, width, outputs = description.tensors[operator.inputs[1]].shape
    inputs = description.tensors[operator.inputs[0]].shape[-1]
    as_convolution = 4 * _multiple(height * width, 16) + height * width * outputs if inputs == 1 else 0
    return max(4 * _MVE_CHANNELS * height * width, 2 * height * width * inputs, as_convolution)


def _sums_bytes(description: ModelDescription, operator: OperatorDescription) -> int:
    return 4 * description.tensors[operator.outputs[0]].shape[-1]


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


_SCRATCH: dict[str, Callable[[ModelDescription, OperatorDescription], int]] = {
    "AVERAGE_POOL_2D": _sums_bytes,
    "CONV_2D": _conv_scratch,
    "DEPTHWISE_CONV_2D": _depthwise_scratch,
}
