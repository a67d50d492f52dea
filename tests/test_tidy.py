"""House rules over every file that git tracks. A rule that no tool holds is not a rule."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 400
CODE = ("src", "tests", "bench", "proto")
GENERATED = ("src", "envoyapi")
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "managers"}
ENVIRONMENT_READERS = {
    "src/tollkeeper/settings.py": "the one place that reads settings",
    "src/devstack/process.py": "a child inherits its parent's environment",
}
DATABASE_CLIENTS = {"asyncpg", "redis"}
DATABASE_USERS = re.compile(r"tests/|bench/|src/\w+/stores/|src/tollkeeper/(wiring|migrate)\b")
MONEY = re.compile(
    r"src/billing/(money|pricing|catalog|ledger|reservations|shares|ticket|meters/\w+)\.py"
)
UNFINISHED = re.compile(r"\b([T]ODO|[F]IXME|[X]XX)\b")
PRIVATE_PATHS = re.compile(r"/(?:work|root|farm)/")
ASSERTING_CALLS = re.compile(r"assert|raises|warns|fail|check|expect")


def tracked(*folders: str, suffix: str = "") -> list[Path]:
    """The files that git tracks below the folders (all of them without any), from the root on."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders], cwd=ROOT, check=True, capture_output=True
    )
    names = listing.stdout.decode().split("\0")
    return [Path(name) for name in names if name.endswith(suffix) and (ROOT / name).is_file()]


def modules(*folders: str) -> list[Path]:
    """Python files that people wrote."""
    return [path for path in tracked(*folders, suffix=".py") if path.parts[:2] != GENERATED]


def parsed(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every module with its syntax tree."""
    for path in modules(*folders):
        yield path, tree_of(path)


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax tree of one module."""
    return ast.parse((ROOT / path).read_text())


def long_functions(tree: ast.AST) -> list[str]:
    """Functions past the limit, decorators not counted."""
    return [
        f"{node.lineno} {node.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]


def floats(tree: ast.AST) -> list[int]:
    """Lines with a float literal, a division that makes one, or the type.

    A time in seconds may be one, and what comes from outside may be recognised as one.
    """
    allowed = {id(name) for name in (*_annotations_of_seconds(tree), *_recognised_types(tree))}
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float" and id(node) not in allowed)
        or (isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div))
    ]


def _annotations_of_seconds(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        named = node.arg if isinstance(node, ast.arg) else ""
        if isinstance(node, ast.AnnAssign):
            named = ast.unparse(node.target)
        annotation = getattr(node, "annotation", None)
        if annotation is not None and named.endswith("_s"):
            yield from ast.walk(annotation)


def _recognised_types(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            yield from ast.walk(node.args[1])


def environment_reads(tree: ast.AST) -> list[int]:
    """Lines that read or change the process environment."""
    names = {"environ", "environb", "getenv", "putenv"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names})
    ]


def imported(tree: ast.AST) -> set[str]:
    """The top packages that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").partition(".")[0])
    return found


def idle_tests(tree: ast.AST) -> list[str]:
    """Tests without a docstring, and tests that assert nothing, themselves or in what they call.

    A function of the same module is looked into; one from elsewhere counts by its name.
    """
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    asserting: set[str] = set()
    while found := {f.name for f in functions if _asserts(f, asserting)} - asserting:
        asserting |= found
    return [
        f"{function.lineno} {function.name}"
        for function in functions
        if function.name.startswith("test")
        and not (function.name in asserting and ast.get_docstring(function))
    ]


def _asserts(function: ast.AST, asserting: set[str]) -> bool:
    inner = list(ast.walk(function))
    called = {
        ast.unparse(node.func).rpartition(".")[2] for node in inner if isinstance(node, ast.Call)
    }
    return (
        any(isinstance(node, ast.Assert) for node in inner)
        or any(ASSERTING_CALLS.search(name) for name in called)
        or not asserting.isdisjoint(called)
    )


def test_functions_are_short() -> None:
    """No function is longer than one screen."""
    assert [f"{path}:{name}" for path, tree in parsed(*CODE) for name in long_functions(tree)] == []


def test_modules_are_short() -> None:
    """No module is longer than a person reads in one sitting."""
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in modules(*CODE)}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_modules_have_names_of_their_own() -> None:
    """No module or package is a drawer for whatever fits nowhere else."""
    parts = {path: {*path.parts[:-1], path.stem} for path in modules("src", "tests", "bench")}
    assert [str(path) for path, names in parts.items() if names & VAGUE_NAMES] == []


def test_nothing_is_left_for_later() -> None:
    """No file of ours carries a mark of unfinished work."""
    assert list(_lines_with(UNFINISHED)) == []


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    """No file names a directory of the machine that it was written on."""
    assert list(_lines_with(PRIVATE_PATHS)) == []


def test_only_settings_reads_the_environment() -> None:
    """The environment is read in one place, and handed on."""
    readers = {str(path) for path, tree in parsed("src") if environment_reads(tree)}
    assert readers - set(ENVIRONMENT_READERS) == set()


def test_only_stores_and_wiring_know_the_databases() -> None:
    """Database clients are imported where a store is, where it is built, and in tests."""
    users = [str(path) for path, tree in parsed(*CODE) if imported(tree) & DATABASE_CLIENTS]
    assert [path for path in users if not DATABASE_USERS.match(path)] == []


def test_no_float_touches_money() -> None:
    """Modules that count money hold no float literal, no float type and no true division."""
    money = [(path, tree) for path, tree in parsed("src/billing") if MONEY.match(str(path))]
    assert money, "the pattern of money modules matches nothing"
    assert [f"{path}:{line}" for path, tree in money for line in floats(tree)] == []


def test_every_test_says_what_it_shows_and_shows_it() -> None:
    """Each test has a sentence for a docstring, and something in it that can fail."""
    assert [f"{path}:{name}" for path, tree in parsed("tests") for name in idle_tests(tree)] == []


def test_locks_hold_hashes_and_no_address() -> None:
    """Every pinned package has a hash, and no lock file says where it was fetched."""
    locks = {path: (ROOT / path).read_text() for path in tracked("requirements", suffix=".lock")}
    assert len(locks) == 3
    assert [str(path) for path, text in locks.items() if "://" in text or "--index" in text] == []
    for path, text in locks.items():
        pins = re.findall(r"^[\w.-]+(?:\[[\w,-]+\])?==.*(?:\n    .*)*", text, re.MULTILINE)
        assert pins
        assert [pin for pin in pins if "--hash=sha256:" not in pin] == [], path


def test_envoys_folder_is_no_package() -> None:
    """envoy/ holds no Python: it would hide the package of the same name that a wheel brings."""
    assert tracked("envoy", suffix=".py") == []
    assert tracked("envoy", suffix=".pyi") == []


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (long_functions, "def f():\n" + "    x = 1\n" * 60, "def f():\n" + "    x = 1\n" * 59),
        (floats, "price = 0.5", "price = 5 // 2"),
        (floats, "share = a / b", "share = a // b"),
        (floats, "price = float(text)", "price = int(text)"),
        (floats, "price: float | int", "isinstance(price, float | int)"),
        (floats, "def f(price: float): pass", "def f(now_s: float): pass"),
        (environment_reads, "import os\nos.environ['A']", "settings.a"),
        (environment_reads, "from os import getenv", "from os import path"),
        (idle_tests, 'def test_a():\n    """Says."""\n    run()', "def other(): pass"),
        (
            idle_tests,
            'def test_a():\n    """Says."""\n    run()\ndef run(): go()',
            'def test_a():\n    """Says."""\n    run()\ndef run(): go()\ndef go(): assert x',
        ),
        (idle_tests, "def test_a():\n    assert x", 'def test_a():\n    """Says."""\n    assert x'),
        (imported, "from redis.asyncio import Redis", "from .redis import Redis"),
    ],
)
def test_each_rule_finds_what_it_forbids(rule: object, bad: str, good: str) -> None:
    """A rule reports the bad line and lets the good one pass."""
    assert callable(rule)
    assert rule(ast.parse(bad))
    assert not rule(ast.parse(good))


def _lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in tracked():
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue  # a picture, not a text
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                yield f"{path}:{number}"
