"""Stages prune, are judged against the tolerance, and are undone where they fail."""

import dataclasses
import functools

import keras
import numpy as np
import pytest

import tf_structprune as sp
from tests.devices import ByMacs
from tests.marks import sweep_but
from tests.tflite_export.compress import tiny
from tf_structprune.masks import mask_space
from tf_structprune.search import SEARCHES, find
from tflite_export.compress import CompressSettings, Job, RefusedError, _allocate, _job, _prune_stage, run_job

GRANULARITIES = ("feature_map", "kernel", "intra_kernel")
PRUNABLE = ("a", "b", "hidden")


def settings_of(**changes):
    quick = {
        "epochs": 2,
        "distill": 0.0,
        "finetune_batch": 32,
        "finetune_rate": 5e-3,
        "search": "magnitude",
        "tolerance": 0.05,
    }
    return CompressSettings(**(quick | changes))


def mcr(model, data):
    return 1 - tiny.accuracy(model, data.x_val, data.y_val)


def kept_weights(model):
    return sum(int(np.count_nonzero(model.get_layer(name).get_weights()[0])) for name in PRUNABLE)


@pytest.fixture
def retrained(monkeypatch):
    """Replaces retraining: the fate of each stage is a function of its model; returns the models seen."""
    seen = []

    def install(*fates):
        def retrain(model, teacher, data, settings, *, verbose=0, **_):
            seen.append({layer.name: layer.count_params() for layer in sp.unwrap(model).layers})
            fates[len(seen) - 1](model)
            return {"loss": [0.5] * settings.epochs}

        monkeypatch.setattr(_job, "retrain", retrain)
        return seen

    return install


def stay(model):
    """Retraining that changes nothing."""


@pytest.fixture(scope="module")
def pruned():
    searched = {"search": "best_of_n", "candidates": 3}
    dense, settings = tiny.fresh(), settings_of(granularity=GRANULARITIES, sparsity=0.6, **searched)
    weights = dense.get_weights()
    result = tiny.run(dense, tiny.data(), settings)
    return dense, weights, settings, result


def test_all_stages_are_accepted_and_reach_the_sparsity(pruned):
    _, _, settings, result = pruned
    assert [stage.granularity for stage in result.reports] == list(GRANULARITIES)
    assert [stage.accepted for stage in result.reports] == [True] * 3
    assert sorted(stage.sparsity for stage in result.reports) == [stage.sparsity for stage in result.reports]
    assert settings.sparsity <= result.sparsity < settings.sparsity + 0.06  # blocks and columns of six maps are coarse
    assert {stage.search for stage in result.reports} == {"best_of_n"}


def test_sparsity_counts_what_is_gone_from_the_dense_model(pruned):
    dense, _, _, result = pruned
    assert result.sparsity == pytest.approx(1 - kept_weights(result.model) / kept_weights(dense))


def test_stage_figures_are_measured_on_the_validation_part(pruned):
    dense, _, settings, result = pruned
    data = tiny.data()
    assert result.score == result.reports[-1].score_after == pytest.approx(-mcr(result.model, data))
    assert all(-stage.score_after <= mcr(dense, data) + settings.tolerance + 1e-9 for stage in result.reports)


def test_history_has_a_row_an_epoch(pruned):
    _, _, settings, result = pruned
    expected = [
        (1 + stage, kind, 1 + epoch) for stage, kind in enumerate(GRANULARITIES) for epoch in range(settings.epochs)
    ]
    assert [(row["stage"], row["granularity"], row["epoch"]) for row in result.history] == expected
    assert result.history[-1]["val_accuracy"] == pytest.approx(1 + result.reports[-1].score_after)


def test_dense_model_is_not_changed(pruned):
    dense, weights, _, _ = pruned
    for old, new in zip(weights, dense.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert dense.trainable


def test_result_is_a_plain_model_with_its_left_over_masks(pruned):
    _, _, _, result = pruned
    assert not [layer for layer in result.model.layers if isinstance(layer, sp.MaskedLayer)]
    masks = result.masks
    assert not masks.feature_map and masks.kernel and masks.intra_kernel
    for name, mask in masks.kernel.items():
        kernel = result.model.get_layer(name).get_weights()[0]
        assert not kernel.reshape(-1, *mask.shape)[:, ~mask].any()  # positions x inputs x outputs


def test_feature_map_stage_retrains_the_thin_model(retrained):
    seen = retrained(stay, stay)
    tiny.run(tiny.trained(), tiny.data(), settings_of(granularity=("feature_map", "kernel"), tolerance=1.0))
    dense = {layer.name: layer.count_params() for layer in tiny.trained().layers}
    for thin in seen:
        assert all(thin[name] < dense[name] for name in PRUNABLE)
    assert seen[0] == seen[1]


def test_kernel_stage_keeps_the_shape(retrained):
    seen = retrained(stay)
    tiny.run(tiny.trained(), tiny.data(), settings_of(granularity=("kernel",), tolerance=1.0))
    dense = {layer.name: layer.count_params() for layer in tiny.trained().layers}
    assert {name: seen[0][name] for name in PRUNABLE} == {name: dense[name] for name in PRUNABLE}


def test_impossible_tolerance_is_refused_with_the_figures(retrained):
    retrained(tiny.forget, tiny.forget)
    message = (
        r"No stage stayed within the tolerance of 0\.00 points\. Received: validation MCR 0\.00 % dense; "
        r"feature_map at sparsity 0\.3\d: [67]\d\.\d\d %, kernel at sparsity 0\.[234]\d: [67]\d\.\d\d %\. Use a lower "
        r"--sparsity, more --epochs, --distill 0\.5, or a larger --tolerance\."
    )
    with pytest.raises(RefusedError, match=message):
        tiny.run(tiny.trained(), tiny.data(), settings_of(granularity=("feature_map", "kernel"), tolerance=0))


def test_rejected_last_stage_leaves_the_previous_model(retrained):
    retrained(stay, tiny.forget)
    data = tiny.data()
    settings = settings_of(granularity=("feature_map", "kernel"), sparsity=0.3, tolerance=0.6)
    result = tiny.run(tiny.trained(), data, settings)
    assert [stage.accepted for stage in result.reports] == [True, False]
    assert result.sparsity == result.reports[0].sparsity < result.reports[1].sparsity
    assert result.sparsity == pytest.approx(1 - kept_weights(result.model) / kept_weights(tiny.trained()))
    assert mcr(result.model, data) == pytest.approx(-result.reports[0].score_after)
    assert not result.masks.kernel
    assert len(result.history) == 2 * settings.epochs


def test_rejected_middle_stage_is_not_built_upon(retrained):
    retrained(stay, tiny.forget, stay)
    data = tiny.data()
    settings = settings_of(granularity=GRANULARITIES, sparsity=0.4, tolerance=0.6)
    result = tiny.run(tiny.trained(), data, settings)
    assert [stage.accepted for stage in result.reports] == [True, False, True]
    assert result.masks.intra_kernel and not result.masks.kernel
    assert result.sparsity == result.reports[2].sparsity
    assert result.sparsity == pytest.approx(1 - kept_weights(result.model) / kept_weights(tiny.trained()))
    assert mcr(result.model, data) == pytest.approx(-result.reports[2].score_after)


def test_rejected_first_stage_leaves_the_dense_shape(retrained):
    seen = retrained(tiny.forget, stay)
    settings = settings_of(granularity=("feature_map", "kernel"), sparsity=0.3, tolerance=0.6)
    result = tiny.run(tiny.trained(), tiny.data(), settings)
    assert [stage.accepted for stage in result.reports] == [False, True]
    dense = {layer.name: layer.count_params() for layer in tiny.trained().layers}
    assert {name: seen[1][name] for name in PRUNABLE} == {name: dense[name] for name in PRUNABLE}
    assert result.model.count_params() == tiny.trained().count_params()


@pytest.mark.parametrize("keep", sweep_but(("hid*",), {"hid*": (("hid*",),), "a,b": (("a", "b"),)}))
def test_kept_layers_stay_whole(retrained, keep):
    retrained(stay, stay)
    kinds = ("feature_map", "intra_kernel")
    settings = settings_of(granularity=kinds, sparsity=0.3, tolerance=1.0, keep=keep)
    small = tiny.run(tiny.trained(), tiny.data(), settings).model
    kept = ("hidden",) if keep == ("hid*",) else keep
    for name in PRUNABLE:
        old, new = (model.get_layer(name).get_weights()[0] for model in (tiny.trained(), small))
        if name in kept:
            assert new.shape[-1] == old.shape[-1]
            assert np.all(new != 0)
        else:
            assert np.count_nonzero(new) < np.count_nonzero(old)


@pytest.mark.parametrize(
    "limits", [{"round_to": 4}, pytest.param({"min_channels": 7}, marks=pytest.mark.sweep)], ids=str
)
def test_widths_keep_to_the_limits(retrained, limits):
    retrained(stay)
    settings = settings_of(sparsity=0.3, tolerance=1.0, keep_first=False, **limits)
    small = tiny.run(tiny.trained(), tiny.data(), settings).model
    pairs = [
        [model.get_layer(name).get_weights()[0].shape[-1] for model in (tiny.trained(), small)] for name in PRUNABLE
    ]
    assert any(new < old for old, new in pairs)
    for old, new in pairs:
        assert new == old or (new % limits.get("round_to", 1) == 0 and new >= limits.get("min_channels", 1))


@pytest.mark.parametrize("keep_first", [True, False])
def test_first_convolution_is_pruned_only_on_request(retrained, keep_first):
    retrained(stay)
    settings = settings_of(granularity=("kernel",), kernel_groups="any", tolerance=1.0, keep_first=keep_first)
    small = tiny.run(tiny.trained(), tiny.data(), settings).model
    assert bool(np.all(small.get_layer("first").get_weights()[0] != 0)) is keep_first


@pytest.mark.parametrize("keep_last", [True, False])
def test_classifier_loses_weights_only_on_request(retrained, keep_last):
    retrained(stay)
    settings = settings_of(granularity=("weight",), tolerance=1.0, keep_last=keep_last)
    small = tiny.run(tiny.trained(), tiny.data(), settings).model
    kernels = [layer.get_weights()[0] for layer in small.layers if layer.get_weights()]
    assert bool(np.all(kernels[-1] != 0)) is keep_last and kernels[-1].shape[-1] == tiny.CLASSES


@pytest.mark.parametrize(
    "name", sweep_but(("particle_filter", "activation_vote"), {name: (name,) for name in SEARCHES})
)
def test_every_search_prunes_feature_maps(retrained, name):
    retrained(stay)
    result = tiny.run(tiny.trained(), tiny.data(), settings_of(search=name, tolerance=1.0, candidates=4))
    (stage,) = result.reports
    assert stage.search == name
    assert 0.5 <= stage.sparsity < 0.6


@pytest.mark.parametrize("candidates", [3, 5, 15, 50])
@pytest.mark.parametrize("name", ["best_of_n", "particle_filter", "evolutionary"])
def test_searches_score_no_more_candidates_than_allowed(name, candidates):
    space = mask_space(sp.trace(tiny.trained()), "kernel", 0.5)
    selector = _prune_stage._selector(settings_of(search=name, candidates=candidates), "kernel")
    scored = []

    def score(candidates):
        scored.extend(candidates)
        return [0.0] * len(candidates)

    find(selector, space, score)
    assert candidates / 2 < len(scored) <= candidates


@pytest.mark.sweep
def test_search_is_seeded(retrained):
    retrained(*[stay] * 3)
    free = {"granularity": ("kernel",), "kernel_groups": "any", "tolerance": 1.0, "search": "best_of_n"}
    free["candidates"] = 2
    results = [tiny.run(tiny.trained(), tiny.data(), settings_of(**free, seed=seed)) for seed in (0, 0, 1)]
    assert results[0].masks.equals(results[1].masks)
    assert not results[0].masks.equals(results[2].masks)


def test_test_part_is_not_touched(retrained):
    retrained(stay)
    job = Job.of(tiny.trained(), tiny.data(), settings_of(tolerance=1.0))
    blind = dataclasses.replace(job, data=dataclasses.replace(job.data, x_test=None, y_test=None))
    assert run_job(blind).reports[0].accepted


def test_nothing_to_prune_is_refused():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(x), name="short")
    with pytest.raises(ValueError, match="Model 'short' has nothing to prune"):
        tiny.run(model, tiny.data(), settings_of())


def test_sparsity_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"Granularity 'feature_map' cannot remove that much here. .*Use at most 0\.9"):
        tiny.run(tiny.trained(), tiny.data(), settings_of(sparsity=0.995))


def test_layer_to_keep_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="has no layer to keep by that name. Received: keep='nothing'"):
        tiny.run(tiny.trained(), tiny.data(), settings_of(keep=("nothing",)))


def pruned_by(granularity, **changes):
    settings = settings_of(granularity=granularity, tolerance=1.0, **changes)
    return tiny.run(tiny.trained(), tiny.data(), settings)


def of_one_stage(result):
    (stage,) = result.reports
    return stage.demands


def in_blocks(mask, groups):
    """Whether the kernels of every pair of runs of maps go or stay together."""
    rows, columns = (np.arange(size) * groups // size for size in mask.shape)
    tiles = [mask[np.ix_(rows == i, columns == j)] for i in range(groups) for j in range(groups)]
    return all(tile.all() or not tile.any() for tile in tiles)


GROUPS = {
    "auto, half": ({"sparsity": 0.5}, 2),
    "auto, more": ({"sparsity": 0.6}, 4),
    "given": ({"kernel_groups": 4}, 4),
}


@pytest.mark.parametrize("changes, groups", GROUPS.values(), ids=GROUPS)
def test_kernels_go_in_blocks(retrained, changes, groups):
    retrained(stay)
    result = pruned_by(("kernel",), **changes)
    assert of_one_stage(result) == sp.Kernel(groups=groups)
    assert sorted(result.masks.kernel) == sorted(PRUNABLE)
    assert all(in_blocks(mask, groups) and not mask.all() for mask in result.masks.kernel.values())


ANY = {"asked for": {"kernel_groups": "any"}, "not lowered": {"lower": "none"}}


@pytest.mark.parametrize("changes", ANY.values(), ids=ANY)
def test_kernels_go_one_by_one_where_nothing_else_is_asked_for(retrained, changes):
    retrained(stay)
    result = pruned_by(("kernel",), **changes)
    assert of_one_stage(result) == sp.Kernel()
    assert not any(in_blocks(mask, 2) for mask in result.masks.kernel.values())


def test_blocks_are_smaller_where_those_of_the_share_do_not_reach_it(retrained):
    retrained(stay)
    result = pruned_by(("kernel",), sparsity=0.5, keep_first=False)  # all six kernels of it read one map
    assert of_one_stage(result) == sp.Kernel(groups=4)
    assert result.sparsity >= 0.5


def test_kernels_go_one_by_one_with_a_warning_where_no_blocks_reach_the_sparsity(retrained, caplog):
    retrained(stay)
    result = pruned_by(("kernel",), sparsity=0.9)
    assert of_one_stage(result) == sp.Kernel()
    assert result.sparsity >= 0.9
    assert "Kernels go one by one: no blocks of them remove 90.0 % of the prunable weights" in caplog.text


def test_blocks_that_were_given_are_kept_to():
    message = r"Granularity 'kernel' cannot remove that much here\. Received: sparsity=0\.6000\. Use at most 0\.5"
    with pytest.raises(ValueError, match=message):
        pruned_by(("kernel",), sparsity=0.6, kernel_groups=2)


PATTERNS = {
    "auto": ({}, sp.IntraKernelStrided("columns", 2)),
    "given": ({"strides": (2, 4), "patterns": 3}, sp.IntraKernelStrided((2, 4), 3)),
    "columns, not lowered": ({"strides": "columns", "lower": "none"}, sp.IntraKernelStrided("columns")),
    "any strides": ({"strides": "any"}, sp.IntraKernelStrided(None, 2)),
    "any": ({"strides": "any", "patterns": "any"}, sp.IntraKernelStrided()),
    "not lowered": ({"lower": "none"}, sp.IntraKernelStrided()),
}


@pytest.mark.every(2)
@pytest.mark.parametrize("changes, demands", sweep_but(("auto", "given", "not lowered"), PATTERNS))
def test_patterns_are_those_that_were_asked_for(retrained, changes, demands):
    retrained(stay)
    result = pruned_by(("intra_kernel",), sparsity=0.6, **changes)
    assert of_one_stage(result) == demands
    found = result.masks.intra_kernel
    assert sorted(found) == sorted(PRUNABLE)
    most = max(len(np.unique(patterns, axis=0)) for patterns in found.values())
    strides = {name: set(patterns[:, 0].tolist()) for name, patterns in found.items()}
    assert most <= demands.patterns if demands.patterns else most > 2
    if demands.strides == "columns":  # `hidden` reads maps of 4 x 4
        for name, column in {"a": 3, "b": 3, "hidden": 4}.items():
            assert column in strides[name] and strides[name] <= {1, column}
    elif demands.strides:
        assert set().union(*strides.values()) <= set(demands.strides)


WEIGHTS = {"layer": sp.Weight(), "model": sp.Weight(across="model"), "2:4": sp.Weight(2, 4)}


@pytest.mark.every(2)
@pytest.mark.parametrize("weights, demands", WEIGHTS.items())
def test_weights_are_those_that_were_asked_for(retrained, weights, demands):
    retrained(stay)
    result = pruned_by(("weight",), sparsity=0.5, weights=weights)
    assert of_one_stage(result) == demands
    assert 0.49 <= result.sparsity < 0.51
    for name, mask in result.masks.weight.items():
        kernel = result.model.get_layer(name).get_weights()[0]
        assert np.count_nonzero(kernel) <= mask.sum() < mask.size
        if weights == "2:4":
            rows = mask.reshape(-1, mask.shape[-1])
            assert (rows[: len(rows) // 4 * 4].reshape(-1, 4, rows.shape[1]).sum(axis=1) == 2).all()


def test_strides_that_were_given_are_kept_to():
    message = r"Granularity 'intra_kernel' cannot remove that much here\. Received: sparsity=0\.9000\. Use at most"
    with pytest.raises(ValueError, match=message):
        pruned_by(("intra_kernel",), sparsity=0.9, strides=(1, 3))


@pytest.mark.sweep
def test_later_stages_do_not_remove_what_earlier_ones_removed_too_much(retrained):
    retrained(stay, stay)
    result = pruned_by(("kernel", "intra_kernel"), sparsity=0.5, kernel_groups=2)
    first, last = result.reports
    assert first.sparsity > 1 - 0.5**0.5 + 0.02  # a block is a quarter of a layer
    assert 0.5 <= last.sparsity < 0.52


@pytest.mark.every(3)
@pytest.mark.parametrize("allocation", ["uniform", "greedy", "evolutionary"])
def test_budget_is_allocated_and_met_by_the_small_model(retrained, allocation):
    retrained(stay)
    dense, data = tiny.fresh(), tiny.data()
    asked = {"allocation": allocation, "tolerance": 1, "search": "magnitude", "reconstruct": "none"}
    settings = settings_of(sparsity=sp.Budget("macs", 0.6), **asked)
    result = tiny.run(dense, data, settings)
    (stage,) = result.reports
    assert stage.allocation.method == allocation
    macs = sp.trace(result.model).macs
    assert macs == stage.allocation.cost_after <= 0.6 * sp.trace(dense).macs
    assert {name: result.model.get_layer(name).kernel.shape[-1] for name in PRUNABLE} == stage.allocation.kept
    assert stage.score_before == pytest.approx(stage.allocation.score)  # the same masks, by magnitude
    assert 0 < stage.sparsity == result.sparsity


def test_latency_is_that_of_the_int8_file(retrained, monkeypatch):
    retrained(stay)
    asked, device = {}, ByMacs()

    def latency_cost(masked, **given):
        asked.update(given)
        return lambda kept: 10.0 + sum(kept.values())

    monkeypatch.setattr(_allocate, "latency_cost", latency_cost)
    settings = settings_of(sparsity=sp.Budget("latency", 0.8), tolerance=1, search="magnitude")
    (stage,) = tiny.run(tiny.fresh(), tiny.data(), settings, device=device).reports
    assert asked["device"] is device and asked["quantize"] == "int8" and len(asked["representative_data"]) == 16
    assert stage.allocation.cost_before == 10 + 8 + 8 + 12
    assert stage.allocation.cost_after == 10 + sum(stage.allocation.kept.values()) <= 0.8 * 38


def test_allocation_and_search_are_scored_where_the_settings_say(retrained, monkeypatch):
    retrained(stay)
    asked = []

    def here(called, *args, executor, **given):
        asked.append(executor)
        return called(*args, **given)

    for module, name in ((_allocate, "allocate"), (_prune_stage, "find_masks")):
        monkeypatch.setattr(module, name, functools.partial(here, getattr(module, name)))
    settings = settings_of(sparsity=sp.Budget("macs", 0.6), tolerance=1, executor="ray", workers=3)
    tiny.run(tiny.fresh(), tiny.data(), settings)
    assert asked == [sp.RayExecutor(3)] * 2


def test_budget_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"Budget 'macs': removing feature maps does not make the network that cheap"):
        tiny.run(tiny.fresh(), tiny.data(), settings_of(sparsity=sp.Budget("macs", 0.01)))
