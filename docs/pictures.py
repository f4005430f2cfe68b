"""Draws the manual's pictures: `python docs/pictures.py`. Masks are the project's own, figures were measured."""

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

import tf_structprune as sp
from tf_structprune.masks import masks_by_layer

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs/assets"
KEPT, GONE, SECOND, INK = "#3f6fb5", "#d9d9d9", "#e08a2e", "#222222"
_CELLS = 3  # of a kernel, in each direction
_STYLE = {
    "svg.hashsalt": "tf-structprune",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
}


def draw(folder: Path) -> list[Path]:
    """All pictures, as SVG files."""
    made = []
    with matplotlib.rc_context(_STYLE):
        for name, picture in PICTURES.items():
            made.append(folder / f"{name}.svg")
            picture().savefig(made[-1], facecolor="white", metadata={"Date": None, "Creator": None})
    return made


def granularities() -> Figure:
    """The kernels of one layer, input maps by output maps, and what each granularity removes of them."""
    panels = {
        "feature_map": ("feature_map", 0.6, 1),
        "kernel": ("kernel", 0.5, 0),
        "Kernel(groups=2)": (sp.Kernel(groups=2), 0.5, 0),
        "IntraKernelStrided('columns', 2)": (sp.IntraKernelStrided("columns", 2), 0.5, 0),
        "weight": ("weight", 0.5, 0),
        "Weight(2, 4)": (sp.Weight(2, 4), 0.5, 0),
    }
    figure = Figure(figsize=(5, 7.6))
    for place, (title, (kind, share, seed)) in enumerate(panels.items()):
        axes = figure.add_axes((0.09 + 0.47 * (place % 2), 0.695 - 0.325 * (place // 2), 0.41, 0.27))
        _kernels(axes, _kept(kind, share, seed))
        axes.set_title(title, pad=4, fontsize=9)
        axes.set_xlabel("output maps", labelpad=2)
        if place % 2 == 0:
            axes.set_ylabel("input maps", labelpad=2)
    return figure


def lowering() -> Figure:
    """Columns as shifted maps and a smaller product; blocks as a grouped convolution."""
    figure = Figure(figsize=(5, 5.6))
    _columns(figure)
    _blocks(figure)
    return figure


def reconstruction() -> Figure:
    """Top-1 of ResNet-8 without training: as cut, with statistics measured anew, reconstructed."""
    found = json.loads((ROOT / "benchmarks/results/reconstruction.json").read_text())
    ways = {"none": "as cut", "statistics": "statistics", "full": "reconstructed"}
    figure = Figure(figsize=(5, 2.9))
    axes = figure.add_axes((0.1, 0.19, 0.88, 0.79))
    for group, budget in enumerate(("macs 75 %", "macs 50 %")):
        for place, way in enumerate(ways):
            rows = [row for row in found["rows"] if row["budget"] == budget and row["way"].endswith(f"| {way}")]
            values = [100 * row["accuracy"] for row in rows if row["way"].startswith("least_squares")]
            at, height = 4 * group + place, float(np.mean(values))
            axes.bar(at, height, width=0.8, color=(GONE, SECOND, KEPT)[place])
            axes.text(at, height - 2, f"{height:.1f}", ha="center", va="top", color="white" if place == 2 else INK)
    axes.axhline(100 * found["dense"], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(3, 100 * found["dense"] + 1, f"dense {100 * found['dense']:.2f}", ha="center", va="bottom")
    axes.set_xticks([0, 1, 2, 4, 5, 6], [ways[way].replace("reconstructed", "recon-\nstructed") for way in ways] * 2)
    axes.set_ylim(0, 105)
    axes.set_ylabel("top-1 (%)")
    for middle, share in ((1, 75), (5, 50)):
        axes.text(middle, 98, f"{share} % of the MACs", ha="center", weight="bold")
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def least_squares() -> Figure:
    """One layer: what it gave before is the target for what it makes of the inputs that are left."""
    figure = Figure(figsize=(5, 2.9))
    axes = _canvas(figure, (0, 0, 1, 1), (100, 58))
    for row, (top, colour, gone) in enumerate(((32, KEPT, ()), (3, SECOND, (1, 4)))):
        axes.text(2, top + 9, ("before", "after")[row], va="center", weight="bold")
        for each in range(6):
            shade = GONE if each in gone else KEPT
            axes.add_patch(Rectangle((16, top + 15 - 3 * each), 10, 2.4, color=shade))
            axes.add_patch(Rectangle((37, top + 15 - 3 * each), 16, 2.4, color=GONE if each in gone else colour))
        axes.add_patch(Rectangle((64, top + 3), 12, 12, color=colour))
        for left in (28, 55):
            axes.annotate("", (left + 7, top + 9), (left, top + 9), arrowprops=_arrow())
        axes.text(21, top + 19, ("reads p", "reads q")[row], ha="center")
        axes.text(45, top + 19, ("weights W", "new weights V")[row], ha="center")
        axes.text(70, top + 17, ("gives t", "gives Vq + b")[row], ha="center")
    axes.annotate("", (70, 23.5), (70, 33.5), arrowprops=_arrow("<|-|>"))
    axes.text(73, 28.5, "least E|Vq + b - t|²", va="center")
    return figure


PICTURES = {
    "granularities": granularities,
    "lowering": lowering,
    "reconstruction": reconstruction,
    "least_squares": least_squares,
}


def _kept(kind: object, share: float, seed: int) -> NDArray[np.bool_]:
    """Weights of a layer that masks drawn at random keep, shape (positions, input maps, output maps)."""
    masked = sp.wrap(_network(), granularity=("feature_map", "kernel", "intra_kernel", "weight"))
    masks = sp.random_masks(masked, {kind: share}, seed=seed)
    return masks_by_layer(sp.trace(masked), masks)["drawn"].kept


def _network() -> keras.Model:
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, name="first")(inputs)
    x = layers.Conv2D(6, 3, name="before")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, name="drawn")(x))
    return keras.Model(inputs, layers.Dense(3, name="classifier")(x))


def _kernels(axes: Axes, kept: NDArray[np.bool_]) -> None:
    """Kernels as squares of weights, rows of input maps by columns of output maps."""
    _, inputs, outputs = kept.shape
    cells = kept.reshape(_CELLS, _CELLS, inputs, outputs).transpose(2, 0, 3, 1)
    cells = cells.reshape(_CELLS * inputs, _CELLS * outputs)
    rows, columns = cells.shape
    axes.add_patch(Rectangle((0, 0), columns, rows, color=KEPT, linewidth=0))
    axes.add_patch(PathPatch(_runs(~cells), facecolor=GONE, linewidth=0))
    axes.plot(*_lines(rows, columns, 1), color="white", linewidth=0.5)
    axes.plot(*_lines(rows, columns, _CELLS), color="white", linewidth=2.5)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal")
    _bare(axes)


def _runs(cells: NDArray[np.bool_]) -> Outline:
    """One outline around all cells that are True, row by row."""
    corners, codes = [], []
    for row, line in enumerate(cells):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], line, [False]]).astype(int)))
        for left, right in edges.reshape(-1, 2).tolist():
            corners += [(left, row), (right, row), (right, row + 1), (left, row + 1), (left, row)]
            codes += [Outline.MOVETO, Outline.LINETO, Outline.LINETO, Outline.LINETO, Outline.CLOSEPOLY]
    return Outline(corners, codes)


def _lines(rows: int, columns: int, step: int) -> tuple[list[float], list[float]]:
    """A grid as one line with gaps."""
    x, y = [], []
    for at in range(0, columns + 1, step):
        x, y = [*x, at, at, np.nan], [*y, 0, rows, np.nan]
    for at in range(0, rows + 1, step):
        x, y = [*x, 0, columns, np.nan], [*y, at, at, np.nan]
    return x, y


def _columns(figure: Figure) -> None:
    """Maps that need the left column of each kernel, and maps that need the right one."""
    axes = _canvas(figure, (0, 0.45, 1, 0.55), (100, 62))
    axes.text(2, 57, "Columns: shifted maps, a smaller product", weight="bold")
    for row, (colour, column, shift) in enumerate(((KEPT, 0, 0), (SECOND, 2, 6))):
        top = 32 - 25 * row
        for at in range(9):
            shade = colour if at % 3 == column else GONE
            axes.add_patch(Rectangle((3 + 4 * (at % 3), top + 8 - 4 * (at // 3)), 3.5, 3.5, color=shade))
        _stack(axes, (22 + shift, top - 3), 15, colour)
        axes.add_patch(Rectangle((22, top - 3), 21 + 2, 20, fill=False, linestyle=":", linewidth=0.8, edgecolor=INK))
    axes.text(2.5, 50, "kernels", va="bottom")
    axes.text(22, 50, "maps, shifted", va="bottom")
    axes.annotate("", (53, 28), (46, 28), arrowprops=_arrow())
    _stack(axes, (56, 23), 13, KEPT)
    _stack(axes, (59, 17), 13, SECOND)
    axes.text(55, 42, "side by side", va="bottom")
    axes.annotate("", (84, 28), (77, 28), arrowprops=_arrow())
    for at in range(3):
        axes.add_patch(Rectangle((89, 31 - 4 * at), 3.5, 3.5, color=INK))
    axes.text(91, 42, "one 3 x 1\nconvolution", ha="center", va="bottom")
    axes.text(91, 19, "1/3 of the\nproducts", ha="center", va="top")


def _stack(axes: Axes, corner: tuple[float, float], size: float, colour: str) -> None:
    """Some maps behind each other."""
    for at in (2, 1, 0):
        place = (corner[0] + 1.2 * at, corner[1] + 1.2 * at)
        axes.add_patch(Rectangle(place, size, size, facecolor=colour, edgecolor="white", linewidth=0.8))


def _blocks(figure: Figure) -> None:
    """Blocks that are hidden under a permutation, put in order, and computed as two groups."""
    tiles = _kept(sp.Kernel(groups=2), 0.5, 0).all(axis=0)
    order = np.argsort(~tiles[:, 0], kind="stable")
    hidden = np.random.default_rng(5).permutation(6), np.random.default_rng(2).permutation(6)
    axes = _canvas(figure, (0, 0, 1, 0.45), (100, 50))
    axes.text(2, 46, "Blocks of kernels: a grouped convolution", weight="bold")
    for left, title, shown in ((5, "as found", tiles[np.ix_(*hidden)]), (38, "maps in order", tiles[order])):
        axes.text(left + 12, 36, title, ha="center", va="bottom")
        for (row, column), kept in np.ndenumerate(shown):
            axes.add_patch(Rectangle((left + 4 * column, 30 - 4 * row), 3.6, 3.6, color=KEPT if kept else GONE))
    axes.text(17, 7, "output maps", ha="center", va="top")
    axes.text(1.2, 22, "input maps", rotation=90, va="center")
    for left in (30, 63):
        axes.annotate("", (left + 7, 22), (left, 22), arrowprops=_arrow())
    for row in range(2):
        axes.add_patch(Rectangle((72, 24 - 14 * row), 11.6, 11.6, color=KEPT))
        axes.text(85, 29.8 - 14 * row, f"group {row + 1}", va="center")
    axes.text(81, 38, "one grouped\nconvolution", ha="center", va="bottom")
    axes.text(81, 7, "1/2 of the products", ha="center", va="top")


def _canvas(figure: Figure, place: tuple[float, float, float, float], size: tuple[int, int]) -> Axes:
    """Room for drawings in units of their own."""
    axes = figure.add_axes(place)
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    _bare(axes)
    return axes


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _arrow(style: str = "-|>") -> dict[str, object]:
    return {"arrowstyle": style, "color": INK, "linewidth": 1, "shrinkA": 0, "shrinkB": 0}


if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    draw(ASSETS)
