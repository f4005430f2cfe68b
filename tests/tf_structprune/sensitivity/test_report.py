"""The report as data, table, recipe and plot."""

import json

import numpy as np
import pytest
from matplotlib import image

import tf_structprune as sp
from tf_structprune.sensitivity import _plot

ROWS = (
    sp.Measurement("a", "weights", 2, -0.30),
    sp.Measurement("a", "weights", 8, -0.10),
    sp.Measurement("b|c", "weights", 8, -0.095),
    sp.Measurement("a", "signal", 3, -0.12, ("d",)),
    sp.Measurement("a", "signal", 8, -0.10, ("d",)),
    sp.Measurement("image", "signal", 8, -0.10),
)
MCR = sp.search.Metric("MCR", falls=True, percent=True)
MSE = sp.search.Metric("mse", falls=True)
REPORT = sp.SensitivityReport(MCR, -0.1, ROWS, {"a": 1000, "b|c": 20}, power_of_two=False, per_channel=True)


def test_losses_are_below_the_float_score_by_layers_and_word():
    weights, signals = REPORT.losses("weights"), REPORT.losses("signal")
    assert weights == {("a",): {2: pytest.approx(0.2), 8: 0}, ("b|c",): {8: pytest.approx(-0.005)}}
    assert signals == {("a", "d"): {3: pytest.approx(0.02), 8: 0}, ("image",): {8: 0}}


def test_table_has_every_loss_in_points():
    assert REPORT.table() == (
        "In float: MCR 10.00 %. One part of one layer rounded, the rest in float.\n\n"
        "Weights, MCR rise in points:\n\n"
        "| layer | weights | 2 bits | 8 bits |\n| --- | ---: | ---: | ---: |\n"
        "| a | 1,000 | +20.00 | +0.00 |\n| b\\|c | 20 |  | -0.50 |\n\n"
        "Signals, MCR rise in points:\n\n"
        "| layer | 3 bits | 8 bits |\n| --- | ---: | ---: |\n"
        "| a, d | +2.00 | +0.00 |\n| image |  | +0.00 |"
    )


def test_table_of_another_score_has_its_unit_and_only_what_was_measured():
    report = sp.SensitivityReport(MSE, -0.1, (sp.Measurement("a", "weights", 4, -0.35),), {"a": 5})
    assert "In float: mse 0.1." in report.table() and "Weights, mse rise:" in report.table()
    assert "| a | 5 | +0.25 |" in report.table() and "Signals" not in report.table()


def test_json_comes_back():
    assert sp.SensitivityReport.from_json(REPORT.to_json()) == REPORT
    assert json.loads(REPORT.to_json())["rows"][3]["tied"] == ["d"]


GOOD = json.loads(REPORT.to_json())
BAD = {
    "no json": "{",
    "list": "[]",
    "rows missing": json.dumps({key: value for key, value in GOOD.items() if key != "rows"}),
    "key unknown": json.dumps(GOOD | {"colour": 1}),
    "row no object": json.dumps(GOOD | {"rows": [1]}),
    "part unknown": json.dumps(GOOD | {"rows": [GOOD["rows"][0] | {"part": "bias"}]}),
    "bits no number": json.dumps(GOOD | {"rows": [GOOD["rows"][0] | {"bits": "2"}]}),
    "score no number": json.dumps(GOOD | {"rows": [GOOD["rows"][0] | {"score": None}]}),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match=r"That is no sensitivity report\. Received: .*SensitivityReport\.to_json\."):
        sp.SensitivityReport.from_json(text)


def test_recipe_takes_the_fewest_bits_and_says_what_is_expected():
    tight, loose = REPORT.allocate(tolerance=0.02), REPORT.allocate(tolerance=0.5)
    assert (tight.power_of_two, tight.per_channel) == (False, True)
    assert [tight.bits_of(name) for name in ("a", "d")] == [sp.LayerBits(8, 3), sp.LayerBits(8, 3)]
    assert REPORT.expected_loss(tight) == pytest.approx(0.02)
    assert loose.bits_of("a") == sp.LayerBits(2, 3)
    assert REPORT.expected_loss(loose) == pytest.approx(0.22)
    assert REPORT.chosen_losses(loose, "weights") == {("a",): pytest.approx(0.2), ("b|c",): pytest.approx(-0.005)}
    assert REPORT.allocate(size_bytes=270).bits_of("a").weight_bits == 2
    with pytest.raises(ValueError, match="tolerance or size_bytes"):
        REPORT.allocate()


def test_word_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match=r"Layer 'a': its weights was not measured .* 4 bits\. Use one of: 2, 8\."):
        REPORT.expected_loss(sp.FixedPoint(4, 8))


@pytest.mark.parametrize("metric", [MCR, MSE], ids=["percent", "number"])
def test_plot_is_an_image_that_replaces_and_leaves_nothing_else(tmp_path, metric):
    path = tmp_path / "plot.png"
    path.write_text("old")
    sp.SensitivityReport(metric, -0.1, ROWS, REPORT.weights).plot(path)
    pixels = image.imread(path)
    colours = {tuple(np.rint(255 * pixel[:3]).astype(int)) for row in pixels for pixel in row}
    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= colours  # both lines are there
    assert [entry.name for entry in tmp_path.iterdir()] == ["plot.png"]


def test_failed_plot_leaves_the_old_one(tmp_path):
    path = tmp_path / "plot.nonsense"
    path.write_text("old")
    with pytest.raises(ValueError, match="nonsense"):
        REPORT.plot(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("count", [1, 2, 5, 7, 40])
def test_figure_has_a_panel_a_layer_with_its_losses(count):
    panels = {
        f"a_layer_with_a_long_name_{at}": {"weights": {2: 40.0, 8: -0.1 * at}, "signal": {3: 1.0}}
        for at in range(count)
    }
    figure = _plot.draw_losses(panels, unit="MCR rise (points)")
    axes = [place for place in figure.axes if place.get_visible()]
    assert len(axes) == count
    for at, place in enumerate(axes):
        assert place.get_title().endswith(f"name_{at}") and len(place.get_title()) <= 26
        lines = {line.get_label(): line.get_xydata().tolist() for line in place.get_lines()}
        assert lines == {"weights": [[2, 40], [8, -0.1 * at]], "signal": [[3, 1]]}
        low, high = place.get_ylim()
        assert low < -0.1 * at and high > 40
    assert figure.get_supylabel() == "MCR rise (points)" and figure.get_supxlabel() == "Word length (bits)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["weights", "signal"]


def test_missing_matplotlib_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(_plot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"The plot needs matplotlib\. .* Install tf-structprune\[plot\]\."):
        REPORT.plot(tmp_path / "plot.png")
    assert list(tmp_path.iterdir()) == []
