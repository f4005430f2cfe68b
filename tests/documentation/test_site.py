"""The manual as MkDocs builds it: without a warning, with every public name, and a README that people read."""

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
def test_every_public_name_is_in_the_reference(package, site):
    page = (site / f"reference/{package.__name__}/index.html").read_text()
    anchors = set(re.findall(r'id="([\w.]+)"', page))
    names = {
        name for name, value in vars(package).items() if not name.startswith("_") and value.__class__ is not type(re)
    }
    assert {name for name in names if f"{package.__name__}.{name}" not in anchors} == set()


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
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
