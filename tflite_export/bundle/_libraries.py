"""The libraries that carry TFLite Micro to an ecosystem, and the operators that they lack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tflite_export.file import TFLM_DECODE, ModelDescription
from tflite_export.micro import OPERATOR

Bundle = Literal["cmake", "esp-idf", "zephyr", "arduino"]
"""An ecosystem that a project is written for."""

_SIGNAL = {
    "SignalDelay",
    "SignalEnergy",
    "SignalFftAutoScale",
    "SignalFilterBank",
    "SignalFilterBankLog",
    "SignalFilterBankSpectralSubtraction",
    "SignalFilterBankSquareRoot",
    "SignalFramer",
    "SignalIrfft",
    "SignalOverlapAdd",
    "SignalPCAN",
    "SignalStacker",
}
_AFTER_2024 = frozenset({"DYNAMIC_UPDATE_SLICE", "REDUCE_ALL", "REDUCE_MIN", "REVERSE_V2", TFLM_DECODE})


@dataclass(frozen=True)
class Library:
    """TFLite Micro as an ecosystem has it.

    Attributes:
        name: with its version.
        lacks: operators that it has no kernel of, of those that TFLite Micro has.
        newer: operators that `before` lacks.
        before: an older version that is still in use, in words.
    """

    name: str
    lacks: frozenset[str] = frozenset()
    newer: frozenset[str] = frozenset()
    before: str = ""


LIBRARIES: dict[str, Library] = {
    # tensorflow/tflite-micro at 90b983c2, 20 August 2026: micro_mutable_op_resolver.h.
    "cmake": Library("TFLite Micro of August 2026", newer=_AFTER_2024, before="its tree of June 2024"),
    # espressif/esp-tflite-micro at 99f49e14, 14 August 2026: the same header, and a CMakeLists.txt that takes all
    # kernels. The manifest asks for no older version.
    "esp-idf": Library("esp-tflite-micro 1.4.0", frozenset({"ethos-u"})),
    # zephyrproject-rtos/zephyr at 1e914c41: modules/tflite-micro/CMakeLists.txt lists the kernels that are compiled;
    # zephyrproject-rtos/tflite-micro at 48613f7b, 27 June 2024: micro_mutable_op_resolver.h.
    "zephyr": Library(
        "Zephyr's module tflite-micro of 2026", frozenset(_SIGNAL), _AFTER_2024, "the module of June 2024"
    ),
    # tensorflow/tflite-micro-arduino-examples at 7948b85e, kernels of 27 February 2023: micro_mutable_op_resolver.h.
    # Its registrations have another type than our operator's.
    "arduino": Library(
        "Arduino_TensorFlowLite 2.4.0-ALPHA of 2023",
        _AFTER_2024 | _SIGNAL | {"BATCH_MATMUL", "EMBEDDING_LOOKUP", "SignalRfft", "SignalWindow", "ethos-u", OPERATOR},
    ),
}
"""By ecosystem, one for each `Bundle`."""


def check_bundles(bundles: Sequence[str]) -> None:
    """Refuse ecosystems that there is no project for.

    Raises:
        ValueError: a name that is none of `Bundle`, one twice, or a single text.
    """
    known, told = get_args(Bundle), [bundles] if isinstance(bundles, str) else list(bundles)
    if isinstance(bundles, str) or not set(told) <= set(known) or len(set(told)) != len(told):
        raise ValueError(
            f"bundle names ecosystems in a tuple, each once. Received: {', '.join(map(repr, told))}. Use some of: "
            f"{', '.join(map(repr, known))}."
        )


def library_notes(description: ModelDescription, bundle: str) -> tuple[str, ...]:
    """What a library lacks of the operators of a model, in sentences; empty where it has all.

    Args:
        description: the model.
        bundle: the ecosystem.
    """
    library, needed = LIBRARIES[bundle], set(description.operator_names)
    notes = []
    if lacking := sorted(needed & library.lacks):
        notes.append(
            f"{bundle}: {library.name} has no {', '.join(lacking)}, so the project does not build with it. Use a newer "
            f"TFLite Micro{', or the file without packed weights' if description.packed else ''}."
        )
    if newer := sorted(needed & library.newer):
        notes.append(f"{bundle}: {library.before} has no {', '.join(newer)}. Use {library.name} or newer.")
    return tuple(notes)
