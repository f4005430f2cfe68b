"""What a `.tflite` file takes of a device's flash and RAM, and for what."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tflite_export.file._activations import activation_peak_bytes
from tflite_export.file._describe import ModelDescription
from tflite_export.file._file import TFLiteFile

MEMORY_NOTE = (
    "Flash: the file, without the code of the runtime. TFLM arena: measured on this host, see model_settings.h. Live "
    "activations: computed from the lifetimes of the signals, not measured; below what any runtime needs that does "
    "not work in place, LiteRT included."
)
_STRING_BYTES = 5  # length field and final NUL of a flatbuffer string
_FLOAT_BYTES = 4
_ZERO_POINT_BYTES = 8


@dataclass(frozen=True)
class MemoryTable:
    """Flash and RAM of one `.tflite` file. The first four add up to the size of the file.

    Attributes:
        weights_bytes: flash, constants that operators multiply or add.
        biases_bytes: flash, biases of convolutions and dense layers.
        other_bytes: flash, other constants: shapes, axes, paddings.
        overhead_bytes: flash, the flatbuffer around the constants: the file without them.
        names_bytes: the part of the overhead that is names and descriptions; no runtime on a device needs them.
        metadata_bytes: the part of the overhead that is the converter's metadata.
        quantization_bytes: the part of the overhead that is scales and zero points.
        constants_by_operator: bytes of constants by the operator that reads them; one that several read counts
            for the first, one that none reads for none.
        tflm_arena_bytes: RAM, arena that TFLite Micro used on this host; None when it did not run.
        decoded_bytes: RAM, the most that one operator decodes from packed weights, which lies in the arena or in memory
            of its own; 0 for weights as they are.
        activation_peak_bytes: RAM, bytes of signals alive at once, see `activation_peak_bytes`: computed,
            a lower bound for runtimes that do not work in place.
    """

    weights_bytes: int
    biases_bytes: int
    other_bytes: int
    overhead_bytes: int
    names_bytes: int
    metadata_bytes: int
    quantization_bytes: int
    constants_by_operator: dict[str, int]
    tflm_arena_bytes: int | None
    decoded_bytes: int
    activation_peak_bytes: int


def memory_table(file: TFLiteFile, *, tflm_arena_bytes: int | None) -> MemoryTable:
    """Splits the bytes of a file by what they are for.

    Args:
        file: the file.
        tflm_arena_bytes: what `runtime.arena_bytes` measured; None when TFLite Micro did not run.

    Returns:
        The table.

    Raises:
        ValueError: several subgraphs, or signals without a fixed size.
    """
    description, parsed = file.description, file.parsed
    constants = _constant_bytes(parsed)
    weights = sum(constants.get(index, 0) for index in description.weights)
    biases = sum(constants.get(index, 0) for index in description.biases)
    return MemoryTable(
        weights_bytes=weights,
        biases_bytes=biases,
        other_bytes=sum(constants.values()) - weights - biases,
        overhead_bytes=len(file.data) - sum(constants.values()),
        names_bytes=sum(len(text) + _STRING_BYTES for text in _texts(parsed) if text),
        metadata_bytes=_metadata_bytes(parsed),
        quantization_bytes=sum(_quantization_bytes(tensor.quantization) for tensor in parsed.subgraphs[0].tensors),
        constants_by_operator=_by_operator(description, constants),
        tflm_arena_bytes=tflm_arena_bytes,
        decoded_bytes=description.decoded_bytes,
        activation_peak_bytes=activation_peak_bytes(description),
    )


def _constant_bytes(parsed: Any) -> dict[int, int]:
    """Stored bytes by tensor; tensors that share a buffer count it once, at the first."""
    owners: dict[int, int] = {}
    for index, tensor in enumerate(parsed.subgraphs[0].tensors):
        owners.setdefault(tensor.buffer, index)
    sizes = {index: _length(parsed.buffers[buffer].data) for buffer, index in owners.items()}
    return {index: size for index, size in sizes.items() if size}


def _by_operator(description: ModelDescription, constants: dict[int, int]) -> dict[str, int]:
    left = dict(constants)
    sizes: dict[str, int] = {}
    for operator in description.operators:
        size = sum(left.pop(index, 0) for index in operator.inputs)
        if size:
            sizes[operator.name] = sizes.get(operator.name, 0) + size
    return dict(sorted(sizes.items()))


def _texts(parsed: Any) -> Iterable[bytes | None]:
    graph = parsed.subgraphs[0]
    yield parsed.description
    yield graph.name
    for signature in parsed.signatureDefs or ():
        yield signature.signatureKey
        yield from (entry.name for entry in (*(signature.inputs or ()), *(signature.outputs or ())))
    yield from (tensor.name for tensor in graph.tensors)


def _metadata_bytes(parsed: Any) -> int:
    entries = parsed.metadata or ()
    names = sum(len(entry.name or b"") + _STRING_BYTES for entry in entries)
    return names + sum(_length(parsed.buffers[buffer].data) for buffer in {entry.buffer for entry in entries})


def _quantization_bytes(quantization: Any) -> int:
    if quantization is None:
        return 0
    floats = sum(_length(values) for values in (quantization.scale, quantization.min, quantization.max))
    return floats * _FLOAT_BYTES + _length(quantization.zeroPoint) * _ZERO_POINT_BYTES


def _length(values: Any) -> int:
    return 0 if values is None else len(values)
