"""What each operation of `keras.ops` does to channels: one row an operation class, by name.

Operators on tensors (`x + y`, `x[..., :8]`) and functions of `keras.ops` become such operations in a
functional model. Keras does not export their classes.
"""

from typing import Any

from tf_structprune.channels import LayerCut
from tf_structprune.graph._rules import Flow, LayerRule


def _resize_new_shape(config: dict[str, Any], cut: LayerCut) -> None:
    (made,) = cut.makes
    batch = config["newshape"][0] if not isinstance(config["newshape"], int) else -1
    config["newshape"] = [-1 if batch is None else batch, *(int(size or -1) for size in made.new_shape[1:])]


def _resize_sections(config: dict[str, Any], cut: LayerCut) -> None:
    """The section borders, when the channel axis is the one that is split."""
    (read,) = cut.reads
    if config["axis"] % len(read.shape) == read.axis:
        ends, borders = 0, []
        for part in cut.makes[:-1]:
            ends += len(part.kept)
            borders.append(ends)
        config["indices_or_sections"] = borders


def _refuse_padded_channels(operation: Any) -> str:
    widths = operation.pad_width
    return "it pads the channel axis" if len(widths) == 1 or any(widths[-1]) or any(widths[0]) else ""


def _refuse_uneven_repeats(operation: Any) -> str:
    return "" if isinstance(operation.repeats, int) else "it repeats some channels more often than others"


def _refuse_open_squeeze(operation: Any) -> str:
    return "it drops every axis of size 1, a last channel's too" if operation.axis is None else ""


_EACH_VALUE = LayerRule(Flow.FOLLOW)
_JOIN = LayerRule(Flow.JOIN)
_REARRANGE = LayerRule(Flow.REARRANGE)
_REDUCE = LayerRule(Flow.REDUCE)

OPERATION_RULES: dict[str, LayerRule] = {
    **dict.fromkeys(
        "Absolute Abs Fabs Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Cbrt Ceil Copy Cos Cosh Erf Erfc Exp Exp2 "
        "Expm1 Floor Log Log10 Log1p Log2 LogicalNot Negative Reciprocal Round Rsqrt Sign Sin Sinh Sqrt Square Tan "
        "Tanh Trunc Relu Relu6 Sigmoid SparseSigmoid Softplus Softsign SoftShrink SparsePlus Silu Squareplus "
        "LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu Gelu Celu TanhShrink HardTanh HardShrink Threshold "
        "Cast StopGradient ConvertToTensor NanToNum".split(),
        _EACH_VALUE,
    ),
    **dict.fromkeys(
        "Add Subtract Multiply Divide DivideNoNan TrueDivide FloorDivide Power Maximum Minimum Fmax Fmin Mod Fmod "
        "Arctan2 Hypot Logaddexp Clip Where Equal NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr "
        "LogicalXor".split(),
        _JOIN,
    ),
    **dict.fromkeys(
        "Transpose Swapaxes Moveaxis ExpandDims Flip Tile Ravel SpaceToDepth DepthToSpace".split(),
        _REARRANGE,
    ),
    **dict.fromkeys("Mean Sum Max Min Amax Amin Prod Var Std Median Logsumexp Any All CountNonzero".split(), _REDUCE),
    "Stack": LayerRule(Flow.STACK),
    "Concatenate": LayerRule(Flow.CONCATENATE),
    "Reshape": LayerRule(Flow.REARRANGE, resize=_resize_new_shape),
    "Split": LayerRule(Flow.REARRANGE, resize=_resize_sections),
    "Repeat": LayerRule(Flow.REARRANGE, refuse=_refuse_uneven_repeats),
    "Squeeze": LayerRule(Flow.REARRANGE, refuse=_refuse_open_squeeze),
    "GetItem": LayerRule(Flow.SLICE),
    "Pad": LayerRule(Flow.FOLLOW, refuse=_refuse_padded_channels),
    **dict.fromkeys(("MaxPool", "AveragePool", "Resize"), LayerRule(Flow.FOLLOW, spatial=True)),
}
