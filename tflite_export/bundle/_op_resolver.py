"""The operators that a model needs, as C++ that registers them with TFLite Micro."""

from collections.abc import Collection, Sequence

from tflite_export.file import ModelDescription, OperatorDescription
from tflite_export.micro import OPERATOR
from tflite_export.write import check_identifier

# Methods of TFLM's MicroMutableOpResolver (tensorflow/lite/micro/micro_mutable_op_resolver.h, August 2026).
_BUILTIN_METHODS = {
    "ABS": "AddAbs",
    "ADD": "AddAdd",
    "ADD_N": "AddAddN",
    "ARG_MAX": "AddArgMax",
    "ARG_MIN": "AddArgMin",
    "ASSIGN_VARIABLE": "AddAssignVariable",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd",
    "BROADCAST_ARGS": "AddBroadcastArgs",
    "BROADCAST_TO": "AddBroadcastTo",
    "CALL_ONCE": "AddCallOnce",
    "CAST": "AddCast",
    "CEIL": "AddCeil",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "COS": "AddCos",
    "CUMSUM": "AddCumSum",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEPTH_TO_SPACE": "AddDepthToSpace",
    "DEQUANTIZE": "AddDequantize",
    "DIV": "AddDiv",
    "DYNAMIC_UPDATE_SLICE": "AddDynamicUpdateSlice",
    "ELU": "AddElu",
    "EMBEDDING_LOOKUP": "AddEmbeddingLookup",
    "EQUAL": "AddEqual",
    "EXP": "AddExp",
    "EXPAND_DIMS": "AddExpandDims",
    "FILL": "AddFill",
    "FLOOR": "AddFloor",
    "FLOOR_DIV": "AddFloorDiv",
    "FLOOR_MOD": "AddFloorMod",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "GATHER_ND": "AddGatherNd",
    "GREATER": "AddGreater",
    "GREATER_EQUAL": "AddGreaterEqual",
    "HARD_SWISH": "AddHardSwish",
    "IF": "AddIf",
    "L2_NORMALIZATION": "AddL2Normalization",
    "L2_POOL_2D": "AddL2Pool2D",
    "LEAKY_RELU": "AddLeakyRelu",
    "LESS": "AddLess",
    "LESS_EQUAL": "AddLessEqual",
    "LOG": "AddLog",
    "LOGICAL_AND": "AddLogicalAnd",
    "LOGICAL_NOT": "AddLogicalNot",
    "LOGICAL_OR": "AddLogicalOr",
    "LOGISTIC": "AddLogistic",
    "LOG_SOFTMAX": "AddLogSoftmax",
    "MAXIMUM": "AddMaximum",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MIRROR_PAD": "AddMirrorPad",
    "MUL": "AddMul",
    "NEG": "AddNeg",
    "NOT_EQUAL": "AddNotEqual",
    "PACK": "AddPack",
    "PAD": "AddPad",
    "PADV2": "AddPadV2",
    "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize",
    "READ_VARIABLE": "AddReadVariable",
    "REDUCE_ALL": "AddReduceAll",
    "REDUCE_MAX": "AddReduceMax",
    "REDUCE_MIN": "AddReduceMin",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor",
    "REVERSE_V2": "AddReverseV2",
    "ROUND": "AddRound",
    "RSQRT": "AddRsqrt",
    "SELECT_V2": "AddSelectV2",
    "SHAPE": "AddShape",
    "SIN": "AddSin",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd",
    "SPACE_TO_DEPTH": "AddSpaceToDepth",
    "SPLIT": "AddSplit",
    "SPLIT_V": "AddSplitV",
    "SQRT": "AddSqrt",
    "SQUARE": "AddSquare",
    "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SQUEEZE": "AddSqueeze",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "SUM": "AddSum",
    "SVDF": "AddSvdf",
    "TANH": "AddTanh",
    "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "UNPACK": "AddUnpack",
    "VAR_HANDLE": "AddVarHandle",
    "WHILE": "AddWhile",
    "ZEROS_LIKE": "AddZerosLike",
}
_CUSTOM_METHODS = {
    "CIRCULAR_BUFFER": "AddCircularBuffer",
    "SignalDelay": "AddDelay",
    "SignalEnergy": "AddEnergy",
    "SignalFftAutoScale": "AddFftAutoScale",
    "SignalFilterBank": "AddFilterBank",
    "SignalFilterBankLog": "AddFilterBankLog",
    "SignalFilterBankSpectralSubtraction": "AddFilterBankSpectralSubtraction",
    "SignalFilterBankSquareRoot": "AddFilterBankSquareRoot",
    "SignalFramer": "AddFramer",
    "SignalIrfft": "AddIrfft",
    "SignalOverlapAdd": "AddOverlapAdd",
    "SignalPCAN": "AddPCAN",
    "SignalRfft": "AddRfft",
    "SignalStacker": "AddStacker",
    "SignalWindow": "AddWindow",
    "TFLM_DECODE": "AddDecode",
    "TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "ethos-u": "AddEthosU",
}
_METHODS = _BUILTIN_METHODS | _CUSTOM_METHODS
_INT8_ONLY = {
    "ADD": ("add", 2),
    "AVERAGE_POOL_2D": ("pooling", 1),
    "CONV_2D": ("conv", 2),
    "DEPTHWISE_CONV_2D": ("depthwise_conv", 2),
    "FULLY_CONNECTED": ("fully_connected", 2),
    "MAX_POOL_2D": ("pooling", 1),
    "MUL": ("mul", 2),
    "SOFTMAX": ("softmax", 1),
}
"""Operators with kernels for int8 alone: the header of TFLite Micro that declares `Register_OPERATOR_INT8`, and how
many inputs, weights among them, must be int8.

Every header declares it for all sets of kernels: where a set has no such kernel it is the general one. CMSIS-NN's leave
29.8 KB of code out of the firmware of a small network, 14 % of it, and the outputs are the same (Cortex-M4, GCC 12.2).
"""
_OWN_CALLS = {OPERATOR: f'AddCustom("{OPERATOR}", tf_structprune::RegisterDecode())'}
"""Of operators whose sources are in the bundle."""
_OWN_HEADER = '#include "tf_structprune_decode.h"\n'


def op_resolver(description: ModelDescription, name: str) -> str:
    """Writes the header that registers exactly the operators of a model with TFLite Micro.

    The header defines the type `NAME_resolver`, a `tflite::MicroMutableOpResolver` with room for these
    operators, and `TfLiteStatus NAME_register(NAME_resolver&)` that fills one. Only the named kernels are
    linked into the firmware: of an operator that is int8 wherever it occurs, weights included, the one for int8 alone.

    Args:
        description: the model.
        name: identifier that starts the names in the header, and stem of the file.

    Returns:
        Text of `NAME.h`; the same operators and name give the same text.

    Raises:
        ValueError: `name` is no C++ identifier, or TFLite Micro lacks an operator of the model.
    """
    return operators_resolver(description.operator_names, name, int8=_int8_only(description))


def operators_resolver(operators: Sequence[str], name: str, *, int8: Collection[str] = ()) -> str:
    """Writes the header that registers operators by name; see `op_resolver`.

    Args:
        operators: as files name them, each once.
        name: identifier that starts the names in the header, and stem of the file.
        int8: those that need no kernels but for int8, where there are such.

    Returns:
        Text of `NAME.h`.

    Raises:
        ValueError: `name` is no C++ identifier, or TFLite Micro lacks an operator.
    """
    check_identifier(name)
    only = _INT8_ONLY.keys() & set(int8)
    calls = {operator: _call(operator, int8=operator in only) for operator in _METHODS} | _OWN_CALLS
    missing = [operator for operator in operators if operator not in calls]
    if missing:
        raise ValueError(
            f"TFLite Micro has no kernel for: {', '.join(missing)}. Received: a model with operators "
            f"{', '.join(operators)}. Replace the layers that need the missing ones."
        )
    needed = [calls[operator] for operator in operators]
    headers = sorted({f'#include "tensorflow/lite/micro/kernels/{_INT8_ONLY[each][0]}.h"\n' for each in only})
    own = _OWN_HEADER if OPERATOR in operators else ""
    guard = f"{name.upper().rstrip('_')}_H_"
    # A resolver without any operator is no C++: an array needs one element.
    return f"""\
#ifndef {guard}
#define {guard}

{"".join(headers)}#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
{own}
using {name}_resolver = tflite::MicroMutableOpResolver<{max(len(needed), 1)}>;

inline TfLiteStatus {name}_register({name}_resolver& resolver) {{
{"".join(f"  if (resolver.{call} != kTfLiteOk) return kTfLiteError;{chr(10)}" for call in needed)}\
  return kTfLiteOk;
}}

#endif  // {guard}
"""


def _int8_only(description: ModelDescription) -> frozenset[str]:
    """Operators that have kernels for int8 alone, and need no others in a model."""
    return (frozenset(description.operator_names) & _INT8_ONLY.keys()) - general_kernels(description)


def general_kernels(description: ModelDescription) -> frozenset[str]:
    """Operators that have kernels for int8 alone, and in a model need those for all types.

    Args:
        description: the model.
    """
    operators = (each for each in description.operators if each.name in _INT8_ONLY)
    return frozenset(each.name for each in operators if not _is_int8(description, each))


def _is_int8(description: ModelDescription, operator: OperatorDescription) -> bool:
    _, inputs = _INT8_ONLY[operator.name]
    ends = (*operator.inputs[:inputs], *operator.outputs)
    return bool(ends) and all(description.tensors[index].dtype == "int8" for index in ends)


def _call(operator: str, *, int8: bool) -> str:
    return f"{_METHODS[operator]}({f'tflite::Register_{operator}_INT8()' if int8 else ''})"
