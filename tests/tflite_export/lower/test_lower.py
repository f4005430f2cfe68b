"""A lowered model computes what the masked one does, with less work."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest

import tf_structprune as sp
import tflite_export as te
from tests import zoo
from tests.devices import Scripted
from tests.marks import sweep_but
from tf_structprune.masks import MaskSet, positions_kept
from tflite_export.file import open_file
from tflite_export.lower import LoweredConv2D, _lower, lower, reorder, side_by_side
from tflite_export.quantize import convert
from tflite_export.runtime import arena_bytes, run_litert, run_tflm

_L = keras.layers
TOLERANCE = 1e-5
SIZE = (9, 10, 2)


def network(*, behind=(), maps=6, **settings):
    """stem -> before -> the convolution -> layers behind -> classifier, all weights random."""
    inputs = keras.Input(SIZE)
    x = zoo.conv(inputs, 4, name="stem")
    x = _L.Conv2D(maps, 3, padding="same", activation="relu", name="before")(x)
    x = _L.Conv2D(**{"filters": 8, "kernel_size": 3, "name": "conv", **settings})(x)
    for layer in behind:
        x = layer(x)
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(_L.GlobalAveragePooling2D()(x))))


def with_patterns(model, patterns, polarity="keep_on_grid"):
    """The masked model with these (stride, offset) on the maps that "conv" reads, in turn."""
    masked = sp.wrap(model, polarity=polarity)
    maps = sp.trace(masked).layer("conv").inputs
    chosen = np.array([patterns[index % len(patterns)] for index in range(maps)], np.int32)
    sp.set_masks(masked, MaskSet(intra_kernel={"conv": chosen}))
    return masked


def difference(masked, small):
    return zoo.largest_difference(masked, small, zoo.batch(shape=SIZE))


def lowered_layers(model):
    return [layer for layer in model.layers if isinstance(layer, LoweredConv2D)]


SHAPES = [
    {"kernel_size": size, "strides": stride, "padding": padding, "dilation_rate": dilation}
    for size, stride, padding, dilation in itertools.product([3, (3, 5), 4], [1, 2, (2, 3)], ["same", "valid"], [1, 2])
    if dilation == 1 or stride == 1
]
PATTERNS = {"mixed": [(2, 0), (2, 1)], "column": [(3, 1)], "columns": [(3, 0), (3, 2)], "some dense": [(1, 0), (4, 1)]}


def _all_forms():
    """Every shape with every kind of pattern and in every form; in the gate two kinds of a shape, each in one form."""
    forms = ("gather", "shift", "sum")
    for at, (settings, (name, patterns)) in enumerate(itertools.product(SHAPES, PATTERNS.items())):
        for form in forms:
            told = "-".join(map(str, [*settings.values(), name, form]))
            marks = () if (at + at // 4) % 2 == 0 and form == forms[(at + at // 4) // 2 % 3] else pytest.mark.sweep
            yield pytest.param(settings, patterns, form, id=told, marks=marks)


@pytest.mark.every(3)
@pytest.mark.parametrize("settings, patterns, form", _all_forms())
def test_lowered_equals_masked(settings, patterns, form):
    masked = with_patterns(network(**settings), patterns)
    low = lower(te.shrink(masked), form=form)
    assert difference(masked, low.model) < TOLERANCE
    (choice,) = low.plan.choices
    assert choice.form in (form, "dense")
    assert len(lowered_layers(low.model)) == (choice.form != "dense")
    if form == "gather":
        assert choice.form == "gather"


@pytest.mark.parametrize("polarity", ["keep_on_grid", "prune_on_grid"])
def test_share_of_the_work_is_that_of_the_kept_taps(polarity):
    masked = with_patterns(network(padding="same"), [(2, 0), (3, 1)], polarity)
    (choice,) = lower(te.shrink(masked), form="gather").plan.choices
    kept = positions_kept(np.array([[2, 0], [3, 1]], np.int32), 9, polarity).mean()
    assert choice.macs_share == pytest.approx(kept)
    assert choice.predicted_gain > 0
    assert choice.measured_gain is None


BEHIND = {
    "nothing": [],
    "batch norm": [_L.BatchNormalization(name="norm")],
    "batch norm and relu": [_L.BatchNormalization(name="norm"), _L.ReLU(name="relu")],
    "relu6": [_L.ReLU(6.0, name="relu")],
    "activation layer": [_L.Activation("relu", name="relu")],
    "leaky relu": [_L.LeakyReLU(name="leaky")],
    "gelu": [_L.Activation("gelu", name="gelu")],
    "norm without gamma and beta": [_L.BatchNormalization(center=False, scale=False, name="norm")],
}


@pytest.mark.every(2)
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("bias", [True, False])
def test_layers_behind_become_part_of_it(behind, bias):
    layers = [layer.__class__.from_config(layer.get_config()) for layer in behind]
    masked = with_patterns(network(behind=layers, padding="same", use_bias=bias), [(2, 0), (2, 1)])
    low = lower(te.shrink(masked), form="gather")
    assert difference(masked, low.model) < TOLERANCE
    left = {type(layer) for layer in low.model.layers}
    assert not left & {_L.BatchNormalization, _L.ReLU}


def test_convolution_with_an_activation_is_not_folded_over():
    masked = with_patterns(network(behind=[_L.BatchNormalization()], activation="tanh"), [(2, 0), (2, 1)])
    low = lower(te.shrink(masked), form="gather")
    assert difference(masked, low.model) < TOLERANCE
    assert any(isinstance(layer, _L.BatchNormalization) for layer in low.model.layers)


NOT_FOLDED = {
    "axis": lambda x: _L.BatchNormalization(axis=1)(x),
    "training mode": lambda x: _L.BatchNormalization()(x, training=True),
}


@pytest.mark.parametrize("norm", NOT_FOLDED.values(), ids=NOT_FOLDED)
def test_norm_of_another_axis_or_mode_is_not_folded(norm):
    masked = with_patterns(network(behind=[norm], filters=SIZE[0], padding="same"), [(2, 0), (2, 1)])
    low = lower(te.shrink(masked), form="gather")
    assert lowered_layers(low.model)
    assert difference(masked, low.model) < TOLERANCE
    assert any(isinstance(layer, _L.BatchNormalization) for layer in low.model.layers)


def test_norm_that_others_read_around_is_not_folded():
    inputs = keras.Input(SIZE)
    x = _L.Conv2D(6, 3, padding="same", name="before")(zoo.conv(inputs, 4, name="stem"))
    x = _L.Conv2D(8, 3, padding="same", name="conv")(x)
    x = _L.Add()([x, _L.BatchNormalization()(x)])
    model = zoo.randomize(keras.Model(inputs, _L.Dense(3)(_L.GlobalAveragePooling2D()(x))))
    masked = with_patterns(model, [(2, 0), (2, 1)])
    low = lower(te.shrink(masked), form="gather")
    assert difference(masked, low.model) < TOLERANCE
    assert any(isinstance(layer, _L.BatchNormalization) for layer in low.model.layers)


def blocked(model, blocks):
    """The masked model in which each block of outputs of "conv" reads its own block of inputs."""
    masked = sp.wrap(model)
    layer = sp.trace(masked).layer("conv")
    mask = np.kron(
        np.array(blocks, bool), np.ones((layer.inputs // len(blocks), layer.outputs // len(blocks[0])), bool)
    )
    sp.set_masks(masked, MaskSet(kernel={"conv": mask}))
    return masked


BLOCKS = [[[1, 0], [0, 1]], [[1, 1], [0, 1]], [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]]


@pytest.mark.every(3)
@pytest.mark.parametrize("settings", [{"padding": "same"}, {"strides": 2}, {"kernel_size": 1}], ids=str)
@pytest.mark.parametrize("form", ["gather", "shift", "grouped", "sum"])
@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
def test_blocks_of_kernels_are_left_out(blocks, form, settings):
    maps = 2 * len(blocks)
    masked = blocked(network(maps=maps, **settings), blocks)
    low = lower(te.shrink(masked), form=form)
    assert difference(masked, low.model) < TOLERANCE
    (choice,) = low.plan.choices
    assert choice.macs_share == pytest.approx(np.mean(blocks))


@pytest.mark.every(5)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strays", [0, 2])
@pytest.mark.parametrize("width", [16, 64])
def test_blocks_are_found_under_a_permutation(seed, strays, width):
    rng = np.random.default_rng(seed)
    masked = sp.wrap(network(maps=width, padding="same", filters=width))
    blocks = np.kron(np.eye(4, dtype=bool), np.ones((width // 4, width // 4), bool))
    mask = blocks[rng.permutation(width)][:, rng.permutation(width)]
    outside = np.argwhere(~mask)
    for at in rng.choice(len(outside), strays, replace=False):
        mask[tuple(outside[at])] = True
    sp.set_masks(masked, MaskSet(kernel={"conv": mask}))
    low = lower(te.shrink(masked), form="shift")
    assert difference(masked, low.model) < TOLERANCE
    (choice,) = low.plan.choices
    assert choice.macs_share <= 1 / 4 + strays / 4 / width
    assert choice.form == f"shift ({len(choice.blocks)} blocks)"
    if not strays:
        grouped = lower(te.shrink(masked), form="grouped")
        assert difference(masked, grouped.model) < TOLERANCE
        (layer,) = lowered_layers(grouped.model)
        assert len(side_by_side(layer.sums).parts) == 1  # nothing to copy: the blocks lie in the order of the groups


def test_groups_that_read_some_blocks_each_are_one_grouped_convolution():
    masked = blocked(network(maps=16, padding="same"), [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]])
    low = lower(te.shrink(masked), form="grouped")
    assert difference(masked, low.model) < TOLERANCE
    (choice,) = low.plan.choices
    assert (choice.form, choice.macs_share) == ("grouped (4 blocks)", 0.5)
    counts = open_file(convert(low.model)).description.operator_counts
    assert counts["CONV_2D"] == counts["CONCATENATION"] + 2  # stem and before; one for the groups


FEW = ("flatten_head", "residual_projection", "residual_twice", "grouped_convolution", "shared_layer", "two_outputs")


def test_patterns_and_blocks_together():
    masked = blocked(network(maps=8, padding="same"), [[1, 0], [0, 1]])
    pattern = np.array([(2, 0), (2, 1)] * 4, np.int32)
    sp.set_masks(masked, MaskSet(intra_kernel={"conv": pattern}))
    low = lower(te.shrink(masked), form="gather")
    assert difference(masked, low.model) < TOLERANCE
    (choice,) = low.plan.choices
    assert choice.macs_share == pytest.approx(0.25)


@pytest.mark.parametrize("name", sweep_but(FEW, {name: (name,) for name in zoo.ZOO}))
def test_reordering_changes_no_output(name):
    masked = sp.wrap(zoo.build(name))
    sp.set_masks(masked, sp.random_masks(masked, {"kernel": 0.3, "intra_kernel": 0.3}, seed=1))
    small = te.shrink(masked).model
    assert zoo.largest_difference(small, reorder(small), zoo.batch()) < TOLERANCE


@pytest.mark.parametrize("name", sweep_but(FEW, {name: (name,) for name in zoo.ZOO}))
def test_any_network_lowers_to_the_same_outputs(name):
    masked = sp.wrap(zoo.build(name))
    sp.set_masks(masked, sp.random_masks(masked, {"feature_map": 0.2, "intra_kernel": 0.4}, seed=2))
    low = lower(te.shrink(masked), form="gather")
    assert zoo.largest_difference(masked, low.model, zoo.batch()) < TOLERANCE


def test_reordering_puts_maps_with_the_same_taps_side_by_side():
    masked = with_patterns(network(maps=8, padding="same"), [(2, 0), (2, 1)])
    (choice,) = lower(te.shrink(masked), form="gather").plan.choices
    assert len(choice.blocks[0].pieces) == 2


def test_lowered_model_survives_saving(tmp_path):
    low = lower(te.shrink(with_patterns(network(padding="same"), [(2, 0), (3, 1)])), form="sum")
    low.model.save(tmp_path / "low.keras")
    loaded = keras.models.load_model(tmp_path / "low.keras")
    assert difference(low.model, loaded) == 0


def test_tflite_uses_standard_operators_and_agrees():
    masked = with_patterns(network(padding="same", behind=[_L.BatchNormalization(), _L.ReLU()]), [(2, 0), (2, 1)])
    low = lower(te.shrink(masked), form="gather").model
    file = convert(low)
    assert {operator.name for operator in open_file(file).description.operators} <= {
        "CONV_2D", "PAD", "SLICE", "STRIDED_SLICE", "CONCATENATION", "MEAN", "FULLY_CONNECTED",
    }  # fmt: skip
    x = zoo.batch(1, shape=SIZE)
    output = run_litert(file, x)
    np.testing.assert_allclose(output, zoo.outputs_of(masked, x)[0], atol=1e-5)


def test_forms_that_cannot_pay_are_not_timed():
    small = te.shrink(with_patterns(network(padding="same", filters=4), [(2, 0), (2, 1)]))
    low = lower(small, device=Scripted())
    (choice,) = low.plan.choices
    assert (choice.form, choice.reason, choice.latency_us) == ("dense", "no form promises a gain", {})
    assert choice.predicted_gain < 1
    assert low.model is small.model


TIMED = {  # dense and "shift" of the layer, then the model as it was and lowered, in microseconds
    "fastest": ([(100, 50), (200, 150)], "shift", "dense took 100 us", ""),
    "no gain": ([(100, 99)], "dense", "shift took 99 us", ""),
    "none of the whole": ([(100, 50), (200, 201)], "shift", "", "left as it was: 201 us lowered, 200 us as it was"),
}


@pytest.mark.parametrize("answers, form, reason, note", TIMED.values(), ids=TIMED)
def test_auto_decides_by_the_times_of_the_device(answers, form, reason, note):
    small = te.shrink(with_patterns(network(padding="same", maps=64), [(3, 1)]))
    device = Scripted(*answers)
    low = lower(small, quantize="none", device=device)
    (choice,) = low.plan.choices
    assert not device.answers
    assert choice.latency_us == dict(zip(("dense", "shift"), answers[0], strict=True))
    assert (choice.form, low.plan.note) == (form, note) and reason in choice.reason
    assert choice.measured_gain == pytest.approx(answers[0][0] / choice.latency_us[form])
    assert (low.model is small.model) == (form == "dense" or note != "")
    assert difference(small.model, low.model) < TOLERANCE
    assert "conv: " in str(low.plan)


def test_this_machine_decides_unless_another_is_given():
    low = lower(te.shrink(with_patterns(network(padding="same", maps=64), [(3, 1)])), quantize="none")
    assert min(low.plan.choices[0].latency_us.values()) > 0


@pytest.mark.parametrize("target", ["cpu", "micro"])
@pytest.mark.parametrize("quantize", ["int8", "none"])
def test_partial_sums_are_never_chosen_where_they_would_be_rounded(target, quantize, monkeypatch):
    """As if every form gained, and those that add up partial sums most."""
    options = _lower._options

    def inexact_first(*arguments):
        found = options(*arguments)
        return {name: (layer, sums_first(each)) for name, (layer, each) in found.items()}

    def sums_first(each):
        return dataclasses.replace(each, forms=tuple(sorted(each.forms, key=lambda form: -partial_sums(form.sums))))

    def partial_sums(sums):
        return sum(len(each.terms) - 1 for each in sums)

    def latencies(models, **_):
        return [1 / (1 + sum(1 + partial_sums(layer.sums) for layer in lowered_layers(model))) for model in models]

    monkeypatch.setattr(_lower, "_options", inexact_first)
    monkeypatch.setattr(_lower, "_HOPELESS", np.inf)
    monkeypatch.setattr(_lower, "_arena", lambda *_: 0)
    monkeypatch.setattr(_lower, "_latencies", latencies)
    small = te.shrink(with_patterns(network(padding="same", maps=64), [(3, 0), (3, 2)]))
    low = lower(small, target=target, quantize=quantize)
    (layer,) = lowered_layers(low.model)
    assert (partial_sums(layer.sums) > 0) == (quantize == "none")


@pytest.mark.parametrize("patterns", sweep_but(("mixed",), {name: (each,) for name, each in PATTERNS.items()}))
def test_micro_never_needs_a_larger_arena(patterns):
    masked = with_patterns(network(padding="same", maps=16), patterns)
    small = te.shrink(masked)
    low = lower(small, target="micro")
    samples = zoo.batch(8, shape=SIZE)
    dense, lowered = (
        arena_bytes(convert(model, quantize="int8", representative_data=samples)) for model in (small.model, low.model)
    )
    assert lowered <= dense
    assert difference(masked, low.model) < TOLERANCE
    assert all("arena" in choice.reason for choice in low.plan.choices)


def test_micro_lowers_what_fits():
    masked = with_patterns(network(padding="same", maps=16), [(3, 1)])
    (choice,) = lower(te.shrink(masked), target="micro").plan.choices
    assert choice.form == "shift"  # a column is a smaller convolution, with nothing to concatenate


def flattened():
    """A network whose dense layer reads a flattened map."""
    inputs = keras.Input(SIZE)
    x = _L.Conv2D(8, 3, padding="same", activation="relu", name="before")(zoo.conv(inputs, 4, name="stem"))
    x = _L.Dense(12, activation="relu", name="conv")(_L.Flatten()(x))
    return zoo.randomize(keras.Model(inputs, _L.Dense(3, name="classifier")(x)))


def relu_network():
    return network(padding="same", maps=16, filters=16, behind=[_L.ReLU()])


LOWERED = {
    "gather": lambda: (with_patterns(relu_network(), [(2, 0), (2, 1)]), "gather"),
    "shift": lambda: (with_patterns(relu_network(), [(1, 0), (3, 1), (3, 1)]), "shift"),
    "blocks": lambda: (blocked(relu_network(), [[1, 1], [0, 1]]), "shift"),
    "grouped": lambda: (blocked(relu_network(), [[1, 0], [0, 1]]), "grouped"),
    "dense": lambda: (with_patterns(flattened(), [(2, 0), (3, 1)]), "gather"),
    "dense blocks": lambda: (blocked(flattened(), [[1, 0], [0, 1]]), "gather"),
}


@pytest.mark.every(3)
@pytest.mark.parametrize("make", LOWERED.values(), ids=LOWERED)
def test_int8_is_within_a_step_of_the_masked_network_on_nearly_all_outputs(make):
    masked, form = make()
    small = te.shrink(masked).model
    low = lower(small, form=form)
    assert all(choice.form.startswith(form) for choice in low.plan.choices) and low.plan.choices
    samples = zoo.batch(200, shape=SIZE)
    files = [convert(model, quantize="int8", representative_data=samples) for model in (small, low.model)]
    for runtime in (run_litert, run_tflm):
        dense, lowered = (runtime(file, samples).astype(int) for file in files)
        assert len(np.unique(dense)) > 20
        assert (np.abs(dense - lowered) <= 1).mean() >= 0.99


def test_dense_model_has_nothing_to_lower():
    model = network()
    low = lower(model)
    assert low.plan.choices == ()
    assert difference(model, low.model) == 0
    assert "nothing to lower" in str(low.plan)


def test_given_model_is_not_changed():
    small = te.shrink(with_patterns(network(padding="same"), [(2, 0), (2, 1)])).model
    before, config = small.get_weights(), small.to_json()
    lower(small, form="gather")
    assert small.to_json() == config
    assert all(np.array_equal(old, new) for old, new in zip(before, small.get_weights(), strict=True))


def test_unknown_form_is_refused():
    with pytest.raises(
        ValueError, match=r"Unknown form\. Received: form='fast'\. Use one of: auto, gather, shift, grouped, sum"
    ):
        lower(network(), form="fast")


def test_unknown_number_format_is_refused():
    with pytest.raises(ValueError, match=r"quantize must be 'none' or 'int8'\. Received: quantize='int4'"):
        lower(network(), quantize="int4")


def test_masked_model_is_refused():
    with pytest.raises(ValueError, match=r"still has its masks.*Use lower\(shrink\(model\)\)"):
        lower(sp.wrap(network()))


def test_unknown_target_is_refused():
    with pytest.raises(ValueError, match=r"Unknown target\. Received: target='phone'\. Use one of: cpu, micro"):
        lower(network(), target="phone")


def test_reordered_model_normalizes_as_the_model_does():
    net = zoo.adapted()
    assert zoo.largest_difference(net, reorder(net), zoo.batch()) < 1e-6


def test_functions_that_no_file_could_hold_are_taken_as_they_are():
    behind = [_L.Activation(lambda x: 2 * keras.ops.tanh(x)), _L.Lambda(lambda x: x + 1)]
    masked = with_patterns(network(behind=behind, padding="same"), PATTERNS["columns"])
    low = lower(te.shrink(masked), form="shift")
    assert lowered_layers(low.model) and difference(masked, low.model) < TOLERANCE
