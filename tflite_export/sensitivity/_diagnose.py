"""Which layers of an int8 file need a remedy, and which one."""

from collections.abc import Sequence
from dataclasses import replace

from tflite_export.sensitivity._parts import INPUT
from tflite_export.sensitivity._remedies import Remedy
from tflite_export.sensitivity._report import Int8Layer, ranked

_SPREAD = 16.0  # the median channel has 4 of the 8 bits
_CLIPPED = 1e-3
_OUTLIERS = 64  # steps for 99.9 % of the values: 2 of the 8 bits are for outliers
_FUZZ = 1e-9  # sums of fractions
_MULTIPLYING = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")


def with_remedies(
    layers: Sequence[Int8Layer], *, score: float, int8_score: float, tolerance: float
) -> tuple[Int8Layer, ...]:
    """The layers with a remedy for each that needs one.

    None needs one where the file is within the tolerance. Else the layer that loses most alone does, and the next ones
    until what the rest lose alone adds up to the tolerance at most; gains count as none.

    Args:
        layers: in the order in which they run.
        score: in float.
        int8_score: of the whole file.
        tolerance: what the file may lose.
    """
    if score - int8_score <= tolerance + _FUZZ:
        return tuple(layers)
    worst = ranked(layers)
    losses = [max(0.0, score - row.score_alone) for row in worst]
    needy = {row.layer for place, row in enumerate(worst) if not place or sum(losses[place:]) > tolerance + _FUZZ}
    return tuple(replace(row, remedy=remedy_for(row)) if row.layer in needy else row for row in layers)


def remedy_for(row: Int8Layer) -> Remedy:
    """What mends a layer that loses too much, by the first of these rules that holds.

    1. The widest channel of its signal takes 16 times the steps of the median one or more: "equalize"; of an input
       "normalize".
    2. All its weights share one step, and those of the widest channel are 16 times those of the median one or more:
       "per channel".
    3. 0.1 % of the values of its signal or more are outside the range: "calibrate".
    4. 99.9 % of the values take 64 of the 255 steps or fewer: "clip".
    5. Otherwise: "int16x8".

    Args:
        row: the layer as it was measured.
    """
    if row.channel_spread >= _SPREAD:
        return "normalize" if row.kind == INPUT else "equalize"
    if len(row.weight_scales) == 1 and row.weight_spread >= _SPREAD and row.kind in _MULTIPLYING:
        return "per channel"
    if row.clipped >= _CLIPPED:
        return "calibrate"
    return "clip" if row.most_values <= _OUTLIERS else "int16x8"
