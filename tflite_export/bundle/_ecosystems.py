"""A project for each ecosystem, which can be taken alone: the sources, and what that ecosystem builds them with."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tflite_export.bundle._program import Entry
from tflite_export.bundle._texts import filled, texts_in


@dataclass(frozen=True)
class Ecosystem:
    """How a project is laid out.

    Attributes:
        told: what it is, for the bundle's README.
        sources: folder of the model's sources in the project; `${name}` stands for the name of the bundle.
        listed: what stands before a source's name where they are listed for the build.
        program: path of the program.
        entry: how it is started.
        cpp: whether C++ must be called `.cpp`.
    """

    told: str
    sources: str
    listed: str
    program: str
    entry: Entry
    cpp: bool = False


ECOSYSTEMS: dict[str, Ecosystem] = {
    "cmake": Ecosystem("a CMake project for a PC or a cross compiler", ".", "", "main.cc", Entry()),
    "esp-idf": Ecosystem(
        "a project for ESP-IDF with the model as a component",
        "components/${name}_tflm",
        "",
        "main/main.cc",
        Entry(begin="static int Run() {", end='\nextern "C" void app_main(void) { Run(); }\n'),
    ),
    "zephyr": Ecosystem("an application for Zephyr", "src", "src/", "src/main.cc", Entry()),
    "arduino": Ecosystem(
        "a library for Arduino with a sketch",
        "src",
        "",
        "examples/${name}/main.cpp",
        Entry(
            head="\n// Comment this out once the test passes: its samples take flash.\n#define ${macro}_SELF_TEST\n\n",
            begin="int ${name}_run() {",
        ),
        cpp=True,
    ),
}
"""By name, one for each `Bundle`; the other files of a project are the texts in the folder of its name."""


def project(
    bundle: str, name: str, sources: Mapping[str, str], program: str, names: Mapping[str, Any]
) -> dict[str, str]:
    """The files of a project.

    Args:
        bundle: the ecosystem.
        name: of the bundle.
        sources: of the model, by file name.
        program: text of the program, which starts as the ecosystem's `entry` says.
        names: what comes into places of the texts.

    Returns:
        Texts by path within the project.
    """
    of = ECOSYSTEMS[bundle]
    placed = {_called(file, cpp=of.cpp): text for file, text in sources.items()}
    units = [f'"{of.listed}{file}"' for file in sorted(placed) if not file.endswith(".h")]
    own = {
        text.replace("NAME", name): filled(f"{bundle}/{text}", {**names, "units": "\n  ".join(units)})
        for text in texts_in(bundle)
    }
    folder, main = (string.Template(path).substitute(name=name) for path in (of.sources, of.program))
    return own | {str(PurePosixPath(folder) / file): text for file, text in placed.items()} | {main: program}


def _called(file: str, *, cpp: bool) -> str:
    return file.removesuffix(".cc") + ".cpp" if cpp and file.endswith(".cc") else file
