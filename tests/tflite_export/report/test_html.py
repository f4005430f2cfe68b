"""The page needs nothing else, runs nothing, escapes what it is told, and is the same for the same report."""

import dataclasses
import html.parser
import re

import pytest

from tests.tflite_export.report import reports
from tflite_export.report import compare_html, compare_markdown, html_lacks, to_html

REPORTS = {"full": reports.FULL, "empty": reports.EMPTY, "malicious": reports.MALICIOUS}
VOID = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and those that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.wrong = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture(scope="module")
def pages():
    return {name: to_html(report) for name, report in REPORTS.items()}


@pytest.mark.parametrize("name", REPORTS)
def test_page_is_whole_and_asks_for_nothing(pages, name):
    page = Page(pages[name])
    assert (page.open, page.wrong) == ([], [])
    assert {"script", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in page.elements)
    for tag, attrs in page.elements:
        assert not any(key.startswith("on") for key in attrs)
        for key in ("src", "href", "xlink:href", "data", "action"):
            assert attrs.get(key, "#").startswith(("#", "data:")), (tag, attrs)
    assert not re.search(r"url\((?!#)|@import", pages[name])
    assert "<title>" in pages[name] and 'name="viewport"' in pages[name]
    assert "prefers-color-scheme: dark" in pages[name] and "@media print" in pages[name]


@pytest.mark.parametrize("name", REPORTS)
def test_names_in_a_page_are_unique(pages, name):
    names = [attrs["id"] for _, attrs in Page(pages[name]).elements if "id" in attrs]
    assert len(names) == len(set(names))
    used = re.findall(r'(?:url\(#|href="#)([^)"]+)', pages[name])
    assert set(used) <= set(names)


def test_same_report_same_bytes_whatever_matplotlib_is_set_to(pages):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert to_html(reports.FULL) == pages["full"]
        assert matplotlib.rcParams["font.size"] == 30


def test_pictures_are_there_with_words_and_without_colours_of_their_own(pages):
    page = Page(pages["full"])
    pictures = [attrs for tag, attrs in page.elements if tag == "svg"]
    assert len(pictures) == 3 + 1 + 2 + 3 + 2  # bars, memory, curves, steps, sensitivity
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in pictures)
    assert sum(tag == "img" and bool(attrs["alt"]) for tag, attrs in page.elements) == 2
    drawn = "".join(re.findall(r"<svg.*?</svg>", pages["full"], re.S))
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) <= {"#000000"}
    assert "var(--after)" in drawn and "<text" in drawn


def test_cut_picture_says_so(pages):
    assert "wide: 200 outputs x 100 inputs; cut off at 64 and 64" in pages["full"]


def test_nothing_that_is_told_becomes_markup(pages):
    page = Page(pages["malicious"])
    assert "script" not in {tag for tag, _ in page.elements}
    assert "&lt;script&gt;" in pages["malicious"]


def test_section_without_content_has_no_heading(pages):
    assert "<h2>" not in pages["empty"]
    assert "<svg" not in pages["empty"]


def test_headline_says_whether_the_tolerance_holds(pages):
    assert re.search(r'class="verdict good">Validation MCR 10.00\W%', pages["full"])
    refused = dataclasses.replace(reports.EMPTY, verdict=dataclasses.replace(reports.FULL.verdict, accepted=False))
    assert re.search(r'class="verdict bad">.*not within the tolerance', to_html(refused))


def test_page_is_small(pages):
    assert max(map(len, pages.values())) < 400_000


def test_missing_library_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "jinja2" else object())
    assert html_lacks() == "jinja2 not installed. Install tf-structprune[report]."
    message = (
        r"The HTML report needs Jinja2 and matplotlib. Received: jinja2 not installed. Install tf-structprune\[rep"
    )
    with pytest.raises(ModuleNotFoundError, match=message):
        to_html(reports.FULL)
    with pytest.raises(ModuleNotFoundError, match=message):
        compare_html({"a": reports.FULL})


def test_runs_stand_side_by_side():
    smaller = dataclasses.replace(reports.FULL, removed=0.7, figures=reports.FULL.figures[:2])
    runs = {"first": reports.FULL, "second<b>": smaller, "third": dataclasses.replace(reports.EMPTY, name="other")}
    text = compare_html(runs)
    page = Page(text)
    assert (page.open, page.wrong) == ([], [])
    assert "b" not in {tag for tag, _ in page.elements}
    assert sum(tag == "svg" for tag, _ in page.elements) == 3  # MACs, file and latency: the arena is not known
    table = compare_markdown(runs)
    assert "# 3 runs of tiny, other" in table
    assert "| MACs | 12,000 | 6,000 | 6,000 |  |" in table
    assert "| tolerance kept |  | yes | yes |  |" in table
