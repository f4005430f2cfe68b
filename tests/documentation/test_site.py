"""The manual as MkDocs builds it: without a warning, with every public name, and a README that people read."""

import html
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tf_structprune as sp
import tflite_export as te

ROOT = Path(__file__).parents[2]
MOST_WORDS = 900


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("package", [sp, te], ids=lambda package: package.__name__)
def test_every_public_name_is_told_in_the_reference(package, site):
    """By the first sentence of its own docstring: a room of the same name in its place would have another."""
    page = re.sub(r"<[^>]+>", "", (site / f"reference/{package.__name__}/index.html").read_text())
    told = words(html.unescape(page))
    public = {name: value for name, value in vars(package).items() if not name.startswith("_")}
    named = {name: value for name, value in public.items() if inspect.isclass(value) or inspect.isfunction(value)}
    assert len(named) > 20
    assert [name for name, value in named.items() if words(inspect.getdoc(value).split("\n\n")[0]) not in told] == []


def words(text):
    return " ".join(text.replace("`", "").split())


def test_every_command_is_in_the_reference(site):
    page = (site / "reference/command_line/index.html").read_text()
    for command in ("demo", "compress", "inspect", "benchmark", "sensitivity", "pack", "unpack", "report"):
        assert f"tf-structprune {command}" in page


def test_site_takes_nothing_from_elsewhere(site):
    """No script, style or font of a server that may be gone, or that counts readers."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert loaded == [], page


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= MOST_WORDS


def test_links_of_readme_and_pages_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"(?:\]\(|<img src=\")([^)#\s\"]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
