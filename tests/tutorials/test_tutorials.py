"""The tutorials run from the first cell to the last as a newcomer would run them, and are stored without output."""

import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient import NotebookClient

from tests.marks import HANG_SECONDS

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.ipynb"))
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
def executed(tmp_path_factory):
    """The first tutorial after a run in an empty directory, and that directory; a failing cell raises."""
    return run(TUTORIALS[0], tmp_path_factory.mktemp("tutorial"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The same of the second."""
    return run(TUTORIALS[1], tmp_path_factory.mktemp("tutorial"))


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
    assert [path.name for path in TUTORIALS] == ["1_prune_and_export.ipynb", "2_store_it_compactly.ipynb"]


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
    assert ours == ["import tf_structprune as sp", "import tflite_export as te"]
    assert "sp._" not in source and "te._" not in source


@pytest.mark.parametrize("tutorial", ["executed", "stored"])
def test_every_cell_runs(tutorial, request):
    notebook, _ = request.getfixturevalue(tutorial)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [output for cell in cells for output in cell.outputs if output.output_type == "error"] == []


def test_draws_both_pictures(executed):
    notebook, _ = executed
    shown = [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "display_data"]
    assert len([output for output in shown if "image/png" in output.data]) == 2


def test_accepts_every_stage_it_tells_of(executed):
    notebook, _ = executed
    (text,) = [_printed(cell) for cell in code_cells(notebook) if "pruning.reports" in cell.source]
    assert text.count("accepted") == 3
    assert "undone" not in text


@pytest.mark.parametrize("name", ["dense", "small"])
def test_writes_the_artifacts(executed, name):
    _, folder = executed
    assert [file for file in ARTIFACTS if not (folder / "digits" / name / file).is_file()] == []


def test_the_pruned_files_are_smaller(executed):
    _, folder = executed
    for file in ("model_float32.tflite", "model_int8.tflite"):
        dense, small = ((folder / "digits" / name / file).stat().st_size for name in ("dense", "small"))
        assert small < 0.6 * dense


def test_the_archive_is_small_and_gives_the_model_back(stored):
    _, folder = stored
    dense, packed = ((folder / name).stat().st_size for name in ("dense.keras", "small.sham"))
    assert packed < 0.04 * dense
    assert (folder / "exported" / "model_fixed_packed.tflite").is_file()


def _printed(cell):
    return "".join(output.text for output in cell.outputs if output.output_type == "stream" and output.name == "stdout")
