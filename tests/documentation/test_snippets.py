"""Every page of the manual runs from top to bottom: its Python in one namespace, its commands in one directory."""

from pathlib import Path

import pytest
from sybil.document import Document
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from tests.documentation import commands, world
from tests.tflite_export.compress.given_files import given_files as given_files
from tests.tflite_export.compress.given_files import given_once as given_once

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PARSERS = (
    CodeBlockParser("python", PythonEvaluator()),
    CodeBlockParser("sh", lambda example: commands.run(example.parsed)),
)
OTHERS = {"text", "c", "json", "cpp"}

pytestmark = pytest.mark.usefixtures("given_once")


def relative(path):
    return path.relative_to(ROOT).as_posix()


def pages():
    """Pages with something to run."""
    return [path for path in PAGES if list(Document.parse(str(path), *PARSERS))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world.make(folder)
    return folder


def run(page):
    """Run a page, and give how many blocks ran; the first one that fails raises."""
    document = Document.parse(str(page), *PARSERS)
    document.namespace.update(world.names())
    return len([example.evaluate() for example in document])


@pytest.mark.parametrize("page", pages(), ids=relative)
def test_page_runs(page, made, tmp_path, monkeypatch):
    world.enter(made, tmp_path, monkeypatch)
    shown = sum(page.read_text().count(f"```{kind}\n") for kind in ("python", "sh"))
    assert run(page) == shown > 0


def test_a_block_that_fails_fails_its_page(tmp_path):
    (tmp_path / "page.md").write_text("```python\nx = 1\n```\nand\n```python\nassert x == 2, 'so it is'\n```\n")
    with pytest.raises(AssertionError, match="so it is"):
        run(tmp_path / "page.md")


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_block_is_run_or_of_a_kind_that_is_shown(page):
    kinds = {line.strip("` \n") for line in page.read_text().splitlines() if line.lstrip().startswith("```")} - {""}
    assert kinds <= {"python", "sh"} | OTHERS
    assert not any(line.startswith("    tf-structprune") for line in page.read_text().splitlines())


@pytest.mark.parametrize(
    "text, message",
    [
        ("tf-structprune compress model.keras --dta data.npz --out x", "status 2"),
        ("pip install 'tf-structprune[absent]'", "no extra"),
        ("python -m benchmarks.stereo --absent 1", "has no --absent"),
        ("unheard-of --now", "No test knows 'unheard-of'"),
    ],
    ids=["option", "extra", "flag", "program"],
)
def test_a_wrong_line_is_found(text, message):
    with pytest.raises(AssertionError, match=message):
        commands.run(text)
