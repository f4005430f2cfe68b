"""A program for a Cortex-M that runs a file: built from the bundle, linked with the user's library."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflite_export.bundle import micro_bundle, operators_resolver
from tflite_export.devices._cortex import SOURCES, Board, source
from tflite_export.devices._measurement import ProgramSize
from tflite_export.file import TFLiteFile

_TOOLS = "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib"
_DOWNLOADS = "tensorflow/lite/micro/tools/make/downloads"
_THIRD_PARTIES = ("flatbuffers/include", "gemmlowp", "ruy")  # whose headers TFLM's own include
_C_FLAGS = ("-O2", "-mthumb", "-ffunction-sections", "-fdata-sections", "-fno-common", "-DTF_LITE_STATIC_MEMORY")
_CXX_FLAGS = ("-std=gnu++17", "-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics", "-Wno-psabi")
_LINK_FLAGS = ("-nostartfiles", "--specs=nosys.specs", "-Wl,--gc-sections", "-Wl,-T,memory.ld", "-Wl,-Map,program.map")
_ONLY_INT8 = b"Register_CONV_2D_INT8"  # what a library with kernels for int8 alone defines
_STACK_BYTES = 64 << 10
_IN_FLASH = (".text", ".ARM.ex", ".data")
_CORE_TAGS = ("Tag_CPU_arch", "Tag_FP_arch", "Tag_ABI_VFP_args")
_LINES = 12
_ARCHIVES = (b"!<arch>\n", b"!<thin>\n")
_SECTION = re.compile(
    r"^(?P<output>\.\S+)|^ (?P<section>[.*]\S+)\s+0x(?P<at>[0-9a-f]+)\s+0x(?P<size>[0-9a-f]+)[ \t]*(?P<object>.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Toolchain:
    """What programs are built with.

    Attributes:
        board: for which they are.
        library: the archive of TFLite Micro, built for the board's core.
        include: folders of headers: TFLite Micro's tree, and those of flatbuffers, gemmlowp and ruy where they are not
            among the tree's own downloads.
    """

    board: Board
    library: Path
    include: tuple[Path, ...]

    def build(self, file: TFLiteFile, folder: Path) -> Path:
        """Build the program that runs a file.

        Args:
            file: what it runs.
            folder: where it is built; what is there is replaced.

        Returns:
            The program.

        Raises:
            FileNotFoundError: no compiler, library or headers there.
            ValueError: TFLite Micro lacks an operator, or the library does, or it is for another core.
        """
        self.check()
        texts = micro_bundle(file, "model", arena_bytes=1)  # the program has an arena of its own
        units = [name for name in texts if name.endswith((".c", ".cc")) and name != "main.cc"]
        return self._linked(folder, texts, [*units, "startup.c", "program.cc"], file.name)

    def size(self, file: TFLiteFile, program: Path, folder: Path) -> ProgramSize:
        """What the program that runs a file takes of flash.

        Args:
            file: the file.
            program: from `build`.
            folder: where a program without operators is built, whose bytes are the runtime's.

        Raises:
            FileNotFoundError, ValueError: as for `build`.
        """
        model = len(file.data) + -len(file.data) % 4
        runtime = _flash(self.bare((), folder))
        return ProgramSize(model, _flash(program) - model - runtime, runtime)

    def bare(self, operators: Sequence[str], folder: Path) -> Path:
        """The program that has operators but no model: without any operator, what the linker keeps runs any model.

        Args:
            operators: as files name them, each once; those that have kernels for int8 alone, by these.
            folder: where it is built; what is there is replaced.

        Returns:
            The program; beside it the linker's map, see `flash_parts`.

        Raises:
            FileNotFoundError, ValueError: as for `build`.
        """
        self.check()
        resolver = operators_resolver(operators, "model_ops", int8=operators)
        texts = {"model_data.h": _NO_DATA_H, "model_data.cc": _NO_DATA, "model_ops.h": resolver}
        told = ", ".join(operators) or "a model without operators"
        return self._linked(folder, texts, ["model_data.cc", "startup.c", "program.cc"], told)

    def _linked(self, folder: Path, texts: dict[str, str], units: Sequence[str], name: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for each, text in (texts | {each: source(each) for each in SOURCES}).items():
            (folder / each).write_text(text)
        (folder / "memory.ld").write_text(self.board.linker_script(_STACK_BYTES))
        for unit in units:
            self._run(self._compile(unit), folder, name)
        self._check_core(folder / "startup.c.o", name)
        objects = [f"{unit}.o" for unit in units]
        link = ["arm-none-eabi-g++", *self.board.flags, "-mthumb", *objects, str(self.library.resolve()), *_LINK_FLAGS]
        self._run([*link, "-o", "program.elf"], folder, name)
        return folder / "program.elf"

    def _compile(self, unit: str) -> list[str]:
        compiler = ["arm-none-eabi-gcc", "-std=c11"] if unit.endswith(".c") else ["arm-none-eabi-g++", *_CXX_FLAGS]
        if _ONLY_INT8 in self.library.read_bytes():
            compiler.append("-DCMSIS_NN")  # else the headers give the kernels for all types
        headers = [f"-I{folder}" for folder in (".", *self._headers())]
        return [*compiler, *self.board.flags, *_C_FLAGS, *headers, "-c", unit, "-o", f"{unit}.o"]

    def _headers(self) -> list[Path]:
        """The folders of headers, with the downloads of a tree that its makefile has filled."""
        trees = [folder.resolve() for folder in self.include]
        known = [tree / _DOWNLOADS / name for tree in trees for name in _THIRD_PARTIES]
        return [*trees, *(folder for folder in known if folder.is_dir())]

    def _run(self, command: Sequence[str], folder: Path, name: str) -> None:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise ValueError(self._told(done.stderr, name))

    def _told(self, errors: str, name: str) -> str:
        """What the compiler or the linker means."""
        core = " ".join(self.board.flags)
        lacks = sorted(set(re.findall(r"undefined reference to `(?:tflite::)?(\w+)", errors)))
        if lacks:
            return (
                f"{name}: the library {self.library} lacks {', '.join(lacks)}. Received: a library without the "
                "operator, or of another TFLite Micro than the headers. Build both from one tree."
            )
        if match := re.search(r"uses VFP register arguments|[Cc]onflicting (CPU|architecture)|incompatible", errors):
            return (
                f"{name}: the library {self.library} is for another core. Received: {match[0]!r} from the linker. "
                f"Build it with {core}."
            )
        if match := re.search(r"fatal error: (\S+): No such file", errors):
            return (
                f"{name}: no header {match[1]} in {', '.join(map(str, self._headers()))}. Received: --tflm-include "
                "without it. Give TFLite Micro's tree, and the folders of flatbuffers, gemmlowp and ruy."
            )
        if match := re.search(r"region `(\w+)' overflowed by (\d+) bytes", errors):
            return (
                f"{name}: the program is {int(match[2]):,} bytes too large for the {match[1]} of {self.board.machine}. "
                "Received: a model that no such board holds. Compress it further."
            )
        if match := re.search(
            r"file format not recognized|file in wrong format|no archive symbol table|truncated", errors
        ):
            return (
                f"{name}: the library {self.library} is none for a Cortex-M. Received: {match[0]!r} from the linker. "
                f"Give the archive that TFLite Micro's makefile builds for {core}."
            )
        lines = [line for line in errors.splitlines() if "error" in line] or errors.splitlines()
        return f"{name}: arm-none-eabi-g++ refuses the program. Received: {' '.join(lines[:_LINES])}."

    def check(self) -> None:
        """Refuse what is not there.

        Raises:
            FileNotFoundError: no compiler, library or headers.
            ValueError: the library is no archive.
        """
        if shutil.which("arm-none-eabi-g++") is None:
            raise FileNotFoundError(f"No arm-none-eabi-g++ in PATH. Received: no compiler. Install it: {_TOOLS}.")
        if not self.library.is_file():
            raise FileNotFoundError(
                f"No library there. Received: {self.library}. Give the libtensorflow-microlite.a that you built for "
                f"{' '.join(self.board.flags)} by --tflm-lib."
            )
        with self.library.open("rb") as stream:
            begins = stream.read(9)
        if not begins.startswith(_ARCHIVES) or len(begins) < 9:  # nothing behind the magic: no object in it
            raise ValueError(
                f"Not a library. Received: {self.library}, which is no archive, or an empty one. Give the "
                f"libtensorflow-microlite.a that you built for {' '.join(self.board.flags)} by --tflm-lib."
            )
        for folder in self.include:
            if not folder.is_dir():
                raise FileNotFoundError(f"No folder of headers there. Received: {folder}. Give TFLite Micro's tree.")

    def _check_core(self, own: Path, name: str) -> None:
        """Refuse a library with another instruction set or floating-point unit than the board's: it might link."""
        ours, theirs = _attributes(own), _attributes(self.library.resolve())
        for tag in _CORE_TAGS:
            if theirs and theirs.get(tag) != ours.get(tag):
                raise ValueError(
                    f"{name}: the library {self.library} is for another core. Received: {tag} "
                    f"{theirs.get(tag, 'of none')}, where {self.board.machine} has {ours.get(tag, 'none')}. Build it "
                    f"with {' '.join(self.board.flags)}."
                )


def _flash(program: Path) -> int:
    """Bytes of a program's sections that lie in flash."""
    told = subprocess.run(["arm-none-eabi-size", "-A", program], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in told.splitlines()]
    return sum(int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(_IN_FLASH))


def flash_parts(program: Path) -> dict[tuple[str, str], int]:
    """What lies in flash of a program that was linked section by section.

    What the linker keeps is what is reached from somewhere: the parts of two programs that differ in what they register
    are together the parts of the one that registers both.

    Args:
        program: from `Toolchain`.

    Returns:
        Bytes by section and the object that it comes from, of sections of one name in one object all together; gaps
        of alignment come from no object.
    """
    _, _, told = program.with_suffix(".map").read_text(errors="replace").partition("Linker script and memory map")
    placed, inside = list[tuple[int, int, tuple[str, str]]](), False
    for match in _SECTION.finditer(told):
        if match["output"]:
            inside = match["output"].startswith(_IN_FLASH)
        elif inside:
            key = (match["section"], match["object"].rpartition("/")[2])
            placed.append((int(match["at"], 16), int(match["size"], 16), key))
    placed.sort(key=lambda each: each[0])
    found: dict[tuple[str, str], int] = {}
    for (at, size, key), following in zip(placed, [*(each[0] for each in placed[1:]), None], strict=True):
        # Strings that another section has as well are told in full, at the address of what comes next.
        real = size if following is None else min(size, following - at)
        found[key] = found.get(key, 0) + real
    return {key: size for key, size in found.items() if size}


def _attributes(file: Path) -> dict[str, str]:
    """What the first object of an archive says of its core."""
    told = subprocess.run(["arm-none-eabi-readelf", "-A", file], capture_output=True, text=True, check=False).stdout
    first = told.split("Attribute Section", 2)
    return dict(re.findall(r"(Tag_\w+): (.+)", first[1])) if len(first) > 1 else {}


_NO_DATA_H = (
    "extern const unsigned char model_data[16];\n"  # not seen by who reads it, or the compiler draws conclusions
)
_NO_DATA = '#include "model_data.h"\n\nconst unsigned char model_data[16] = {1};\n'
