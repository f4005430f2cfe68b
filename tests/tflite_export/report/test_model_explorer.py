"""Node data are as Model Explorer 0.1.34 reads them: its own class and adapter were compared with once."""

import json

from tests.tflite_export.report import reports
from tflite_export.report import Profile, node_data


def test_results_are_by_place_of_the_operator():
    found = {name: json.loads(text) for name, text in node_data(reports.FULL.after).items()}
    assert list(found) == ["time", "bytes", "macs", "memory", "sparsity"]
    assert found["macs"]["results"] == {"0": {"value": 1152}, "2": {"value": 384}}
    assert found["sparsity"]["results"] == {"0": {"value": 25.0}, "2": {"value": 0.0}}
    assert found["memory"]["results"].keys() == {"0", "1", "2"}
    for each in found.values():
        assert each.keys() == {"name", "results", "gradient"}
        assert [item["stop"] for item in each["gradient"]] == [0, 1]


def test_figure_that_nothing_has_is_left_out():
    assert "time" not in node_data(Profile("file", reports.operators(2)))
    assert node_data(Profile("file", ())) == {}
