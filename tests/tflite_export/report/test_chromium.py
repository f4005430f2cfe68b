"""A browser opens the page without an error, asks nobody for anything, and shows its pictures, on any width."""

import shutil
import subprocess

import pytest

from tests.marks import HANG_SECONDS
from tests.tflite_export.report import reports
from tflite_export.report import to_html

_CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(
    _CHROMIUM is None, reason="no Chromium here: the HTML report is not opened in a browser"
)

# Added to the page for the test alone: what a browser finds out about it, as its title.
_PROBE = """<script>
window.addEventListener("load", () => {
  const seen = [...document.querySelectorAll("svg, img")].filter((each) => each.getBoundingClientRect().height > 1);
  const broken = [...document.images].filter((each) => !each.naturalWidth);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const asked = performance.getEntriesByType("resource").filter((each) => !each.name.startsWith("data:"));
  const ink = getComputedStyle(document.body).color;
  document.title = ["seen", seen.length, "broken", broken.length, "wide", wide, "asked", asked.length, ink].join(" ");
});
</script></body>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(to_html(reports.FULL).replace("</body>", _PROBE))
    return path


def opened(page, width, *options):
    """The page's title after it was loaded, and what the browser's console says."""
    command = [_CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", *options]
    command += [
        f"--user-data-dir={page.parent / 'profile'}",
        f"--window-size={width},2000",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=True)
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout.partition("<title>")[2].partition("</title>")[0], console


@pytest.mark.parametrize("width, dark", [(500, False), (1400, True)], ids=["narrow light", "wide dark"])
def test_page_opens(page, width, dark):
    title, console = opened(page, width, f"--blink-settings=preferredColorScheme={0 if dark else 1}")
    ink = "rgb(228, 231, 234)" if dark else "rgb(29, 33, 37)"
    assert title == f"seen 13 broken 0 wide 0 asked 0 {ink}"
    assert console == []
