"""What MkDocs shows beside docs/: tutorials, tables of results, and a reference page for each package and the commands.

Links from a page of docs/ to `../benchmarks/results/...` and `../tutorials/...` work in the repository; here they are
turned to the copies in the site.
"""

import argparse
import contextlib
import functools
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SHOWN = {"tutorials": ("*.ipynb",), "results": ("*.md", "*.png")}
SOURCES = {"tutorials": ROOT / "tutorials", "results": ROOT / "benchmarks/results"}
PACKAGES = {"tf_structprune": "sp", "tflite_export": "te"}
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


def public_names(door: str) -> dict[str, griffe.Object | griffe.Alias]:
    """What a door re-exports, by name: rooms, classes and functions; constants are told where they are used."""
    modules, found = _modules(), {}
    for name, path in modules[door].imports.items():
        if path.startswith(tuple(PACKAGES)) and not name.startswith("_"):
            # It knows no constants that are assigned several at once.
            with contextlib.suppress(griffe.AliasResolutionError, KeyError):
                if not modules[path].is_attribute:
                    found[name] = modules[path]
    return {name: found[name] for name in sorted(found, key=str.lower)}


@functools.cache
def _modules() -> griffe.ModulesCollection:
    """Both packages, read and not imported."""
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    for package in PACKAGES:
        loader.load(package)
    return loader.modules_collection


def reference(package: str) -> str:
    """Every public name with its docstring; rooms that are public have a section each."""
    names = public_names(package)
    lines = [f"# {package}", "", f"    import {package} as {PACKAGES[package]}", "", *_sections(names)]
    for name, room in names.items():
        if room.is_module:
            lines += [f"## {package}.{name}", "", *_sections(public_names(room.path))]
    return "\n".join(lines)


def _sections(names: dict[str, griffe.Object | griffe.Alias]) -> list[str]:
    """By the room of each: where a function and a room have one name, the package's door would show the room."""
    return [line for found in names.values() if not found.is_module for line in (f"::: {found.path}", "")]


def commands() -> str:
    """The help of each command."""
    from tf_structprune_cli._parser import make_parser

    parser = make_parser()
    inside = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    lines = ["# Command line", "", "```text", parser.format_help().strip(), "```", ""]
    for name, command in inside.choices.items():
        lines += [f"## tf-structprune {name}", "", "```text", command.format_help().strip(), "```", ""]
    return "\n".join(lines)
