"""A report in which nothing was measured, and parts that a run may have."""

from tf_structprune.allocation import Allocation, Budget
from tf_structprune.channels import Skipped
from tf_structprune.fixed_point import FixedPoint, LayerBits
from tf_structprune.masks import FeatureMap, IntraKernelStrided, Kernel, Weight
from tf_structprune.search import Metric
from tf_structprune.task import Interval
from tflite_export.bench import LayerMultiplications, Multiplications, NpuEstimate
from tflite_export.compress import (
    AttemptFigures,
    CompressReport,
    CompressSettings,
    FixedPointFigures,
    MemoryFigures,
    ModelFigures,
    NpuFigures,
    PackedFigures,
    PruningFigures,
    ValidationFigures,
)
from tflite_export.file import MemoryTable
from tflite_export.verify import ExactAgreement, Verification

MCR = Metric("MCR", falls=True, percent=True)
NOTHING = ModelFigures(0.0, 0.0, 0, 0, 0, 0, 0.0, 0.0, None)
EMPTY = CompressReport(
    baseline=NOTHING,
    compressed=NOTHING,
    task="none",
    figure=Metric("accuracy", percent=True, best=1.0),
    metric=MCR,
    sparsity=0.5,
    stages=(),
    skipped_layers=(),
    settings=CompressSettings(tolerance=0.25, seed=7),
    fixed_point=None,
    validation=ValidationFigures(0.0, 0.0, 0.0, 0.0, int8_within_tolerance=True),
    memory=MemoryFigures(None, None),
    micro_reason="it lacks [GELU]",
    npu=NpuFigures(None, None, "a [reason]"),
    lowered=(),
    multiplications=None,
    verification=Verification(60, 32, 0.0, 1e-4, None, 0.9, None, 0.1, None, None, None, 1, None, None, "missing"),
    exact={},
    versions={},
)
RECIPE = FixedPoint(4, 6, layers={})
FIXED_POINT = FixedPointFigures(
    RECIPE,
    0.25,
    0.02,
    accepted=True,
    int4=PackedFigures(12_345, 6_789),
    lut=PackedFigures(1_234, None),
    lut_reason=None,
)
EXACT = {"model_fixed.tflite": ExactAgreement(100, 300, 0, 0, 0, 0, 2, 0.995, None)}
MEMORY = MemoryTable(1000, 2000, 3000, 4000, 10, 20, 30, {"CONV_2D": 3000}, 5000, 0, 6000)
NPU = NpuEstimate("ethos-u55-128", "system", "memory", 5e8, 4096, 0, 8192, 1234, 123_456, 246.912, {}, "5.9")
MULTIPLICATIONS = Multiplications("a [model]", (LayerMultiplications("conv", 1200, 2000, 3000, 4000, 5000),))
ALLOCATION = Allocation({"a": 4}, {"a": 8}, Budget("macs", 0.6), 100, 55.5, "greedy", -0.2, -0.1, MCR)
INTERVAL = Interval(-0.01, 0.03, 400)
FULL = CompressReport(
    **{name: getattr(EMPTY, name) for name in ("figure", "metric", "task", "sparsity", "verification")},
    baseline=ModelFigures(0.75, 0.5, 900, 5000, 4000, 1000, 80.5, 40.25, 2048),
    compressed=NOTHING,
    stages=(
        PruningFigures("feature_map", FeatureMap(), "best_of_n", 0.3, 0.4, 0.1, accepted=True, allocation=ALLOCATION),
        PruningFigures(
            "kernel", Kernel(2), "magnitude", 0.4, 0.5, 0.1, accepted=True, allocation=None, interval=INTERVAL
        ),
        PruningFigures(
            "intra_kernel",
            IntraKernelStrided("columns", 2),
            "random",
            0.6,
            0.75,
            0.625,
            accepted=False,
            allocation=None,
        ),
        PruningFigures(
            "intra_kernel", IntraKernelStrided((1, 3)), "random", 0.6, 1, 0, accepted=False, allocation=None
        ),
        PruningFigures("weight", Weight(2, 4), "magnitude", 0.7, 0.5, 0.25, accepted=True, allocation=None),
    ),
    skipped_layers=(Skipped("first", "it is the first", "keep_first=False"),),
    settings=CompressSettings(
        sparsity=Budget("macs", 0.6),
        kernel_groups=4,
        strides=(1, 3),
        keep=("a*",),
        epochs=3,
        fixed_point=FixedPoint(4, 6, layers={"a": LayerBits(None, 4)}),
    ),
    fixed_point=FIXED_POINT,
    validation=ValidationFigures(
        0.125,
        0.25,
        0.5,
        0.75,
        int8_within_tolerance=False,
        interval=INTERVAL,
        samples_to_tell=1600,
        attempts=(AttemptFigures("int8", None, "it [disagrees]"), AttemptFigures("trained", 0.75, None)),
    ),
    memory=MemoryFigures(MEMORY, None),
    packed=PackedFigures(1_200, 6_800),
    packing="Packed file 1,200 bytes, unpacked 9,000.",
    device="a [phone]",
    micro_reason=None,
    npu=NpuFigures(NPU, NPU, None),
    lowered=("int8: a: dense",),
    multiplications=MULTIPLICATIONS,
    exact=EXACT,
    versions={"python": "3.12", "tflite_micro": None},
)
