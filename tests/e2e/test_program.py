"""Every command that the contract names, as a person types it beside a running stack."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from billing.keys import is_well_formed
from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.program import Program, program_beside
from tests.e2e.stage import CREDIT, ROOT, Stage
from tollkeeper.stack.customers import Customer

PING = "/flat/ping"
PINGED = Paid("ping", CREDIT, 1)
NOBODY = "0198c0de-0000-7000-8000-000000000000"


@pytest.fixture
def program(stage: Stage) -> Program:
    """The program, which finds the stack by its data directory alone."""
    return program_beside(stage)


async def open_by_hand(stage: Stage, program: Program, name: str, amount_usd: str) -> Customer:
    """A customer whom the command line made."""
    account = await program.gives("account", "create", name)
    assert list(account) == ["id"]
    await program.tells("subscription", "set", name, "llm", "--plan", "pro", "--status", "active")
    payment = ("account", "topup", name, "--amount", amount_usd, "--reference", "r")
    assert (await program.gives(*payment))["repeated"] is False
    assert (await program.gives(*payment))["repeated"] is True
    key = await program.gives("key", "create", name)
    assert list(key) == ["id", "key"]
    assert is_well_formed(key["key"])
    stage.keys.append(key["key"])
    return Customer(name, account["id"], key["id"], key["key"])


async def ping(stage: Stage, customer: Customer) -> tuple[int, str]:
    """Status and id of one paid request."""
    async with stage.client(customer) as client:
        answer = await client.get(PING)
    return answer.status_code, answer.headers["x-request-id"]


async def test_a_customer_of_the_command_line_pays(
    stage: Stage, books: Books, program: Program
) -> None:
    """Account, subscription, payment and key typed by hand are good for a request; balance, usage,
    statement and explanation agree on what it cost, in whole nano-USD."""
    customer = await open_by_hand(stage, program, "typed", "0.0025")
    status, request_id = await ping(stage, customer)
    assert status == 200
    await books.expect(customer, 2_500_000, PINGED)
    left = 1_500_000
    assert await program.gives("balance", "typed") == {"posted": left, "held": 0, "available": left}
    usage = (await program.gives("usage", "typed", "--by", "route"))["rows"]
    assert [(row["route"], row["requests"], row["price_nanos"]) for row in usage] == [
        ("ping", 1, CREDIT)
    ]
    statement = await program.gives("statement", customer.account_id)
    assert [line["amount_nanos"] for line in statement["lines"]] == [2_500_000, -CREDIT]
    assert statement["closing_nanos"] == left
    explained = await program.gives("explain", request_id)
    assert explained["reservation"]["state"] == "settled"
    assert explained["reservation"]["price_version"] == "2026-01"
    assert explained["event"]["formula"] == "1 request x 1000000 = 1000000 nano-USD"
    assert [e["amount_nanos"] for e in explained["entries"]] == [CREDIT]


async def test_people_get_tables(stage: Stage, books: Books, program: Program) -> None:
    """Without --json the same commands print text that names what they found."""
    customer = await stage.customer(5 * CREDIT)
    reader = customer.name
    _, request_id = await ping(stage, customer)
    await books.expect(customer, 5 * CREDIT, PINGED)
    expected = {
        ("account", "list", "--limit", "500"): reader,
        ("account", "show", reader): customer.account_id,
        ("key", "list", reader): customer.key[-4:],
        ("balance", reader): "available  0.004 USD = 4.000000 credits",
        ("usage", reader): "llm",
        ("statement", reader): "closing balance",
        ("explain", request_id): "1 request x 1000000 = 1000000 nano-USD",
        ("audit", "--account", reader): "money.topup",
        ("reservations", "--account", reader): "held (USD)",
    }
    told = await asyncio.gather(*(program.tells(*args) for args in expected))
    for text, (args, said) in zip(told, expected.items(), strict=True):
        assert said in text, args


async def test_keys_and_accounts_end(stage: Stage, program: Program) -> None:
    """Rotation prints a new key once, revocation and suspension say what they ended."""
    customer = await stage.customer(5 * CREDIT)
    leaver = customer.name
    fresh = await program.gives("key", "rotate", customer.key_id, "--overlap", "1h")
    stage.keys.append(fresh["key"])
    assert list(fresh) == ["id", "key"]
    assert (await program.gives("key", "revoke", customer.key_id))["status"] == "revoked"
    listed = (await program.gives("key", "list", leaver))["rows"]
    assert [(row["id"], row["status"]) for row in listed] == [
        (customer.key_id, "revoked"),
        (fresh["id"], "active"),
    ]
    assert fresh["key"] not in str(listed)
    assert (await program.gives("account", "suspend", leaver))["status"] == "suspended"
    assert (await program.gives("account", "show", leaver))["status"] == "suspended"


async def test_commands_about_the_whole(stage: Stage, program: Program) -> None:
    """Migrations, the books, Envoy's configuration and the rules are judged beside the stack."""
    rules = str(stage.stack.settings.config_file.parent / stage.stack.config.ratelimit.directory)
    checked, migrated, rendered, validated, expired, linted, explained = await asyncio.gather(
        program.gives("ledger", "check"),
        program.gives("migrate"),
        program.gives("envoy", "render"),
        program.gives("envoy", "validate"),
        program.gives("reservations", "--expired"),
        program.gives("ratelimit", "lint", rules),
        program.gives("ratelimit", "explain", rules, "tollkeeper", "shadowed=x"),
    )
    assert (checked["ok"], len(checked["proofs"])) == (True, 8)
    assert migrated == {"applied": []}
    assert "static_resources" in rendered
    assert validated == {"ok": True, "complaints": []}
    assert expired.keys() == {"rows", "next_cursor"}
    assert [found for found in linted if found["severity"] == "error"] == []
    assert explained["verdict"] == "ok"


async def test_replay_of_the_stacks_own_log_changes_nothing(
    stage: Stage, books: Books, program: Program
) -> None:
    """The log file holds what was settled already: all of it is known, nothing is charged twice."""
    customer = await stage.customer(5 * CREDIT)
    await ping(stage, customer)
    await books.expect(customer, 5 * CREDIT, PINGED)
    found: dict[str, Any] = await program.gives(
        "replay", str(stage.stack.settings.envoy_access_log_file)
    )
    assert found["clean"] is True
    (file,) = found["files"]
    assert file["entries"] == file["tally"]["duplicates"]
    await books.expect(customer, 5 * CREDIT, PINGED)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ("account create", "one name"),
        ("account show nobody", "nobody"),
        ("account topup nobody --amount 1 --reference r", "nobody"),
        ("account topup nobody --amount 0.0000000001 --reference r", "0.0000000001"),
        (f"key revoke {NOBODY}", "no key"),
        ("key create nobody", "nobody"),
        ("subscription set nobody llm --plan pro", "nobody"),
        ("balance nobody", "nobody"),
        ("usage nobody --since tomorrow", "tomorrow"),
        ("statement nobody", "nobody"),
        (f"explain {NOBODY}", "no request"),
        ("serve authz --redis redis://h", "--redis"),
        ("acount list", "acount"),
    ],
)
async def test_a_failure_is_one_line(program: Program, args: str, why: str) -> None:
    """On stderr, with a non-zero exit code, and nothing on stdout."""
    assert why in await program.fails(*args.split(), *(["--json"] if "serve" not in args else []))


async def test_without_a_stack_the_failure_says_what_to_set(tmp_path: Path) -> None:
    """Where no stack runs and nothing is set, the variable is named."""
    bare = Program(
        {
            "TOLLKEEPER_HOME": str(tmp_path),
            "TOLLKEEPER_CONFIG_FILE": str(ROOT / "tollkeeper.yaml"),
        }
    )
    assert "TOLLKEEPER_POSTGRES_DSN" in await bare.fails("balance", "acme")
