"""A report in a directory, and read from one."""

import os
from pathlib import Path

from absl import logging

from tf_structprune.untrusted import reading
from tflite_export.report._html import html_lacks, to_html
from tflite_export.report._markdown import to_markdown
from tflite_export.report._model_explorer import node_data
from tflite_export.report._values import Report
from tflite_export.write import add_to_manifest, write_whole, writing

REPORT_JSON, REPORT_MARKDOWN, REPORT_HTML = "report.json", "report.md", "report.html"
MODEL_EXPLORER = "model_explorer"
_RUN_AGAIN = "Take the one that tf-structprune compress wrote, or run it again."


def write_report(report: Report, directory: str | os.PathLike[str]) -> Path:
    """Write `report.json`, `report.md`, `report.html` and `model_explorer/` into a directory that is there.

    Files of an earlier report are replaced, each at once. Without Jinja2 or matplotlib there is no HTML; that is
    logged, and one of an earlier report, which would tell other figures, goes.

    Args:
        report: the report.
        directory: of the run.

    Returns:
        The report that a person reads: the HTML, or the Markdown without it.

    Raises:
        OSError: it cannot be written; the message names what and says what mends it.
    """
    with writing(directory):
        return _written(report, Path(directory))


def _written(report: Report, folder: Path) -> Path:
    texts = {REPORT_JSON: report.to_json(), REPORT_MARKDOWN: to_markdown(report)}
    if report.after is not None:
        texts |= {f"{MODEL_EXPLORER}/{name}.json": text for name, text in node_data(report.after).items()}
        (folder / MODEL_EXPLORER).mkdir(exist_ok=True)
    lacks = html_lacks()
    if lacks:
        logging.warning("No HTML report: %s", lacks)
        (folder / REPORT_HTML).unlink(missing_ok=True)
    else:
        texts[REPORT_HTML] = to_html(report)
    for name, text in texts.items():
        write_whole(folder / name, text.encode(), overwrite=True)
    add_to_manifest(folder, (*texts, *([MODEL_EXPLORER] if report.after is not None else [])))
    return folder / (REPORT_MARKDOWN if lacks else REPORT_HTML)


def read_report(directory: str | os.PathLike[str]) -> Report:
    """The report of a run.

    Args:
        directory: where a run wrote it.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is no report; the message says where.
    """
    path = Path(directory) / REPORT_JSON
    if not path.is_file():
        raise FileNotFoundError(
            f"No report there. Received: {os.fspath(directory)} without {REPORT_JSON}. Name the OUT of a run of "
            "tf-structprune compress or demo, which write it unless --no-report is given."
        )
    with reading(path, "a report of a run", _RUN_AGAIN):
        return Report.from_json(path.read_text(encoding="utf-8"))
