import json
import re
from pathlib import Path

import numpy as np
import pytest

from tflite_export.bundle import code_tables, general_kernels
from tflite_export.file import ModelDescription, OperatorDescription, TensorDescription

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "operator_code"
TABLES = sorted(code_tables().items())


@pytest.mark.parametrize("kernels, table", TABLES, ids=lambda value: value if isinstance(value, str) else "")
def test_operators_together_take_at_most_their_sum_and_at_least_the_largest(kernels, table):
    rng = np.random.default_rng(0)
    names = sorted(table.operators)
    for _ in range(200):
        some = rng.choice(names, rng.integers(1, len(names)), replace=False).tolist()
        alone = [table.bytes_of([name]) for name in some]
        assert max(alone) <= table.bytes_of(some) <= sum(alone)
    assert table.bytes_of([]) == table.bytes_of(["NO_SUCH"]) == 0 < min(table.bytes_of([name]) for name in names)


@pytest.mark.parametrize("kernels, table", TABLES, ids=lambda value: value if isinstance(value, str) else "")
def test_figures_are_those_of_the_results(kernels, table):
    text = RESULTS.with_suffix(".md").read_text()
    (head,) = re.findall(r"^\| operator \| (.+) \|$", text, re.M)
    column = 1 + head.split(" | ").index(kernels)
    rows = [line.strip("|").split("|") for line in re.findall(r"^\| [A-Z_0-9a-z:, ]+ \|(?: [\d,]* \|)+$", text, re.M)]
    told = {row[0].strip(): row[column].strip().replace(",", "") for row in rows}
    assert int(told.pop("none: the runtime")) == table.runtime
    assert {name: int(size) for name, size in told.items() if size} == {
        name: table.bytes_of([name]) for name in table.operators
    }


def test_sums_are_what_the_linker_made_of_several_operators():
    checks = json.loads(RESULTS.with_suffix(".json").read_text())
    for each in checks:
        table = code_tables()[each["library"].partition(":")[2]]
        assert each["summed"] == table.bytes_of(each["operators"]) == pytest.approx(each["linked"], rel=0.01)
    assert {each["library"].partition(":")[2] for each in checks} == {name for name, _ in TABLES}


def test_kernels_for_all_types_are_needed_where_one_layer_is_no_int8():
    tensors = tuple(TensorDescription("t", (1, 2), dtype, (), (), False) for dtype in ("int8", "float32"))
    operators = (("CONV_2D", 0), ("CONV_2D", 1), ("ADD", 0), ("RESHAPE", 1))
    described = tuple(OperatorDescription(name, (place, place), (place,), 0) for name, place in operators)
    assert general_kernels(ModelDescription(8, tensors, described, (0,), (1,))) == {"CONV_2D"}
