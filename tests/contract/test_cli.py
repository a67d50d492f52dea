"""The command line over a real Postgres: what it prints, and what it changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from billing.keys import is_well_formed
from billing.stores.postgres_verdicts import newest_verdicts
from tollkeeper.cli.doing import user_name
from tollkeeper.cli.program import run

CONFIG = Path(__file__).parents[2] / "tollkeeper.yaml"


class Terminal:
    """Runs commands and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def tells(self, *args: str) -> str:
        """What a command that succeeds prints."""
        code, out, err = self.run(args)
        assert code == 0, err
        return out

    def gives(self, *args: str) -> Any:
        """What a command that succeeds prints as JSON."""
        return json.loads(self.tells(*args, "--json"))

    def fails(self, *args: str) -> str:
        """The one line that a command that fails prints."""
        code, out, err = self.run(args)
        assert code != 0
        assert out == ""
        assert err.count("\n") == 1
        return err

    def run(self, args: Sequence[str]) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run(args)
        told = self._capsys.readouterr()
        return code, told.out, told.err


@pytest.fixture
def terminal(
    database: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Terminal:
    """A terminal whose settings name a migrated database, an empty Redis and the example's file."""
    monkeypatch.setenv("TOLLKEEPER_POSTGRES_DSN", database)
    monkeypatch.setenv("TOLLKEEPER_REDIS_URL", redis_url)
    monkeypatch.setenv("TOLLKEEPER_CONFIG_FILE", str(CONFIG))
    monkeypatch.setenv("TOLLKEEPER_HOME", str(tmp_path))
    return Terminal(capsys)


@pytest.fixture
def acme(terminal: Terminal) -> str:
    """The id of an account named acme."""
    account_id = terminal.gives("account", "create", "acme")["id"]
    assert isinstance(account_id, str)
    return account_id


def test_account_and_key_print_what_the_contract_says(terminal: Terminal) -> None:
    """The id of an account; the id and the text of a key; balances in whole nano-USD."""
    created = terminal.gives("account", "create", "--name", "acme", "--overdraft", "1.50")
    key = terminal.gives("key", "create", "acme", "--scope", "chat", "--expires-in", "30d")
    balance = terminal.gives("balance", created["id"])
    assert list(created) == ["id"]
    assert list(key) == ["id", "key"]
    assert is_well_formed(key["key"])
    assert balance == {"posted": 0, "held": 0, "available": 1_500_000_000}


def test_repeated_topup_changes_nothing(terminal: Terminal, acme: str) -> None:
    """The second one says so and exits with 0; another amount is refused."""
    args = ("account", "topup", "acme", "--reference", "invoice 7")
    first = terminal.tells(*args, "--amount", "25.00")
    second = terminal.tells(*args, "--amount", "25.00")
    assert "top" in first
    assert "was posted before; nothing changed" in second
    assert "invoice 7" in terminal.fails(*args, "--amount", "25.01")
    assert terminal.gives("balance", acme)["posted"] == 25_000_000_000


def test_correction_may_be_negative(terminal: Terminal, acme: str) -> None:
    """A correction takes either sign and needs a reason."""
    args = ("account", "correct", "acme", "--reference", "fix")
    assert "--reason" in terminal.fails(*args, "--amount", "-3.00")
    given = terminal.gives(*args, "--amount", "-3.00", "--reason", "typo")
    assert (given["kind"], given["posted_nanos"]) == ("correction", -3_000_000_000)


@pytest.mark.parametrize(
    ("amount", "why"),
    [("0", "amount"), ("-1", "amount"), ("4611686018.427387905", "outside"), ("1e3", "1e3")],
)
def test_absurd_amount_is_one_line(terminal: Terminal, acme: str, amount: str, why: str) -> None:
    """Amounts of nothing, below nothing and beyond the ledger are refused in words."""
    args = ("account", "topup", "acme", f"--amount={amount}", "--reference", "r")
    assert why in terminal.fails(*args)
    assert terminal.gives("balance", acme)["posted"] == 0


def test_account_is_found_by_name_and_id(terminal: Terminal, acme: str) -> None:
    """Both lead to the same account; nobody is told in one line."""
    assert terminal.gives("account", "show", acme) == terminal.gives("account", "show", "acme")
    assert "nobody" in terminal.fails("account", "show", "nobody")
    assert "acme" in terminal.fails("account", "create", "acme")


def test_suspended_account_is_shown_as_such(terminal: Terminal, acme: str) -> None:
    """Suspend and resume change the status that is shown and leave an audit entry."""
    assert "suspended" in terminal.tells("account", "suspend", "acme")
    assert terminal.gives("account", "resume", acme)["status"] == "active"
    assert "5.00" in terminal.tells("account", "overdraft", "acme", "--amount", "5")
    actions = [row["action"] for row in terminal.gives("audit", "--account", "acme")["rows"]]
    assert actions == [
        "account.overdraft",
        "account.active",
        "account.suspended",
        "account.create",
    ]


def test_key_is_rotated_and_revoked_by_its_id(terminal: Terminal, acme: str) -> None:
    """The id alone is enough; the list shows the last characters only."""
    old = terminal.gives("key", "create", acme, "--name", "ci")
    new = terminal.gives("key", "rotate", old["id"], "--overlap", "1h")
    terminal.tells("key", "revoke", new["id"])
    listed = terminal.gives("key", "list", "acme")["rows"]
    table = terminal.tells("key", "list", "acme")
    assert [(key["status"], key["replaces"]) for key in listed] == [
        ("active", None),
        ("revoked", old["id"]),
    ]
    assert listed[0]["expires_at"] is not None
    assert old["key"] not in table
    assert old["key"][-4:] in table
    assert "no key" in terminal.fails("key", "revoke", acme)


def test_subscription_needs_an_applied_catalog(terminal: Terminal, acme: str) -> None:
    """Without plans the answer names the command; after it the subscription stands."""
    args = ("subscription", "set", "acme", "llm", "--plan", "pro", "--status", "active")
    assert "catalog apply" in terminal.fails(*args)
    assert "pro" in terminal.tells("catalog", "apply")
    state = terminal.gives(*args, "--rps", "7")
    assert (state["plan"], state["rps_override"]) == ("pro", 7)
    assert "pro" in terminal.tells("subscription", "list", "acme")
    assert terminal.gives("catalog", "apply") == {"profiles": [], "plans": [], "prices": []}
    assert "free" in terminal.tells("catalog", "plans")
    assert [price["in_force"] for price in terminal.gives("catalog", "prices")].count(True) == 1


def test_statement_shows_what_was_paid(terminal: Terminal, acme: str) -> None:
    """The statement opens, lists the top-up and closes with the balance."""
    terminal.tells("account", "topup", "acme", "--amount", "25.00", "--reference", "first")
    text = terminal.tells("statement", "acme")
    given = terminal.gives("statement", "acme", "--detail")
    assert "opening balance" in text
    assert "top-up" in text
    assert text.splitlines()[-1].split() == ["closing", "balance", "25.00"]
    assert given["closing_nanos"] == 25_000_000_000
    assert [line["kind"] for line in given["lines"]] == ["topup"]
    assert "span" in terminal.fails("statement", "acme", "--since", "2030-01-01")


def test_lists_come_in_pages(terminal: Terminal) -> None:
    """A page names the cursor of the next on stderr, and in JSON."""
    for name in ("a", "b", "c"):
        terminal.tells("account", "create", name)
    code, _, err = terminal.run(["account", "list", "--limit", "2"])
    page = terminal.gives("account", "list", "--limit", "2")
    rest = terminal.gives("account", "list", "--limit", "2", "--cursor", page["next_cursor"])
    assert (code, page["next_cursor"] in err) == (0, True)
    assert [row["name"] for row in (*page["rows"], *rest["rows"])] == ["a", "b", "c"]
    assert "rows" in terminal.fails("account", "list", "--limit", "1000000")


def test_empty_reports_are_tables_without_rows(terminal: Terminal, acme: str) -> None:
    """Nothing used, nothing reserved, nothing put aside: heads alone, and exit code 0."""
    for args in (
        ("usage", "acme", "--by", "route", "--by", "model"),
        ("reservations", "--expired"),
        ("reservations", "--account", "acme"),
        ("quarantine",),
        ("ledger", "entries", "acme"),
    ):
        assert len(terminal.tells(*args).splitlines()) == 1
        assert terminal.gives(*args) == {"rows": [], "next_cursor": None}
    assert "no request" in terminal.fails("explain", "0198c0de-0000-7000-8000-000000000000")


def test_ledger_check_says_ok_or_the_first_broken_row(
    terminal: Terminal, acme: str, database: str
) -> None:
    """Exit code 0 and `ledger check: ok`; with a changed balance its row on stderr, and 1."""
    terminal.tells("account", "topup", "acme", "--amount", "25.00", "--reference", "first")
    assert terminal.tells("ledger", "check").splitlines()[-1] == "ledger check: ok"
    assert terminal.gives("ledger", "check", "--full")["ok"] is True
    _damage(database)
    code, _, err = terminal.run(["ledger", "check"])
    assert code == 1
    assert f"invariant 2 is broken: ledger account credits of {acme}" in err
    assert _verdicts(database) == [(True, [], user_name()), (False, [2], user_name())]


def test_operator_token_is_printed_once(terminal: Terminal) -> None:
    """The token is printed at creation and never listed."""
    issued = terminal.gives("operator", "create", "ben", "--role", "billing")
    assert list(issued) == ["id", "token"]
    assert issued["token"] not in terminal.tells("operator", "list")
    assert "revoked" in terminal.tells("operator", "revoke", "ben")


def test_migrate_runs_twice(terminal: Terminal) -> None:
    """A migrated database has nothing to apply."""
    assert terminal.gives("migrate") == {"applied": []}


def test_rendered_bootstrap_goes_to_a_file(terminal: Terminal, tmp_path: Path) -> None:
    """`envoy render -o FILE` writes what standard output shows."""
    text = terminal.tells("envoy", "render")
    terminal.tells("envoy", "render", "-o", str(tmp_path / "envoy.yaml"))
    assert (tmp_path / "envoy.yaml").read_text() == text
    assert "static_resources" in json.loads(terminal.tells("envoy", "render", "--json"))
    assert "http_filters" in terminal.tells("envoy", "render", "--filters")
    assert "cannot write" in terminal.fails("envoy", "render", "-o", str(tmp_path))


def test_what_names_certificates_is_written_beside_the_bootstrap(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Envoy looks for it, or where that folder is here; standard output stays a bootstrap."""
    files = {"certificate": "/tls/gateway.pem", "key": "/tls/gateway.key", "client_ca": "/ca.pem"}
    monkeypatch.setenv("TOLLKEEPER_GATEWAY_TLS", json.dumps(files))
    monkeypatch.setenv("TOLLKEEPER_GATEWAY_TLS_DIR", "/proc/tollkeeper")
    assert "cannot write into /proc/tollkeeper" in terminal.fails("envoy", "render")
    here = tmp_path / "here"
    text = terminal.tells("envoy", "render", "--tls-dir", str(here))
    assert "path: /proc/tollkeeper/tls_certificate.json" in text
    (named,) = json.loads((here / "tls_certificate.json").read_text())["resources"]
    assert named["tls_certificate"]["private_key"] == {"filename": "/tls/gateway.key"}
    (trusted,) = json.loads((here / "validation_context.json").read_text())["resources"]
    assert trusted["validation_context"]["trusted_ca"] == {"filename": "/ca.pem"}


def test_configuration_is_validated_by_a_real_envoy(terminal: Terminal) -> None:
    """`envoy validate` says ok for the example."""
    assert "Envoy accepts" in terminal.tells("envoy", "validate")


def test_broken_configuration_is_one_line(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every problem with file and line, in one line on stderr."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("routes: 5\n")
    monkeypatch.setenv("TOLLKEEPER_CONFIG_FILE", str(broken))
    assert "broken.yaml:1" in terminal.fails("envoy", "validate")


def test_rules_are_linted_and_explained(terminal: Terminal, tmp_path: Path) -> None:
    """A directory of rules is judged, and a descriptor's answer explained."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(
        "domain: d\ndescriptors:\n"
        "  - key: k\n    rate_limit: {unit: second, requests_per_unit: 5}\n"
    )
    assert "ok" in terminal.tells("ratelimit", "lint", str(rules))
    found = terminal.gives("ratelimit", "explain", str(rules), "d", "k=v")
    assert (found["verdict"], found["remaining"]) == ("ok", 4)
    (rules / "b.yaml").write_text("domain: [\n")
    code, out, err = terminal.run(["ratelimit", "lint", str(rules)])
    assert (code, "b.yaml" in out, "errors" in err) == (1, True, True)


def _verdicts(database: str) -> list[tuple[bool, list[int], str]]:
    """Scope, broken invariants and person of the newest verdicts, the whole first."""

    async def read() -> list[tuple[bool, list[int], str]]:
        connection = await asyncpg.connect(database)
        found = await newest_verdicts(connection)
        await connection.close()
        return [(one.whole, list(one.broken), one.checked_by) for one in found]

    return asyncio.run(read())


def _damage(database: str) -> None:
    """Change a balance behind the ledger's back."""

    async def change() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute(
            "UPDATE ledger_accounts SET credits = credits + 1 WHERE code = 'credits'"
        )
        await connection.close()

    asyncio.run(change())
