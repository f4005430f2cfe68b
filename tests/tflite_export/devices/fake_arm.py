"""Programs that stand for the cross compiler and QEMU: what they are told is kept, what they answer is set."""

import json
import os
import sys
import textwrap
from pathlib import Path

_FOLDER = "FAKE_ARM"
_PROGRAM = """\
    #!{python} -IS
    import json, os, pathlib, shutil, sys
    fake = pathlib.Path(os.environ["{folder}"])
    knobs = json.loads((fake / "knobs.json").read_text())
    with (fake / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
    if {name!r} in knobs["fails"]:
        sys.exit(knobs["fails"][{name!r}])
    {body}
"""
_COMPILE = """
    arguments = sys.argv[1:]
    out = pathlib.Path(arguments[arguments.index("-o") + 1])
    sources = [each for each in arguments if each.endswith((".c", ".cc", ".o"))]
    sources += ["model_ops.h"] if "-nostartfiles" in arguments else []
    out.write_text("".join(pathlib.Path(each).read_text() for each in sources if each != str(out)))
"""
_READELF = """
    attributes = knobs["library" if sys.argv[-1].endswith(".a") else "own"]
    print("File: x\\nAttribute Section: aeabi\\nFile Attributes")
    for name, value in attributes.items():
        print(f"  {name}: {value}")
"""
_SIZE = """
    text = pathlib.Path(sys.argv[-1]).read_text()
    bytes_of = {".text": 100 + 7 * text.count("resolver.Add"), ".data": 8, ".bss": 9999, ".comment": 77}
    model = "resolver.Add" in text
    print("program.elf  :\\nsection  size  addr")
    for name, size in bytes_of.items():
        print(f"{name}  {size + (knobs['model'] if model and name == '.text' else 0)}  0")
"""
_QEMU = """
    for name in ("outputs.bin", "figures.bin"):
        if (fake / name).is_file():
            shutil.copy(fake / name, name)
    shutil.copy("inputs.bin", fake)
    print(knobs["told"])
    sys.exit(knobs["status"])
"""
_BODIES = {
    "arm-none-eabi-gcc": _COMPILE,
    "arm-none-eabi-g++": _COMPILE,
    "arm-none-eabi-readelf": _READELF,
    "arm-none-eabi-size": _SIZE,
    "qemu-system-arm": _QEMU,
}
_CORE = {"Tag_CPU_arch": "v7E-M", "Tag_FP_arch": "VFPv4-D16", "Tag_ABI_VFP_args": "VFP registers"}


class FakeArm:
    """The programs in a folder, which is all of PATH.

    Attributes:
        folder: where they are, with what they were told.
    """

    def __init__(self, folder: Path, monkeypatch):
        self.folder = folder
        self._knobs = {"fails": {}, "library": _CORE, "own": _CORE, "told": "", "status": 0, "model": 0}
        self.set()
        for name, body in _BODIES.items():
            program = folder / name
            values = {"python": sys.executable, "folder": _FOLDER, "name": name}
            text = textwrap.dedent(_PROGRAM).format(body=textwrap.dedent(body), **values)
            program.write_text(text)
            program.chmod(0o755)
        monkeypatch.setenv(_FOLDER, str(folder))
        monkeypatch.setenv("PATH", str(folder))

    def set(self, **knobs):
        """Change what the programs answer."""
        self._knobs |= knobs
        (self.folder / "knobs.json").write_text(json.dumps(self._knobs))

    def without(self, name):
        """Take a program away."""
        os.remove(self.folder / name)

    @property
    def calls(self):
        """What was called, with its arguments."""
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
