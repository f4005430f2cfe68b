"""A matplotlib figure as SVG that takes its colours and letters from the page, for light and dark."""

import io
import re
from typing import Any

# What is drawn with these colours becomes a variable of the page's style; they stand in no other use.
INK, SOFT, BEFORE, AFTER, BAD = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f"
_VARIABLES = {INK: "--ink", SOFT: "--line", BEFORE: "--before", AFTER: "--after", BAD: "--bad"}

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tf-structprune",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "text.usetex": False,
    "text.parse_math": False,
}
"""matplotlib's settings for all pictures, on top of its own defaults: the user's make no difference to the bytes."""


def svg_of(figure: Any, key: str, alt: str) -> str:
    """The figure as an `<svg>` element: same figure, same bytes.

    Args:
        figure: what to draw.
        key: unique in the page; the names within the picture begin with it.
        alt: what it shows, in words, as a reader without eyes hears it; no markup.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg ") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)  # nothing refers to groups, and pages have each name once
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{key}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: inherit", text)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()  # type: ignore[union-attr]
    head = f'<svg role="img" aria-label="{alt}" viewBox="0 0 {width} {height}" style="max-width:{width}pt" '
    head += 'xmlns:xlink="http://www.w3.org/1999/xlink">'
    return re.sub(r"<svg [^>]*>", lambda _: head, text, count=1)  # as it is: a title may have backslashes
