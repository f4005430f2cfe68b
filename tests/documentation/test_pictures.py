"""The manual's pictures are what docs/pictures.py draws."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "docs/assets"
MOST_BYTES = 60_000


def script():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return {path.name: path.read_bytes() for path in script().draw(tmp_path_factory.mktemp("drawn"))}


def test_pictures_are_what_the_script_draws(drawn):
    """Another version of matplotlib may write other bytes: draw again with `python docs/pictures.py`, and look."""
    kept = {path.name: path.read_bytes() for path in ASSETS.glob("*.svg")}
    assert kept.keys() == drawn.keys()
    assert [name for name in drawn if kept[name] != drawn[name]] == []


def test_pictures_are_small(drawn):
    assert max(len(content) for content in drawn.values()) < MOST_BYTES


def test_pages_show_every_picture(drawn):
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    assert [name for name in drawn if f"assets/{name}" not in pages] == []
