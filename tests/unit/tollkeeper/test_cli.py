"""The command line without any server: help, bad arguments, one line for each failure."""

from __future__ import annotations

import ast
from datetime import date, timedelta
from pathlib import Path

import pytest

from billing.errors import InvalidInput
from tollkeeper.cli.asking import read_day, read_length
from tollkeeper.cli.doing import settings_here
from tollkeeper.cli.program import app, run
from tollkeeper.cli.showing import show_facts, show_table, usd

COMMANDS = Path(__file__).parents[3] / "src" / "tollkeeper" / "cli"
CONTRACT = [
    "serve", "up", "demo", "migrate", "replay", "doctor", "balance", "usage", "statement",
    "explain", "reservations", "envoy render", "envoy validate", "account create", "account list",
    "account show", "account topup", "account suspend", "key create", "key list", "key rotate",
    "key revoke", "subscription set", "ledger check", "ratelimit lint", "ratelimit explain",
]  # fmt: skip
WITHOUT_JSON = {"serve", "up", "demo"}
"""They run until they are stopped and answer nothing."""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no stack of whoever runs the tests is seen."""
    monkeypatch.delenv("TOLLKEEPER_POSTGRES_DSN", raising=False)
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path))


@pytest.mark.parametrize("command", CONTRACT)
def test_every_command_of_the_contract_is_there(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has a help of its own, and --json unless it runs until it is stopped."""
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"Usage: tollkeeper {command}" in said
    assert ("--json" in said) is (command not in WITHOUT_JSON)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["acount"], "acount"),
        (["account", "create"], "one name"),
        (["account", "create", "a", "--name", "b"], "one name"),
        (["account", "create", "a", "--type", "robot"], "robot"),
        (["account", "create", "a", "--overdraft", "ten"], "ten"),
        (["account", "topup", "a", "--amount", "1e3", "--reference", "r"], "1e3"),
        (["account", "topup", "a", "--amount", "0.0000000001", "--reference", "r"], "USD"),
        (["account", "topup", "a", "--amount", "1"], "--reference"),
        (["key", "create", "a", "--expires-in", "soon"], "soon"),
        (["key", "rotate", "a", "--overlap", "1y"], "1y"),
        (["usage", "a", "--since", "yesterday"], "yesterday"),
        (["usage", "a", "--by", "colour"], "colour"),
        (["balance", "a"], "TOLLKEEPER_POSTGRES_DSN"),
        (["account", "list", "--limit", "1000000"], "TOLLKEEPER_POSTGRES_DSN"),
        (["serve", "everything"], "everything"),
        (["serve", "authz", "--redis", "redis://x"], "--config"),
        (["serve", "authz", "--config", "x"], "ratelimit"),
    ],
)
def test_failure_is_one_line_and_a_code(
    args: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on standard output, one line on stderr that names what is wrong, and not 0."""
    code = run(args)
    told = capsys.readouterr()
    assert code != 0
    assert told.out == ""
    assert told.err.startswith("tollkeeper: ")
    assert told.err.count("\n") == 1
    assert word in told.err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version and nothing else."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_commands_leave_the_work_to_operations() -> None:
    """No command imports a store's client, and none reads the environment."""
    for path in COMMANDS.glob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not names & {"asyncpg", "redis"}, path
    assert app.info.name == "tollkeeper"


def test_length_of_time_is_read() -> None:
    """Digits and a letter; anything else is refused with what to write."""
    assert read_length("90m") == timedelta(minutes=90)
    assert read_length("30d") == timedelta(days=30)
    for text in ("", "h", "1.5h", "-1h", "1w", "9999999s"):
        with pytest.raises(InvalidInput):
            read_length(text)


def test_day_is_read() -> None:
    """A day as people write it to programs; nothing stays nothing."""
    assert read_day("2026-03-01") == date(2026, 3, 1)
    assert read_day(None) is None
    with pytest.raises(InvalidInput):
        read_day("01.03.2026")


@pytest.mark.parametrize(
    ("nanos", "text"),
    [(0, "0.00"), (25 * 10**9, "25.00"), (1, "0.000000001"), (-1_500_000_000, "-1.50")],
)
def test_amounts_are_exact_and_short(nanos: int, text: str) -> None:
    """At least two decimals, no zeros beyond what is needed, no rounding."""
    assert usd(nanos) == text


def test_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """Long cells stay whole where no terminal has a width; numbers stand at the right."""
    show_table(("name", "n"), [("x" * 300, 5), ("[bold]y", 12)])
    lines = capsys.readouterr().out.splitlines()
    assert "x" * 300 in lines[1]
    assert lines[1].rstrip().endswith("  5")
    assert "[bold]y" in lines[2]


def test_facts_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """Values begin in one column."""
    show_facts([("a", 1), ("long", None)])
    assert capsys.readouterr().out.splitlines() == ["a     1", "long  -"]


def test_servers_of_a_running_stack_are_found(tmp_path: Path) -> None:
    """Without variables the stack of the data directory is meant, with its ticket secret."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ticket").write_text("s" * 32)
    (tmp_path / "stack.json").write_text(
        '{"postgres": "postgresql://p@h:1/d", "redis": "redis://h:2/0", "access_log": "/log"}'
    )
    settings = settings_here()
    assert settings.require_postgres_dsn() == "postgresql://p@h:1/d"
    assert settings.require_redis_url() == "redis://h:2/0"
    assert settings.ticket_secrets == (b"s" * 32,)


def test_variable_wins_over_a_running_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set is what is meant."""
    (tmp_path / "stack.json").write_text("{}")
    monkeypatch.setenv("TOLLKEEPER_POSTGRES_DSN", "postgresql://mine@h:1/d")
    assert settings_here().require_postgres_dsn() == "postgresql://mine@h:1/d"


def test_one_variable_wins_and_the_rest_is_the_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable counts by itself: the other servers are still those of the stack."""
    (tmp_path / "stack.json").write_text(
        '{"postgres": "postgresql://p@h:1/d", "redis": "redis://h:2/0", "access_log": "/log"}'
    )
    monkeypatch.setenv("TOLLKEEPER_REDIS_URL", "redis://mine:3/0")
    settings = settings_here()
    assert settings.require_redis_url() == "redis://mine:3/0"
    assert settings.require_postgres_dsn() == "postgresql://p@h:1/d"
