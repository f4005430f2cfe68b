"""Which remedy by which rule, for which layers; the report as data, table and plot."""

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import image

from tf_structprune.search import Metric
from tf_structprune.sensitivity import _plot
from tflite_export.sensitivity import Int8Layer, Int8Sensitivity
from tflite_export.sensitivity._diagnose import remedy_for, with_remedies
from tflite_export.sensitivity._parts import INPUT
from tflite_export.sensitivity._remedies import REMEDIES, REMEDY_NAMES

GOOD = Int8Layer(
    layer="a|b",
    kind="CONV_2D",
    weights=1200,
    weight_scales=(0.5, 0.25),
    weight_spread=1.5,
    low=0.0,
    high=127.5,
    scale=0.5,
    zero_point=-128,
    largest_channel=250.0,
    median_channel=100.0,
    most_values=200,
    clipped=0.0,
    score_alone=-0.1,
    score_without=-0.15,
    signal_db=40.0,
    output_db=30.0,
)
MCR = Metric("MCR", falls=True, percent=True)

RULES = {
    "well used": ({}, "int16x8"),
    "a channel of 16": ({"median_channel": 250 / 16}, "equalize"),
    "a channel of 15": ({"median_channel": 250 / 15}, "int16x8"),
    "an input": ({"median_channel": 1.0, "kind": INPUT}, "normalize"),
    "constant": ({"largest_channel": 0.0, "median_channel": 0.0}, "int16x8"),
    "one step for weights": ({"weight_scales": (0.5,), "weight_spread": 16.0}, "per channel"),
    "one step is enough": ({"weight_scales": (0.5,), "weight_spread": 15.0}, "int16x8"),
    "a step a channel": ({"weight_spread": 100.0}, "int16x8"),
    "a constant that is added": ({"weight_scales": (0.5,), "weight_spread": 16.0, "kind": "ADD"}, "int16x8"),
    "outside": ({"clipped": 0.001}, "calibrate"),
    "hardly outside": ({"clipped": 0.0009}, "int16x8"),
    "outliers": ({"most_values": 64}, "clip"),
    "no outliers": ({"most_values": 65}, "int16x8"),
    "channels first": ({"median_channel": 1.0, "clipped": 0.5, "most_values": 3}, "equalize"),
    "range before outliers": ({"clipped": 0.5, "most_values": 3}, "calibrate"),
}


@pytest.mark.parametrize("changes, remedy", RULES.values(), ids=RULES)
def test_remedy_follows_the_stated_rules(changes, remedy):
    assert remedy_for(replace(GOOD, **changes)) == remedy


def test_every_remedy_is_told_and_reached():
    assert set(REMEDY_NAMES) == {"", *REMEDIES}
    assert {remedy for _, remedy in RULES.values()} == set(REMEDIES)


NEEDS = {
    "within": ([0.05, 0.02], 0.01, []),
    "at the tolerance": ([0.05], 0.02, []),
    "one for all": ([0.0, 0.3, 0.01], 0.3, ["1"]),
    "until the rest is small": ([0.02, 0.3, 0.015, 0.01], 0.3, ["1", "0", "2"]),
    "losses that do not add up": ([0.0, 0.001, 0.0], 0.3, ["1"]),
    "gains count as none": ([0.3, -0.9, 0.015, -0.1], 0.3, ["0"]),
}


@pytest.mark.parametrize("losses, lost, needy", NEEDS.values(), ids=NEEDS)
def test_layers_need_a_remedy_until_the_others_keep_the_tolerance(losses, lost, needy):
    rows = [replace(GOOD, layer=str(place), score_alone=-0.1 - loss) for place, loss in enumerate(losses)]
    found = with_remedies(rows, score=-0.1, int8_score=-0.1 - lost, tolerance=0.02)
    assert [row.layer for row in found] == [row.layer for row in rows]
    assert {row.layer for row in found if row.remedy} == set(needy)


ROWS = (
    replace(GOOD, layer="first", weights=0, weight_scales=(), score_alone=-0.1, output_db=50.0),
    replace(GOOD, score_alone=-0.3, remedy="equalize"),
    replace(GOOD, layer="last", score_alone=-0.1, output_db=20.0),
)
REPORT = Int8Sensitivity(MCR, -0.1, -0.32, -0.31, 0.995, 0.002, 0.01, ROWS)


def test_layers_are_ranked_by_loss_then_by_noise():
    assert [row.layer for row in REPORT.ranked] == ["a|b", "last", "first"]


def test_table_has_the_worst_layer_first():
    rows = REPORT.table().splitlines()[2:]
    assert rows[0] == (
        "| a\\|b | CONV_2D | 1,200 | 0 to 127.5 | +20.00 | +5.00 | 40.0 | 30.0 | 250 / 100.0 | 200 | 0.00 % "
        "| equalize |"
    )
    assert rows[2].startswith("| first | CONV_2D |  | 0 to 127.5 | +0.00 |") and len(rows) == 3


def test_summary_tells_losses_proof_and_remedy():
    lines = REPORT.summary()
    assert lines[0].endswith("of the int8 file in LiteRT: 32.00 %, a loss of 22.00 points.")
    assert "names the same on 99.50 % of the samples and differs from it by 0.20 %" in lines[1]
    assert lines[2:] == [f"a|b: {REMEDIES['equalize']}."]


def test_summary_of_a_regression_names_no_classes():
    report = replace(REPORT, metric=Metric("mse", falls=True), agreement=None, layers=ROWS[:1])
    assert "All layers rounded as in the file: differs from it" in report.summary()[1]
    assert report.summary()[2] == "Within the tolerance of 0.01: no layer needs a remedy."


def test_json_comes_back():
    assert Int8Sensitivity.from_json(REPORT.to_json()) == REPORT


GIVEN = json.loads(REPORT.to_json())
BAD = {
    "no json": "{",
    "list": "[]",
    "layers missing": json.dumps({key: value for key, value in GIVEN.items() if key != "layers"}),
    "key unknown": json.dumps(GIVEN | {"colour": 1}),
    "remedy unknown": json.dumps(GIVEN | {"layers": [GIVEN["layers"][0] | {"remedy": "pray"}]}),
    "score no number": json.dumps(GIVEN | {"layers": [GIVEN["layers"][0] | {"score_alone": "low"}]}),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match="That is no report of an int8 file. Received: "):
        Int8Sensitivity.from_json(text)


def test_remedy_that_is_none_is_refused():
    with pytest.raises(ValueError, match="Layer 'a|b': a layer has scores and one of the remedies"):
        replace(GOOD, remedy="pray")


def test_plot_is_written_whole(tmp_path):
    REPORT.plot(tmp_path / "plot.png")
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]
    assert np.asarray(image.imread(tmp_path / "plot.png")).std() > 0


def test_plot_without_matplotlib_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_plot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"Install tf-structprune\[plot\]."):
        REPORT.plot(tmp_path / "plot.png")
