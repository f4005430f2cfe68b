"""Reports with nothing and with everything in them."""

import dataclasses

import numpy as np

from tf_structprune.search import Metric
from tflite_export.report import (
    Curve,
    Fact,
    Operator,
    Profile,
    Report,
    Row,
    Score,
    Sensitivity,
    Step,
    Verdict,
    mask_picture,
)

MCR = Metric("MCR", falls=True, percent=True)
EMPTY = Report("tiny", "none", 0.0, ())
EVIL = "<script>alert(1)</script> | & \"x\" 'y' `z` *w* _v_"


def operators(scale, *, time_us=None):
    """A convolution, a sum behind it and a classifier."""
    return (
        Operator("CONV_2D", "", "conv", (1, 8, 8, scale), 576 * scale, 9 * scale, 0.25, 64 + 64 * scale, time_us),
        Operator("ADD", "", "", (1, 8, 8, scale), 0, 0, None, 192 * scale, time_us),
        Operator("FULLY_CONNECTED", "", "dense", (1, 3), 192 * scale, 192 * scale, 0.0, 64 * scale + 3, time_us),
    )


def kept(positions=9, inputs=4, outputs=6):
    """Kernels of which some are left in part."""
    rng = np.random.default_rng(0)
    return rng.random((positions, inputs, outputs)) < 0.5


FULL = Report(
    name="tiny",
    task="3 classes, judged by the MCR",
    removed=0.5,
    figures=(
        Row("accuracy, float (%)", 91.25, 90.0, 2, cost=False),
        Row("MACs", 12_000.0, 6_000.0),
        Row("int8 file (bytes)", 4_000, 2_000),
        Row("latency, int8 (us)", 40.25, 30.5, 1),
        Row("TFLM arena (bytes)", 2_048, None),
    ),
    memory=(Row("flash: weights", 3_000, 1_500), Row("RAM: TFLM arena, measured", None, None)),
    verdict=Verdict(
        metric=MCR,
        accepted=True,
        tolerance="1.00 points",
        limit=0.11,
        scores=(
            Score("given model, float", 0.1),
            Score("given model, integer file", 0.101),
            Score("compressed model, float", 0.104),
            Score("compressed model, integer file", 0.105),
        ),
        low=-0.002,
        high=0.012,
        samples=400,
        samples_to_tell=1_600,
        attempts=(Score("int8", None, "it disagrees"), Score("trained", 0.105)),
    ),
    stages=(Fact("feature_map, least_squares", "50.0 % of the weights gone; accepted"),),
    before=Profile("before", operators(4, time_us=3.5)),
    after=Profile("after", operators(2, time_us=2.25)),
    masks=(
        mask_picture("conv", kept(), block=(3, 3), outputs=8, inputs=4),
        mask_picture("wide", np.ones((1, 100, 50), np.bool_), block=(1, 1), outputs=200, inputs=100),
    ),
    curves=(
        Curve(1, "feature_map", {"loss": (2.0, 1.0), "val_loss": (2.5, 1.5), "val_accuracy": (0.5, 0.75)}),
        Curve(2, "kernel", {"loss": (1.0, 0.5)}),
    ),
    steps=(
        Step("given", 0.0, 12_000, 900, 4_000, 2_048, 40.25, 0.1, accepted=True, handed_over=False),
        Step("stage_1", 0.4, 8_000, 700, 3_000, None, 35.0, 0.104, accepted=True, handed_over=True),
        Step("stage_2", 0.5, 6_000, 500, 2_500, None, 30.0, 0.2, accepted=False, handed_over=False),
    ),
    sensitivity=(
        Sensitivity("conv", "weights", (2, 4, 8), (0.3, 0.01, 0.0)),
        Sensitivity("conv", "signal", (4, 8), (0.05, -0.001)),
    ),
    agreement=(Fact("float file with Keras", "largest difference 1e-06"),),
    notes=(Fact("dense", "left whole: it is the last layer."),),
    device="a stopwatch",
    commands=("tf-structprune compress MODEL --data DATA --out OUT", "tf-structprune report OUT"),
    versions={"python": "3.12", "tflite_micro": None},
)
MALICIOUS = dataclasses.replace(
    FULL,
    name=EVIL,
    task=EVIL,
    before=Profile("before", tuple(dataclasses.replace(each, layer=EVIL) for each in FULL.before.operators[:1])),
    masks=(dataclasses.replace(FULL.masks[0], layer=EVIL),),
    curves=(Curve(1, EVIL, {EVIL: (1.0, 0.5)}),),
    notes=(Fact(EVIL, EVIL),),
    commands=(EVIL,),
)
"""Names that a page must not take for its own markup."""
