"""The rows of `lowering_latency` as Markdown."""

from collections.abc import Iterable, Sequence

_HEAD = [
    "# Whole networks: dense, shrunk, lowered",
    "",
    "Written by `benchmarks/lowering_latency.py`: random weights and random masks, LiteRT with XNNPACK, one thread; "
    "all files of one network, format and sparsity in turn in one process. Latency: median; p10 to p90: tenths of the "
    "runs over the median. MACs kept: multiplications by weights that masks keep, over those of the dense network; "
    "MACs run: what the file executes, likewise. MAC ratio: dense over kept. Efficiency: speedup over dense, divided "
    "by the MAC ratio; at 1 the time falls as the multiplications do. Sparsity: asked (reached), of all weights but "
    "the classifier's; a method that cannot reach what was asked removes the most that it can. Arena: TFLite Micro, "
    "empty where that cannot run the file. Difference: lowered and shrunk logits of the Keras models, over the largest "
    "logit. tfmot: the network pruned by magnitude, stripped and converted, without and with "
    "Optimize.EXPERIMENTAL_SPARSITY.",
]
_COLUMNS = (
    *("sparsity", "method", "file", "MACs kept", "MACs run", "latency (us)", "p10 to p90", "speedup", "MAC ratio"),
    *("efficiency", "bytes", "arena", "difference"),
)
_FORMATS = {"none": "float32", "int8": "int8"}


def table(rows: Sequence[dict], methods: Sequence[str], *, layers: bool) -> str:
    """All rows, a section for each network, machine and format.

    Args:
        rows: what `measure` gave, with network, sparsity, format, cpu, amx, seed and runs.
        methods: the methods in the order in which they shall stand.
        layers: whether the plan of every row follows.
    """
    lines = list(_HEAD)
    for place in dict.fromkeys(map(_place, rows)):
        here = [row for row in rows if _place(row) == place]
        here.sort(key=lambda row: (row["sparsity"], methods.index(row["method"])))
        lines += ["", "## {} on {}, AMX: {}, seed {}".format(*place)]
        for quantize in dict.fromkeys(row["format"] for row in here):
            lines += ["", *_section([row for row in here if row["format"] == quantize], _FORMATS[quantize])]
        lines += ["", _slowdown_line(here)]
        lines += _plans(here) if layers else []
    return "\n".join(lines) + "\n"


def _place(row: dict) -> tuple:
    return row["network"], row["cpu"], row["amx"], row["seed"]


def _section(rows: Sequence[dict], title: str) -> list[str]:
    runs = " or ".join(str(runs) for runs in sorted({row["runs"] for row in rows}))
    lines = [f"### {title}, {runs} runs", "", "| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    for sparsity in dict.fromkeys(row["sparsity"] for row in rows):
        here = [row for row in rows if row["sparsity"] == sparsity]
        lines.append(_line(("", "", "dense"), here[0], "dense"))
        for row in here:
            name = (f"{sparsity:.0%} ({row['sparsity_reached']:.1%})", row["method"])
            for file in row["files"]:
                if file != "dense" and not (file == "lowered" and _same(row)):
                    label = "shrunk = lowered" if file == "shrunk" and _same(row) else file
                    lines.append(_line((*name, label), row, file))
            lines += [_refused_line((*name, file), reason) for file, reason in row["refused"].items()]
    return lines


def _line(names: Iterable[str], row: dict, file: str) -> str:
    here, dense = row["files"][file], row["files"]["dense"]
    kept = 1.0 if file == "dense" else row["macs_kept"] / row["macs_dense"]
    speedup = dense["latency_us"] / here["latency_us"]
    low, high = (here[key] / here["latency_us"] for key in ("latency_us_p10", "latency_us_p90"))
    cells = (
        *names,
        f"{kept:.3f}",
        f"{here['macs'] / dense['macs']:.3f}",
        f"{here['latency_us']:.1f}",
        f"{low:.2f} to {high:.2f}",
        f"{speedup:.2f}x",
        f"{1 / kept:.2f}x",
        f"{speedup * kept:.2f}",
        f"{here['size_bytes']:,}",
        "" if here["arena_bytes"] is None else f"{here['arena_bytes']:,}",
        f"{row['difference']:.1e}" if file == "lowered" else "",
    )
    return "| " + " | ".join(cells) + " |"


def _refused_line(names: Iterable[str], reason: str) -> str:
    # Messages of native code may have lines and bars of their own.
    cells = (*names, " ".join(reason.replace("|", "/").split()), *("" for _ in _COLUMNS[4:]))
    return "| " + " | ".join(cells) + " |"


def _slowdown_line(rows: Sequence[dict]) -> str:
    """The worst that lowering did to a network."""
    lowered = [row for row in rows if "lowered" in row["files"] and not _same(row)]
    if not lowered:
        return "Largest slowdown of lowered against shrunk: nothing was lowered."
    row = max(lowered, key=_slowdown)
    where = f"{row['method']}, {row['sparsity']:.0%}, {_FORMATS[row['format']]}"
    return f"Largest slowdown of lowered against shrunk: {_slowdown(row):.2f} times the latency ({where})."


def _slowdown(row: dict) -> float:
    return row["files"]["lowered"]["latency_us"] / row["files"]["shrunk"]["latency_us"]


def _same(row: dict) -> bool:
    """Whether lowering changed nothing: the same file, which ran once."""
    return row["files"].get("lowered") == row["files"].get("shrunk")


def _plans(rows: Sequence[dict]) -> list[str]:
    lines = []
    for row in rows:
        if "plan" in row:
            title = f"Plan: {row['method']}, {row['sparsity']:.0%}, {_FORMATS[row['format']]}"
            lines += ["", title, "", *(f"    {line}" for line in row["plan"])]
    return lines
