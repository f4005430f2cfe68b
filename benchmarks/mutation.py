"""How many small changes of the code the tests of its room notice.

    pip install --target CR cosmic-ray
    PYTHONPATH=.:CR python -m benchmarks.mutation --room search --mutants 60

The mutants are cosmic-ray's, one for each place where one of its operators fits: an arithmetic operator or a comparison
by another, `not` put in or taken out, True and False, `and` and `or`, numbers one up or down, loops that end at once.
Those that change no function (annotations, settings of a dataclass, tables) count as none. Of the rest
as many as asked for are drawn by the seed.

No file is changed: a process that has collected the room's tests forks for each mutant, and the child puts the changed
code into the functions that there are and runs the tests that call the changed one, until the first that fails. Tests
that took long without any change are left out, and those of Hypothesis try few examples, so a survivor may still fall
to the whole suite. Tests that start processes of their own see no mutant. All limits but `--minutes` are of processor
time, for machines that do other things too.
"""

import argparse
import ast
import contextlib
import json
import os
import pathlib
import random
import resource
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

PLAIN = "tests/tf_structprune"
ROOMS = {
    "masks": ("tf_structprune/masks", [f"{PLAIN}/masks", f"--ignore={PLAIN}/masks/test_grouped.py"]),
    "search": ("tf_structprune/search", [f"{PLAIN}/search", "tests/contracts/test_search_contract.py"]),
    "race": ("tf_structprune/scoring/_race.py", [f"{PLAIN}/scoring/test_race.py"]),
    "strata": ("tf_structprune/scoring/_strata.py", [f"{PLAIN}/scoring/test_strata.py"]),
    "fixed_point": ("tf_structprune/fixed_point", [f"{PLAIN}/fixed_point"]),
    "schedule": ("tf_structprune/schedule", [f"{PLAIN}/schedule/test_schedule.py"]),
    "resume": ("tf_structprune/resume", [f"{PLAIN}/resume"]),
    "shrink": ("tf_structprune/shrink", [f"{PLAIN}/shrink/{name}.py" for name in ("test_dead_maps", "test_costs")]),
    "write": ("tflite_export/write/_staged_directory.py", ["tests/tflite_export/write/test_staged_directory.py"]),
    "kernels": ("tflite_export/kernels", ["tests/tflite_export/kernels"]),
}
WITHOUT_KERAS = ("masks", "search", "fixed_point", "schedule")  # their tests import faster so
SKIPPED = ("VariableReplacer", "VariableInserter", "RemoveDecorator")  # of no names; of what was imported already


@dataclass(frozen=True)
class Mutant:
    """A change: the file, cosmic-ray's operator and which of its places in the file."""

    file: str
    operator: str
    occurrence: int


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", required=True, choices=ROOMS)
    parser.add_argument("--mutants", type=int, default=60, help="drawn at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", type=int, default=10, help="of Hypothesis, for each test")
    parser.add_argument("--longest", type=float, default=0.3, help="seconds of a test that is run")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no further mutant is tried")
    parser.add_argument("--out", type=pathlib.Path, help="JSON lines, one a mutant")
    return parser.parse_args(argv)


def all_places(files: Sequence[pathlib.Path]) -> list[list[Mutant]]:
    """The mutants of each place."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    places: dict[tuple[str, str, int], list[Mutant]] = {}
    for file in files:
        nodes = list(ast_nodes(get_ast(file.read_text())))
        for name in sorted(operator_names()):
            if name.endswith(SKIPPED):
                continue
            operator = get_operator(name)()
            for occurrence in range(sum(len(list(operator.mutation_positions(node))) for node in nodes)):
                place = (str(file), name.rsplit("_", 1)[0], occurrence)
                places.setdefault(place, []).append(Mutant(str(file), name, occurrence))
    return list(places.values())


def functions_of(source: str) -> str:
    """The functions' arguments, bodies and decorators, the classes' defaults and the module's constants as a text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            node.decorator_list = []
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def drawn_mutants(places: Sequence[Sequence[Mutant]], count: int, seed: int) -> Iterator[tuple[Mutant, str]]:
    """Mutants of different places with their texts."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    draw = random.Random(seed)
    for mutants in draw.sample(places, len(places)):
        mutant = draw.choice(mutants)
        source = pathlib.Path(mutant.file).read_text()
        mutated = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
        with contextlib.suppress(SyntaxError):
            if functions_of(mutated) != functions_of(source):
                yield mutant, mutated
                count -= 1
        if not count:
            return


def put_in(file: str, source: str) -> None:
    """Give the functions, methods and constants of a module those of a text."""
    module = sys.modules[file.removesuffix(".py").replace("/", ".")]
    changed = types.ModuleType(module.__name__)
    changed.__dict__.update(module.__dict__)
    exec(compile(source, str(module.__file__), "exec"), changed.__dict__)
    for name, new in list(changed.__dict__.items()):
        old = module.__dict__.get(name)
        if isinstance(new, type) and isinstance(old, type) and new.__module__ == module.__name__:
            for part, value in vars(new).items():
                if not _same_function(vars(old).get(part), value) and not part.startswith("__abstract"):
                    with contextlib.suppress(AttributeError, TypeError):
                        setattr(old, part, _at_home(value, module))
        elif not name.startswith("__") and not _same_function(old, new):
            setattr(module, name, new)


def _same_function(old: Any, new: Any) -> bool:
    """Whether both are plain functions; the old one then does what the new one does."""
    if not isinstance(old, types.FunctionType) or not isinstance(new, types.FunctionType):
        return False
    if old.__code__.co_freevars != new.__code__.co_freevars:
        return False
    old.__code__, old.__defaults__, old.__kwdefaults__ = new.__code__, new.__defaults__, new.__kwdefaults__
    return True


def _at_home(value: Any, module: types.ModuleType) -> Any:
    """A property or static method whose functions see the names of the module itself."""
    if isinstance(value, property) and isinstance(value.fget, types.FunctionType):
        get = value.fget
        return property(types.FunctionType(get.__code__, module.__dict__, get.__name__, None, get.__closure__))
    if isinstance(value, staticmethod | classmethod) and isinstance(value.__func__, types.FunctionType):
        call = value.__func__
        own = types.FunctionType(call.__code__, module.__dict__, call.__name__, call.__defaults__, call.__closure__)
        own.__kwdefaults__ = call.__kwdefaults__
        return type(value)(own)
    return value


def change_of(source: str, mutated: str) -> tuple[int, str]:
    """The first line that differs: its number, and it before and after."""
    pairs = zip(source.splitlines(), mutated.splitlines(), strict=False)
    number, (old, new) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return number, f"{old.strip()} -> {new.strip()}"


def function_at(source: str, line: int) -> int:
    """The first line of the outermost function around a line, decorators counted; 0 outside of all."""
    for node in ast.walk(ast.parse(source)):  # breadth first
        if isinstance(node, ast.FunctionDef) and node.lineno < line <= (node.end_lineno or 0):
            return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return 0


def in_child(work: Callable[[], str], seconds: int) -> str | None:
    """What a function gives that runs in a fork; None where it died or took more seconds of processor time."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            os.write(write, work().encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as told:
        answer = told.read()
    os.waitpid(child, 0)
    return answer or None


def passes(item: Any) -> bool:
    """Whether a collected test passes."""
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


class Mutation:
    """A plugin of pytest that tries mutants on the tests that were collected."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows: list[dict[str, Any]] = []

    def pytest_runtestloop(self, session: Any) -> bool:
        """Instead of running the tests once."""
        room = pathlib.Path(ROOMS[self.options.room][0])
        files = [room] if room.is_file() else sorted(file for file in room.glob("*.py") if file.stem != "__init__")
        measured = json.loads(in_child(lambda: json.dumps(self._measured(session.items, files)), 900) or "[]")
        quick = sorted((cost, index) for index, (cost, _) in enumerate(measured) if cost <= self.options.longest)
        places = all_places(files)
        self._tell({"room": self.options.room, "places": len(places), "tests": len(measured), "quick": len(quick)})
        limit = 10 + int(5 * sum(cost for cost, _ in quick))
        end = time.monotonic() + 60 * self.options.minutes
        for mutant, source in drawn_mutants(places, self.options.mutants, self.options.seed):
            original = pathlib.Path(mutant.file).read_text()
            number, change = change_of(original, source)
            place = f"{mutant.file}:{function_at(original, number)}"
            tests = [session.items[index] for _, index in quick if place.endswith(":0") or place in measured[index][1]]

            def tried(tests: Sequence[Any] = tests, file: str = mutant.file, source: str = source) -> str:
                return self._tried(tests, file, source)

            verdict = in_child(tried, limit) or "slow"
            self._tell({**asdict(mutant), "verdict": verdict, "change": f"{number}: {change}", "tests": len(tests)})
            if time.monotonic() > end:
                break
        return True

    def _measured(self, items: Sequence[Any], files: Sequence[pathlib.Path]) -> list[tuple[float, list[str]]]:
        """Seconds of each test, many where it fails, and the functions that it calls."""
        called: set[str] = set()
        names = {str(file.resolve()): file for file in files}

        def told(frame: Any, event: str, _: Any) -> None:
            if event == "call" and (file := names.get(frame.f_code.co_filename)):
                called.add(f"{file}:{frame.f_code.co_firstlineno}")

        found = []
        for item in items:
            called.clear()
            begin = time.process_time()
            sys.setprofile(told)
            passed = passes(item)
            sys.setprofile(None)
            found.append((time.process_time() - begin if passed else 9e9, sorted(called)))
        return found

    def _tried(self, tests: Sequence[Any], file: str, source: str) -> str:
        try:
            put_in(file, source)
        except Exception as error:
            return f"killed: {error!r}"
        failed = next((item for item in tests if not passes(item)), None)
        return "survived" if failed is None else f"killed: {failed.nodeid}"

    def _tell(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.options.out is not None:
            with self.options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")


def few_examples(count: int) -> None:
    """Hypothesis tries so many at most, the same each time."""
    begin = hypothesis.settings.__init__

    def limited(self: Any, parent: Any = None, **given: Any) -> None:
        if "max_examples" in given:
            given["max_examples"] = min(count, given["max_examples"])
        begin(self, parent, **given)

    hypothesis.settings.__init__ = limited  # type: ignore[method-assign]
    hypothesis.settings.register_profile("few", max_examples=count, deadline=None, database=None, derandomize=True)
    hypothesis.settings.load_profile("few")


def main(argv: Sequence[str] | None = None) -> None:
    """Try mutants and print what became of them."""
    options = arguments(argv)
    if options.room in WITHOUT_KERAS:
        sys.modules["keras"] = None  # type: ignore[assignment]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    few_examples(options.examples)
    mutation = Mutation(options)
    ignored = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main(["-q", "-p", "no:cacheprovider", *ignored, *ROOMS[options.room][1]], plugins=[mutation])
    tried = [row for row in mutation.rows if "verdict" in row]
    for row in tried:
        if row["verdict"] in ("survived", "slow"):
            print(row["verdict"], row["file"], row["change"], flush=True)
    counts = {word: sum(row["verdict"].startswith(word) for row in tried) for word in ("killed", "slow", "survived")}
    print(mutation.rows[:1], counts, flush=True)


if __name__ == "__main__":
    main()
