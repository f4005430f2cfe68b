"""Lines of a shell as the manual shows them: run where they are this package's, else checked against what they name."""

import configparser
import glob
import re
import shlex
import shutil
from pathlib import Path

from tf_structprune_cli import main

ROOT = Path(__file__).parents[2]


def run(text):
    """Run or check each line of a block."""
    for line in lines(text):
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables of the environment
            words.pop(0)
        if words:
            program = words[0].removeprefix(".venv/bin/")
            if program not in PROGRAMS:
                raise AssertionError(f"No test knows {program!r}. Received: {line!r}. Add it to commands.PROGRAMS.")
            PROGRAMS[program](words[1:])


def lines(text):
    """Commands of a block: continued lines and those joined by `&&` apart."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [part.strip() for line in joined.splitlines() for part in line.split("&&") if part.strip()]


def tf_structprune(words):
    """Run it here. What a command before it made under the same name goes first, as in another folder."""
    words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    for option, value in zip(words, words[1:], strict=False):
        made = Path(value)
        if option in ("--out", "--json") and made.exists():
            shutil.rmtree(made) if made.is_dir() else made.unlink()
    if words[0] == "demo":  # it has a test of its own, which takes minutes
        words = ["demo", "--help"]
    try:
        status = main(words)
    except SystemExit as left:  # argparse refuses, or shows help
        status = left.code
    assert status == 0, f"tf-structprune {shlex.join(words)}: status {status}"


def python(words):
    """A benchmark that is there, with options that it has; or a virtual environment, or pytest."""
    assert words[0] == "-m", words
    if words[1] in ("venv", "pytest", "mkdocs"):
        return
    text = source(words[1])
    for word in words[2:]:
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            assert re.search(rf'(DEFINE_\w+\(\s*"|add_argument\(\s*"--){name}"', text), f"{words[1]} has no --{name}"


def source(module):
    """Text of a benchmark and of those that it takes options from; not imported, since flags are of a whole process."""
    text = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text()
    others = re.findall(r"^from (benchmarks\.\w+) import", text, re.MULTILINE)
    return text + "".join(source(other) for other in others)


def pip(words):
    """Extras that are there."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for extra in re.findall(r"\[([\w,-]+)\]", " ".join(words)):
        unknown = set(extra.split(",")) - set(config["options.extras_require"])
        assert not unknown, f"there is no extra {unknown}"


def ours(path):
    """A script of this checkout."""

    def check(words):
        assert (ROOT / path).is_file(), path

    return check


def foreign(words):
    """Another project's program: nothing of ours to check."""


PROGRAMS = {
    "tf-structprune": tf_structprune,
    "python": python,
    "python3": python,
    "pip": pip,
    ".ci/run": ours(".ci/run"),
    ".ci/core": ours(".ci/core"),
    **dict.fromkeys(
        ("cd", "git", "apt-get", "sudo", "model-explorer", "tensorboard", "ray", "mkdocs", "make"), foreign
    ),
    **dict.fromkeys(("idf.py", "west", "arduino-cli", "cmake", "ruff", "mypy", "zstd"), foreign),
}
