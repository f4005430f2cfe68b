"""The page needs nothing else, runs nothing, escapes what it is told, and is the same for the same report."""

import dataclasses
import html.parser
import math
import re
import warnings

import numpy as np
import pytest

from tests.tflite_export.report import reports
from tflite_export.report import (
    Curve,
    Point,
    Profile,
    Row,
    Sensitivity,
    compare_html,
    compare_markdown,
    html_lacks,
    to_html,
)
from tflite_export.report import _names as names_of
from tflite_export.report import _scatter as scatter

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
    assert not [text for text in words(pages["full"]) if "$" in text or "mathdefault" in text]


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


def words(page):
    """The texts in the pictures of a page, as a browser shows them."""
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    return [html.unescape(text).strip() for text in re.findall(r"<text [^>]*>(.*?)</text>", drawn, re.S)]


def one_cost(title="MACs", after=6_000.0):
    """A report with a single picture in the comparison."""
    return dataclasses.replace(reports.EMPTY, figures=(Row(title, 12_000.0, after),), verdict=reports.FULL.verdict)


def test_title_with_backslashes_is_drawn():
    page = compare_html({"a": one_cost(r"cost \d \1 \g<x>")})
    assert r'aria-label="Validation score of the integer file against cost \d \1 \g&lt;x&gt;;' in page
    assert r"cost \d \1 \g<x>" in words(page)


def test_curve_without_a_result_has_no_picture():
    rates = Curve(1, "feature_map", {"learning_rate": (0.1, 0.2)})
    single = Curve(2, "kernel", {"loss": (1.0,), "learning_rate": (0.1, 0.2)})
    page = to_html(dataclasses.replace(reports.EMPTY, curves=(rates, single)))
    assert "<svg" not in page and "learning_rate" in page


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_time_that_is_no_number_has_no_bar(number):
    profile = Profile("after", (*reports.operators(2, time_us=1.0), *reports.operators(2, time_us=number)))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        page = to_html(dataclasses.replace(reports.EMPTY, after=profile))
    assert page.count("<svg") == 4 and f"{number:.1f}" in page


ALIKE = ("resnet8_cifar10_of_many_words_seed_0_budget_0.5", "resnet8_imagenet_of_many_words_seed_0_budget_0.5")
NAMES = ("_baseline", "_half", "a & b", *ALIKE)
TOLD = ("_baseline", "_half", "a & b", "...cifar10_of_many_wo...", "...imagenet_of_many_w...")


@pytest.mark.parametrize("picture", ["runs", "layers", "sensitivity", "curve"])
def test_every_name_stands_in_its_picture_and_is_told_from_the_others(picture):
    made = {
        "runs": lambda: compare_html(dict.fromkeys(NAMES, one_cost())),
        "layers": lambda: to_html(dataclasses.replace(reports.EMPTY, after=Profile("after", layers_of(NAMES)))),
        "sensitivity": lambda: to_html(dataclasses.replace(reports.EMPTY, sensitivity=lost(NAMES))),
        "curve": lambda: to_html(
            dataclasses.replace(reports.EMPTY, curves=(Curve(1, "", dict.fromkeys(TOLD, (1.0, 0.5))),))
        ),
    }
    assert set(TOLD) <= set(words(made[picture]()))


def layers_of(names):
    return tuple(dataclasses.replace(reports.FULL.after.operators[0], layer=name) for name in names)


def lost(names):
    return tuple(Sensitivity(name, "weights", (2, 4), (0.5, 0.25)) for name in names)


@pytest.mark.parametrize("seed", range(50))
def test_short_names_are_short_and_told_from_each_other(seed):
    rng = np.random.default_rng(seed)
    parts = ["_", "conv", "(2)", " (2)", "layer" * 4, "x" * 30, "y" * 30]
    names = ["".join(rng.choice(parts, rng.integers(1, 5))) for _ in range(12)]
    told = names_of.short_names(names)
    assert len(set(told)) == len(names)
    assert max(map(len, told)) <= 24 + len(" (12)")
    assert all(
        short == name for name, short in zip(names, told, strict=True) if len(name) < 20 and names.count(name) == 1
    )


@pytest.mark.parametrize("runs", [2, 11, 60])
def test_each_run_has_a_mark_of_its_own(runs):
    points = [Point(f"run{at}", 1.0 + at, 1.0 + at) for at in range(runs)]  # all on the front, in one colour
    axes = scatter.draw_runs(points, "MACs", reports.MCR).axes[0]
    marks = {(line.get_marker(), line.get_fillstyle()) for line in axes.lines[1:]}
    assert len(axes.lines) == 1 + runs and len(marks) == runs
