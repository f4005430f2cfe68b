"""The tutorials run from the first cell to the last as a newcomer would run them, and are stored without output."""

import functools
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient

from tests.marks import HANG_SECONDS
from tests.phones import PROFILE, Phones

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
PHONE = 5  # its number: it runs on a stand-in
ARTIFACTS = ("model.keras", "model_float32.tflite", "model_int8.tflite", "micro/model_data.cc", "summary.json")


class ThisPython(KernelManager):
    """A kernel of the interpreter that runs the tests, whatever kernels are registered on the machine."""

    @property
    def kernel_spec(self):
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def load(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Gives the tutorial of a number after a run in an empty directory, and that directory; a failing cell raises."""

    @functools.cache
    def executed(number):
        folder = tmp_path_factory.mktemp("tutorial")
        with pytest.MonkeyPatch.context() as patch:
            if number == PHONE:
                phones = Phones(tmp_path_factory.mktemp("phones"), patch)
                phones.add(profile=PROFILE, formula="size ** 4 / 1e12")
                (folder / "benchmark_model").symlink_to(phones.binary)
            return run(TUTORIALS[number - 1], folder)

    return executed


def run(path, folder):
    notebook = load(path)
    client = NotebookClient(
        notebook,
        timeout=HANG_SECONDS,
        kernel_name="python3",
        kernel_manager_class=ThisPython,
        resources={"metadata": {"path": str(folder)}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv("MPLBACKEND", raising=False)
        client.execute()
    return notebook, folder


def test_there_are_tutorials():
    assert [int(path.name[0]) for path in TUTORIALS] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_stored_without_output(path):
    for cell in code_cells(load(path)):
        assert cell.outputs == []
        assert cell.execution_count is None
        assert cell.metadata == {}


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_stored_form_is_valid_and_of_no_private_kernel(path):
    notebook = load(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.display_name == "Python 3"


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_short_enough_to_read(path):
    notebook = load(path)
    assert len(notebook.cells) <= 16
    for cell in code_cells(notebook):
        assert 4 <= len(cell.source.splitlines()) <= 14


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_uses_the_public_interface_only(path):
    source = "\n".join(cell.source for cell in code_cells(load(path)))
    ours = [line for line in source.splitlines() if "import" in line and ("structprune" in line or "tflite_" in line)]
    assert set(ours) <= {"import tf_structprune as sp", "import tflite_export as te"}
    assert "sp._" not in source and "te._" not in source


@pytest.mark.parametrize("number", range(1, 7))
def test_every_cell_runs(number, runs):
    notebook, _ = runs(number)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []


@pytest.mark.parametrize("number, pictures", {1: 2, 2: 1, 3: 1, 6: 1}.items())
def test_draws_its_pictures(number, pictures, runs):
    notebook, _ = runs(number)
    shown = [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "display_data"]
    assert len([output for output in shown if "image/png" in output.data]) == pictures


def test_accepts_every_stage_it_tells_of(runs):
    notebook, _ = runs(1)
    (text,) = [_printed(cell) for cell in code_cells(notebook) if "pruning.reports" in cell.source]
    assert text.count("accepted") == 3
    assert "undone" not in text


@pytest.mark.parametrize("name", ["dense", "small"])
def test_writes_the_artifacts(runs, name):
    _, folder = runs(1)
    assert [file for file in ARTIFACTS if not (folder / "digits" / name / file).is_file()] == []


def test_the_pruned_files_are_smaller(runs):
    _, folder = runs(1)
    for file in ("model_float32.tflite", "model_int8.tflite"):
        dense, small = ((folder / "digits" / name / file).stat().st_size for name in ("dense", "small"))
        assert small < 0.6 * dense


def test_two_inputs_are_a_regression_whose_macs_are_halved(runs):
    _, folder = runs(2)
    summary = json.loads((folder / "apart/summary.json").read_text())
    assert "mean absolute error" in summary["task"]
    assert 2 * summary["compressed"]["macs"] <= summary["baseline"]["macs"]


def test_the_microcontroller_gets_what_was_asked_for_and_what_cannot_be_is_refused(runs):
    notebook, folder = runs(3)
    compressed = json.loads((folder / "board/summary.json").read_text())["compressed"]
    assert compressed["int8_bytes"] <= 16 * 1024 and compressed["arena_bytes"] <= 6 * 1024
    (text,) = [_printed(cell) for cell in code_cells(notebook) if "too_small" in cell.source]
    assert "Use at least" in text and text.endswith("written: False\n")


def test_the_archive_is_small_and_gives_the_model_back(runs):
    _, folder = runs(4)
    dense, packed = ((folder / name).stat().st_size for name in ("dense.keras", "small.sham"))
    assert packed < 0.04 * dense
    assert (folder / "exported" / "model_fixed_packed.tflite").is_file()


def test_the_phone_decides(runs):
    """By its own times, which grow with the fourth power of a file's size."""
    notebook, folder = runs(PHONE)
    summary = json.loads((folder / "phone/fast/summary.json").read_text())
    before, after = (summary[side]["latency_us_int8"] for side in ("baseline", "compressed"))
    assert summary["device"].startswith("phone Pixel 8") and after <= 0.7 * before
    assert "TfLiteXNNPackDelegate" in _printed(code_cells(notebook)[-1])


def test_every_method_prunes_as_much_and_the_control_runs_beside_them(runs):
    notebook, _ = runs(6)
    (text,) = [_printed(cell) for cell in code_cells(notebook) if "methods.items()" in cell.source]
    macs = [int(found.replace(",", "")) for found in re.findall(r"([\d,]+) MACs", text)]
    assert len(macs) == 4 and max(macs) < 1.2 * min(macs)


def _printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")
