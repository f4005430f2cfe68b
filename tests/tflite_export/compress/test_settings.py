"""Settings are checked when they are made."""

import math

import pytest

from tf_structprune.allocation import Budget
from tf_structprune.cluster import RayExecutor
from tf_structprune.search import SEARCHES
from tflite_export.compress import LEAST_STEPS, CompressSettings

WRONG = {
    "sparsity one": ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\). Received: sparsity=1.0"),
    "sparsity negative": ({"sparsity": -0.1}, r"sparsity must be in \[0, 1\). Received: sparsity=-0.1"),
    "sparsity nan": ({"sparsity": math.nan}, r"sparsity must be in \[0, 1\). Received: sparsity=nan"),
    "allocation unknown": ({"allocation": "luck"}, "Unknown allocation. Received: allocation='luck'. Use one of: uni"),
    "floor in percent": ({"floor": 25}, r"floor must be in \[0, 1\). Received: floor=25. It is the share of its units"),
    "floor of all": ({"floor": 1.0}, r"floor must be in \[0, 1\). Received: floor=1.0"),
    "budget of kernels": (
        {"sparsity": Budget("macs", 0.5), "granularity": ("feature_map", "kernel")},
        "A budget is allocated to feature maps, or to layers, and nothing else. Received: granularity='feature_map,ker",
    ),
    "smallest of kernels": (
        {"smallest": True, "granularity": ("kernel",)},
        "The smallest model is reached by removing feature maps, and nothing else. Received: granularity='kernel'. Use",
    ),
    "arena that nothing measures": (
        {"sparsity": Budget("arena", 0.5), "micro": "none"},
        "The arena is what TFLite Micro uses. Received: a budget of arena with micro='none'. Use micro='auto'",
    ),
    "budgets that contradict": (
        {"sparsity": (Budget("macs", 0.5), Budget("macs", limit=9))},
        "Budgets contradict: each kind is named once. Received: macs of at most 50 % and 9 MACs. Leave one",
    ),
    "granularity unknown": ({"granularity": ("filter",)}, "Unknown granularity. Received: granularity='filter'"),
    "granularity twice": (
        {"granularity": ("kernel", "kernel")},
        "granularity names each kind once. Received: 'kernel,kernel'",
    ),
    "granularity none": ({"granularity": ()}, "granularity names each kind once. Received: ''"),
    "search unknown": ({"search": "luck"}, "Unknown search. Received: search='luck'. Use one of: best_of_n, "),
    "augment unknown": (
        {"augment": ("flip", "rotate")},
        "Unknown augment. Received: augment='rotate'. Use some of: flip, shift",
    ),
    "tolerance negative": ({"tolerance": -0.01}, r"tolerance must be at least 0. Received: tolerance=-0.01"),
    "tolerance nan": ({"tolerance": math.nan}, r"tolerance must be at least 0. Received: tolerance=nan"),
    "tolerance in words": ({"tolerance": "small"}, r"tolerance must be a number, or a share .*tolerance='small'"),
    "tolerance of twice the error": ({"tolerance": "200%"}, r"from 0% to 100%. Received: tolerance='200%'"),
    "distill above one": ({"distill": 1.5}, r"distill must be in \[0, 1\]. Received: distill=1.5"),
    "candidates zero": ({"candidates": 0}, "candidates must be at least 1. Received: candidates=0"),
    "epochs below zero": ({"epochs": -1}, "epochs must be at least 0. Received: epochs=-1"),
    "reconstruction": ({"reconstruct": "all"}, "Unknown reconstruct. Received: reconstruct='all'"),
    "batch negative": ({"finetune_batch": -1}, "finetune_batch must be at least 1. Received: finetune_batch=-1"),
    "rounding zero": ({"round_to": 0}, "round_to must be at least 1. Received: round_to=0"),
    "channels negative": ({"min_channels": -8}, "min_channels must be at least 1. Received: min_channels=-8"),
    "lower unknown": ({"lower": "yes"}, "Unknown lower. Received: lower='yes'. Use one of: auto, none"),
    "pack unknown": (
        {"pack": "zip"},
        "Unknown pack. Received: pack='zip'. Use one of: none, auto, huffman, bitmap, lut",
    ),
    "packed for nobody": (
        {"pack": "lut", "micro": "none"},
        "Packed weights are for TFLite Micro alone. Received: pack='lut' with micro='none'. Use micro='auto'",
    ),
    "executor unknown": ({"executor": "spark"}, "Unknown executor. Received: executor='spark'. Use one of: local, ray"),
    "workers without ray": (
        {"workers": 4},
        "workers must be at least 1, and are Ray's. Received: workers=4 with executor='local'. Use executor='ray'",
    ),
    "no workers": (
        {"workers": 0, "executor": "ray"},
        "workers must be at least 1, and are Ray's. Received: workers=0 with executor='ray'. Use executor='ray'",
    ),
    "target unknown": ({"target": "phone"}, "Unknown target. Received: target='phone'. Use one of: cpu, micro"),
    "rate zero": ({"finetune_rate": 0.0}, "finetune_rate must be positive and finite. Received: finetune_rate=0.0"),
    "rate nan": ({"finetune_rate": math.nan}, "finetune_rate must be positive and finite. Received: finetune_rate=nan"),
    "rate infinite": (
        {"finetune_rate": math.inf},
        "finetune_rate must be positive and finite. Received: finetune_rate=inf",
    ),
    "groups of no number": (
        {"kernel_groups": "few"},
        "kernel_groups must be at least 2. Received: kernel_groups='few'",
    ),
    "groups one": ({"kernel_groups": 1}, "kernel_groups must be at least 2. Received: kernel_groups=1"),
    "patterns none": ({"patterns": 0}, "patterns must be at least 1. Received: patterns=0. Use a count, 'auto', or"),
    "strides of no name": ({"strides": "rows"}, "Unknown strides. Received: strides='rows'. Use e.g. 1,3, or auto"),
    "stride zero": ({"strides": (0, 3)}, r"strides must be positive. Received: strides=\(0, 3\)"),
    "strides none": ({"strides": ()}, r"strides must be positive. Received: strides=\(\)"),
    "seed negative": ({"seed": -1}, r"seed must be in \[0, 2\*\*32\). Received: seed=-1"),
    "seed too large": ({"seed": 2**32}, r"seed must be in \[0, 2\*\*32\). Received: seed=4294967296"),
}


@pytest.mark.parametrize("changes, message", WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CompressSettings(**changes)


LIMITS = {
    "nothing removed": {"sparsity": 0.0},
    "nearly all removed": {"sparsity": 0.999},
    "no tolerance": {"tolerance": 0},
    "any error tolerated": {"tolerance": 1},
    "a large loss tolerated": {"tolerance": 250.0},
    "a share of the error tolerated": {"tolerance": "12.5%"},
    "teacher only": {"distill": 1},
    "one of everything": {"candidates": 1, "epochs": 1, "finetune_batch": 1},
    "every granularity, any order": {"granularity": ("intra_kernel", "feature_map", "kernel")},
    "augmentations with and without amounts": {"augment": ("flip", "rotation=0.1", "time_mask=3")},
    "no limits on masks": {"kernel_groups": "any", "strides": "any", "patterns": "any"},
    "least masks": {"kernel_groups": 2, "strides": (1,), "patterns": 1},
    "columns": {"strides": "columns"},
    "largest seed": {"seed": 2**32 - 1},
}


@pytest.mark.parametrize("changes", LIMITS.values(), ids=LIMITS)
def test_limits_are_accepted_and_stored_as_given(changes):
    settings = CompressSettings(**changes)
    assert {name: getattr(settings, name) for name in changes} == changes


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_is_accepted(search):
    assert CompressSettings(search=search).search == search


@pytest.mark.parametrize(
    "settings, scorer",
    [
        ({}, "local"),
        ({"executor": "ray"}, RayExecutor(2)),
        ({"executor": "ray", "workers": 5}, RayExecutor(5)),
    ],
)
def test_candidates_are_scored_where_it_says(settings, scorer):
    assert CompressSettings(**settings).scorer == scorer


@pytest.mark.parametrize("samples", [1, 37, 100, 800, 1437, 6_400, 50_000])
def test_every_retraining_has_500_steps_unless_one_asks_for_fewer(samples):
    length = CompressSettings().retraining(samples)
    assert length.epochs * length.steps >= LEAST_STEPS and length.epochs >= 10 and 16 <= length.batch <= 128
    assert length.steps == -(-samples // length.batch)
    assert CompressSettings(epochs=1, finetune_batch=64).retraining(samples).epochs == 1
    assert CompressSettings(epochs=3).retraining(samples).epochs == 3
    assert CompressSettings(finetune_batch=200).retraining(samples).batch == 200


def test_many_samples_are_retrained_on_as_ever():
    assert str(CompressSettings().retraining(50_000)) == "10 epochs of 391 batches of 128"


def test_few_samples_make_small_batches_before_they_make_many_epochs():
    found = [CompressSettings().retraining(samples) for samples in (3_000, 1_000, 320)]
    assert [(length.epochs, length.batch) for length in found] == [(10, 32), (10, 16), (25, 16)]


@pytest.mark.parametrize("given", [{}, {"epochs": 2}, {"finetune_batch": 7}])
def test_settled_settings_hold_what_is_used(given):
    settings = CompressSettings(**given)
    settled, length = settings.settled(300), settings.retraining(300)
    assert (settled.epochs, settled.finetune_batch) == (length.epochs, length.batch)
    assert settled.settled(10_000) == settled


@pytest.mark.parametrize("batch", [None, 32])
def test_no_epochs_are_none(batch):
    settings = CompressSettings(epochs=0, finetune_batch=batch).settled(50)
    assert settings.epochs == 0
    assert str(settings.retraining(50)) == "none"


def test_a_remedy_names_the_teacher_where_there_is_none():
    assert CompressSettings(distill=0.0).remedy.endswith("more --epochs, --distill 0.5, or a larger --tolerance.")
    assert "--distill" not in CompressSettings().remedy


def test_options_that_do_nothing_without_epochs_are_named():
    assert CompressSettings(epochs=0, augment=("flip",), distill=0.6).idle == (
        "Nothing is retrained: --augment and --distill can do nothing."
    )
    assert CompressSettings(epochs=0).idle == CompressSettings(augment=("flip",)).idle == ""


def test_single_weights_are_said_to_buy_bytes_and_no_speed():
    told = "Single weights make the stored model smaller (tf-structprune pack), and nothing faster."
    assert CompressSettings(granularity=("feature_map", "weight")).idle == told


def test_workers_without_work_are_told():
    both = CompressSettings(epochs=0, augment=("flip",), executor="ray").idle
    assert both.startswith(
        "Nothing is retrained: --augment can do nothing. Before a full reconstruction candidates are"
    )
    assert "--executor ray can do nothing. It does with --reconstruct statistics or none." in both
    assert CompressSettings(executor="ray", reconstruct="none").idle == ""
