"""How much memory the signals of a model need at once, from when each is made and last read."""

from tflite_export.file._describe import ModelDescription, TensorDescription

_BITS = {
    "bool": 8,
    "int4": 4,
    "int8": 8,
    "uint8": 8,
    "int16": 16,
    "uint16": 16,
    "float16": 16,
    "bfloat16": 16,
    "int32": 32,
    "uint32": 32,
    "float32": 32,
    "int64": 64,
    "uint64": 64,
    "float64": 64,
    "complex64": 64,
    "complex128": 128,
}


def activation_peak_bytes(description: ModelDescription) -> int:
    """The most bytes of signals that are alive during one operator: computed, not measured.

    A signal is alive from the operator that makes it (an input of the model: from the first) to the last one
    that reads it (an output of the model: to the end). A runtime that keeps each signal in a place of its own
    while it is alive needs at least this much; alignment, scratch buffers and the runtime's own structs come on
    top. Only a runtime that computes in place (a reshape, say) can need less.

    Args:
        description: the model.

    Returns:
        Bytes; 0 for a model without operators.

    Raises:
        ValueError: a signal of a type without a fixed size, such as a string.
    """
    tensors = description.tensors
    return max((sum(size_bytes(tensors[at]) for at in alive) for alive in live_signals(description)), default=0)


def live_signals(description: ModelDescription) -> tuple[tuple[int, ...], ...]:
    """The signals that are alive during each operator, as numbers of tensors; see `activation_peak_bytes`."""
    born, dies = _lifetimes(description)
    signals = [index for index in born if not description.tensors[index].constant]
    steps = range(len(description.operators))
    return tuple(tuple(index for index in signals if born[index] <= step <= dies[index]) for step in steps)


def _lifetimes(description: ModelDescription) -> tuple[dict[int, int], dict[int, int]]:
    """Positions of the first and the last operator during which a tensor is alive, by tensor."""
    born: dict[int, int] = {}
    dies: dict[int, int] = {}
    last = len(description.operators) - 1
    for step, operator in enumerate(description.operators):
        for index in operator.inputs:
            if index >= 0:
                born.setdefault(index, 0)  # no operator made it: an input of the model, or a constant
                dies[index] = step
        for index in operator.outputs:
            born.setdefault(index, step)
            dies.setdefault(index, step)
    outputs = {index for index in born if any(description.tensors[index] is output for output in description.outputs)}
    return born, dies | dict.fromkeys(outputs, last)


def size_bytes(tensor: TensorDescription) -> int:
    """Bytes of a tensor's values."""
    if tensor.dtype not in _BITS:
        raise ValueError(
            f"Tensor '{tensor.name}': must have a type of fixed size. Received: dtype={tensor.dtype}. "
            "Export a model whose signals are numbers."
        )
    return (tensor.elements * _BITS[tensor.dtype] + 7) // 8
