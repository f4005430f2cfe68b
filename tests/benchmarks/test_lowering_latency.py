"""The script that times whole networks: its rows, its table, its networks, and the process without AMX."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import keras
import pytest

from benchmarks import _lowering_rows, _lowering_table, lowering_latency, networks
from benchmarks._lowering_rows import METHODS, Other, measure, prune
from tests.marks import HANG_SECONDS
from tf_structprune.layers import wrap
from tf_structprune.shrink import shrink
from tflite_export.quantize import convert

ROOT = Path(__file__).parents[2]
MEASURED = ("feature maps", "kernel blocks")  # not all: every one is converted and timed
PLACE = {"network": "tiny", "cpu": "some CPU", "amx": "no", "seed": 0, "runs": 2}


def tiny():
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 1))
    for name in "ab":
        x = layers.Conv2D(8, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dense(3, name="classifier")(layers.GlobalAveragePooling2D()(x))
    return networks.randomize(keras.Model(inputs, layers.Softmax()(x), name="tiny"), 0)


@pytest.fixture(scope="module")
def rows():
    dense = tiny()
    shrunk = {method: prune(dense, method, 0.5, round_to=2, seed=0) for method in MEASURED}
    other = Other(0.5, 1000, {"none": {"stripped": convert(dense), "sparsity flag": b"no model"}})
    found = measure(dense, shrunk, {"tfmot": other}, quantize="none", runs=2)
    return [{**PLACE, "sparsity": 0.5, "format": "none", **row} for row in found]


def test_rows_say_what_was_kept_and_what_it_costs(rows):
    assert [row["method"] for row in rows] == [*MEASURED, "tfmot"]
    for row in rows[:-1]:
        assert row["sparsity_reached"] == pytest.approx(0.5, abs=0.15)
        assert 0 < row["macs_kept"] < row["macs_dense"]
        assert row["difference"] < 1e-5
        assert set(row["files"]) == {"dense", "shrunk", "lowered"}
        assert row["files"]["shrunk"]["macs"] >= row["macs_kept"]
    assert rows[0]["files"]["shrunk"]["macs"] == rows[0]["macs_kept"]  # without channels, no zeros are left
    assert json.loads(json.dumps(rows)) == rows


def test_files_that_cannot_run_are_refused_by_name(rows):
    assert set(rows[-1]["files"]) == {"dense", "stripped"}
    assert set(rows[-1]["refused"]) == {"sparsity flag"}
    assert "model" in rows[-1]["refused"]["sparsity flag"]


def test_table_has_a_line_for_every_file(rows):
    text = _lowering_table.table(rows[::-1], [*METHODS, "tfmot"], layers=True)
    assert text.count("| dense |") == 1  # one group, measured in turn
    for row in rows[:-1]:
        assert f"| {row['method']} | shrunk" in text
        assert all(f"    {line}\n" in text for line in row["plan"])
    assert text.index("| feature maps |") < text.index("| kernel blocks |")
    assert text.count("Largest slowdown of lowered against shrunk: ") == 1
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_slowdown_is_the_largest_latency_ratio(rows):
    slow = json.loads(json.dumps(rows[1]))
    slow["files"]["lowered"] = {**slow["files"]["shrunk"], "latency_us": 2 * slow["files"]["shrunk"]["latency_us"]}
    text = _lowering_table.table([rows[0], slow], list(METHODS), layers=False)
    assert "shrunk: 2.00 times the latency (kernel blocks, 50%, float32)." in text


def test_sparsity_out_of_reach_becomes_the_most_that_is_reached():
    dense = tiny()
    masked = wrap(dense, granularity="feature_map", round_to=4)
    _lowering_rows.remove(masked, "feature_map", 0.9, 0)
    kept = networks.kept_weights(shrink(masked).model) / networks.kept_weights(dense)
    assert kept == pytest.approx((1 * 8 + 8 * 4) / (1 * 8 + 8 * 8))  # a is whole, b has 4 maps


def test_lowered_networks_that_compute_something_else_are_refused(monkeypatch):
    monkeypatch.setattr(_lowering_rows, "relative_difference", lambda *_: 2e-5)
    dense = tiny()
    shrunk = {"feature maps": prune(dense, "feature maps", 0.5, round_to=2, seed=0)}
    with pytest.raises(ValueError, match=r"'tiny', feature maps: lowered and shrunk logits differ. Received: 2.0e-05"):
        list(measure(dense, shrunk, {}, quantize="none", runs=1))


def test_difference_is_that_of_the_logits():
    model, other = tiny(), tiny()
    kernel, bias = other.get_layer("classifier").get_weights()
    other.get_layer("classifier").set_weights([kernel, bias + 100])  # a shift that softmax takes out
    samples = networks.np.ones((1, 8, 8, 1), "float32")
    assert _lowering_rows.relative_difference(model, model, samples) == 0
    assert _lowering_rows.relative_difference(model, other, samples) > 10
    with pytest.raises(ValueError, match="last layer must be a Softmax"):
        bare = keras.Model(model.input, model.layers[-1].input)
        _lowering_rows.relative_difference(bare, bare, samples)


@pytest.mark.every(2)
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
@pytest.mark.parametrize("method", METHODS)
def test_pruned_networks_have_the_sparsity_asked_for(method, sparsity):
    model = networks.LATENCY_NETWORKS["ResNet-8"]()
    small = prune(networks.randomize(model, 0), method, sparsity, round_to=4, seed=1).model
    reached = 1 - networks.kept_weights(small) / networks.kept_weights(model)
    # One weight of nine, 1 x 1 convolutions stay; one block of eight.
    most = {"intra-kernel": 8 / 9 * 0.96, "kernel blocks": 7 / 8}.get(method, 1.0)
    assert min(sparsity, most) - 0.02 < reached < sparsity + 0.1


def test_unknown_names_are_refused():
    with pytest.raises(SystemExit, match="--networks: unknown. Received: LeNet. Use: ResNet-8"):
        lowering_latency.chosen(["LeNet"], ["ResNet-8"], "--networks")


@pytest.mark.parametrize(
    "name, macs, weights",
    [  # as published by MLPerf Tiny, and from the layers' sizes
        ("ResNet-8", 12_501_632, 76_720),
        ("MobileNetV1 0.25", 7_489_664, 207_600),
        ("CIFAR10.small", 290_851_328, 5_524_864),
    ],
)
def test_networks_have_their_published_size(name, macs, weights):
    model = networks.randomize(networks.LATENCY_NETWORKS[name](), 0)
    assert networks.kept_macs(model) == macs
    assert networks.kept_weights(model) == weights


@pytest.mark.skipif(sys.platform != "linux" or platform.machine() != "x86_64", reason="AMX is of x86-64 Linux")
def test_process_is_refused_amx_and_nothing_else():
    script = (
        "import ctypes, errno; from benchmarks._without_amx import deny_amx; deny_amx(); "
        "libc = ctypes.CDLL(None, use_errno=True); got = ctypes.c_uint64(0); "
        "asked = libc.syscall(158, 0x1023, 18); refused = ctypes.get_errno() == errno.EPERM; "
        "print(asked, refused, libc.syscall(158, 0x1022, ctypes.byref(got)), got.value >> 18 & 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS
    )
    assert done.stdout.split() == ["-1", "True", "0", "0"], done.stderr
