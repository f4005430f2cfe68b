"""What becomes of damaged files: every one is read or refused in one line, nothing of it is run, nothing else changes.

    python -m benchmarks.damaged_files --files 500

Files of each format are damaged at random and given to the command line (states to `read_state`, files with packed
weights to `decoded`): bytes are cut, flipped, overwritten; zip and HDF5 entries dropped, doubled, changed; headers,
JSON and flatbuffers changed to other types and sizes; and traps are set, which would write a file if any part of them
were run.
"""

import argparse
import json
import pathlib
import resource
import tempfile
import time
from collections import Counter
from typing import Any

from benchmarks.damaged_files import FORMATS, Good, Trap, swept


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "# Damaged files",
        "",
        f"Written by `benchmarks/damaged_files`, seed {results['seed']}: files damaged at random, given to the "
        "command line (states to `read_state`, files with packed weights to `decoded`). Refused: one line and status "
        "1. Wrong: a traceback, more than one "
        "line, a part of the file that was run, a file that was changed or left behind.",
        "",
        "| format | files | refused | read | wrong | most memory, MiB | kinds of damage |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["formats"].items():
        counts = row["outcomes"]
        wrong = sum(count for kind, count in counts.items() if kind not in ("refused", "read"))
        cells = (name, row["files"], counts.get("refused", 0), counts.get("read", 0), wrong, row["peak_mib"])
        lines.append(f"| {' | '.join(map(str, cells))} | {', '.join(FORMATS[name])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Sweep, print what is wrong, write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500, help="of each format")
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out-prefix", default="benchmarks/results/damaged_files", type=pathlib.Path)
    options = parser.parse_args()
    file = options.out_prefix.with_suffix(".json")
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if results.get("seed") != options.seed:
        results = {"seed": options.seed, "formats": {}}
    with tempfile.TemporaryDirectory() as folder:
        Trap.flag = f"{folder}/flag"
        (pathlib.Path(folder) / "good").mkdir()
        good = Good.make(pathlib.Path(folder) / "good")
        for kind in options.formats:
            begun, rows = time.monotonic(), swept(good, kind, options.files, options.seed)
            for row in rows:
                if row["outcome"] not in ("refused", "read"):
                    print(kind, row["number"], row["damage"], row["outcome"], row["told"][-1500:], flush=True)
            results["formats"][kind] = {
                "files": len(rows),
                "outcomes": dict(Counter(row["outcome"] for row in rows)),
                "by_damage": {
                    name: dict(Counter(row["outcome"] for row in rows if row["damage"] == name))
                    for name in FORMATS[kind]
                },
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            print(kind, results["formats"][kind], f"{time.monotonic() - begun:.0f} s", flush=True)
            file.write_text(json.dumps(results, indent=1) + "\n")  # formats may be swept one at a time
            file.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
