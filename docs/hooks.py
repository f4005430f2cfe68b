"""What MkDocs shows beside docs/: tutorials, tables of results, and a reference page for each package and the commands.

Links from a page of docs/ to `../benchmarks/results/...` and `../tutorials/...` work in the repository; here they are
turned to the copies in the site.
"""

import argparse
import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SHOWN = {"tutorials": ("*.ipynb",), "results": ("*.md", "*.png")}
SOURCES = {"tutorials": ROOT / "tutorials", "results": ROOT / "benchmarks/results"}
PACKAGES = {"tf_structprune": "sp", "tflite_export": "te"}
NAMED_ROOMS = {"tf_structprune": (), "tflite_export": ("micro", "report")}  # beside those that the package re-exports
_LINK = re.compile(r"\]\((?:\.\./)*(benchmarks/results|tutorials)/([^)#]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Tutorials, results and generated pages."""
    for folder, patterns in SHOWN.items():
        for pattern in patterns:
            for path in sorted(SOURCES[folder].glob(pattern)):
                files.append(File.generated(config, f"{folder}/{path.name}", abs_src_path=str(path)))
    for package in PACKAGES:
        files.append(File.generated(config, f"reference/{package}.md", content=reference(package)))
    files.append(File.generated(config, "reference/command_line.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links into the repository become links in the site; those to what the site does not show become names."""
    up = "../" * page.file.src_uri.count("/")

    def shown(match: re.Match[str]) -> str:
        folder, name = match[1].removeprefix("benchmarks/"), match[2]
        known = any(Path(name).match(pattern) and "/" not in name for pattern in SHOWN[folder])
        return f"]({up}{folder}/{name})" if known else "]"

    if page.file.src_uri.startswith("results/"):  # what lies beside a table is in the repository
        return re.sub(r"\[([^\]]+)\]\((?!http|#|[\w.]+\.(?:md|png)\))[^)]*\)", r"\1", markdown)
    return _LINK.sub(shown, markdown)


def public_names(door: Path) -> list[str]:
    """Classes and functions that a door re-exports, and its public rooms; constants are told where they are used."""
    found = []
    for node in ast.walk(ast.parse(door.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(tuple(PACKAGES)):
            found += [each.asname for each in node.names if each.asname and _is_documented(node.module, each.name)]
    return sorted(found, key=str.lower)


def _is_documented(module: str, name: str) -> bool:
    """Whether a name is a room, or a class or function, perhaps behind another door."""
    path = ROOT.joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if (path / name / "__init__.py").is_file():
        return True
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return True
        if isinstance(node, ast.ImportFrom) and node.module and any(each.asname == name for each in node.names):
            return _is_documented(node.module, next(each.name for each in node.names if each.asname == name))
    return False


def rooms_of(package: str) -> list[str]:
    """Rooms of a package that users call by name."""
    inside = [name for name in public_names(ROOT / package / "__init__.py") if (ROOT / package / name).is_dir()]
    return [name for name in inside if _is_room(package, name)] + list(NAMED_ROOMS[package])


def _is_room(package: str, name: str) -> bool:
    """Whether the door gives the room itself, not a function of the same name out of it."""
    return f"from {package} import {name} as {name}" in (ROOT / package / "__init__.py").read_text()


def reference(package: str) -> str:
    """Every public name with its docstring; rooms that are public have a section each."""
    rooms = rooms_of(package)
    names = [name for name in public_names(ROOT / package / "__init__.py") if name not in rooms]
    lines = [f"# {package}", "", f"    import {package} as {PACKAGES[package]}", "", *_sections(package, names)]
    for room in rooms:
        lines += [f"## {package}.{room}", ""]
        lines += _sections(f"{package}.{room}", public_names(ROOT / package / room / "__init__.py"))
    return "\n".join(lines)


def _sections(where: str, names: list[str]) -> list[str]:
    return [line for name in names for line in (f"::: {where}.{name}", "")]


def commands() -> str:
    """The help of each command."""
    from tf_structprune_cli._parser import make_parser

    parser = make_parser()
    parser.formatter_class = argparse.HelpFormatter
    inside = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    lines = ["# Command line", "", "```text", parser.format_help().strip(), "```", ""]
    for name, command in inside.choices.items():
        lines += [f"## tf-structprune {name}", "", "```text", command.format_help().strip(), "```", ""]
    return "\n".join(lines)
