"""Accounts, keys, subscriptions and money orders over a real Postgres, through the operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta

import asyncpg
import pytest

from billing.accounts import Account, NewAccount, NewKey, Terms
from billing.errors import ConfigError, Conflict, InvalidInput, NotFound, StoreUnavailable
from billing.keys import hash_key, is_well_formed
from billing.ledger import PLATFORM
from billing.money import MAX_NANOS
from billing.pages import PageAsk
from billing.reports import Span
from billing.stores.postgres_access import open_pool
from billing.stores.postgres_audit import AuditEntry
from billing.stores.postgres_operators import NewOperator
from billing.stores.postgres_principals import PostgresPrincipals
from devstack import free_port
from tests.contract.desks import ANNA, START, Office, open_office
from tollkeeper.operations import accounts, keys, operators, orders, reports


@pytest.fixture
async def office(database: str) -> AsyncIterator[Office]:
    """A desk over the test's own database."""
    async with open_office(database) as opened:
        yield opened


async def test_account_begins_with_an_empty_balance(office: Office) -> None:
    """A new account is active, found by id and by name, and has nothing posted or held."""
    new = NewAccount("acme", "org", "gold", "0xabc", 5)
    async with office.desk.act(ANNA, "test") as act:
        created = await accounts.create_account(act, new)
    async with office.desk.view("test") as view:
        assert await accounts.show_account(view, "acme") == created
        assert await accounts.show_account(view, created.id) == created
        balance = await reports.balance(view, "acme")
    assert (created.status, created.type, created.tier) == ("active", "org", "gold")
    assert (balance.posted_nanos, balance.held_nanos, balance.available_nanos) == (0, 0, 5)


async def test_name_of_an_account_is_taken_once(office: Office) -> None:
    """The second account of a name is refused, and nothing of the attempt stays."""
    await office.account("acme")
    with pytest.raises(Conflict, match="acme"):
        await office.account("acme")
    async with office.desk.view("test") as view:
        page = await accounts.list_accounts(view, PageAsk())
    assert [account.name for account in page.rows] == ["acme"]


async def test_unknown_account_is_not_found(office: Office) -> None:
    """Neither an id nor a name of nobody is found, whatever SQL stands in it."""
    async with office.desk.view("test") as view:
        for nobody in ("nobody", "0198c0de-0000-7000-8000-000000000000", "' OR '1'='1"):
            with pytest.raises(NotFound):
                await accounts.show_account(view, nobody)


async def test_platform_has_no_orders(office: Office) -> None:
    """Nobody tops up or suspends the account that is the platform's own side of the books."""
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(InvalidInput, match="platform"):
            await orders.topup(act, PLATFORM, 1, "r")
        with pytest.raises(InvalidInput, match="platform"):
            await accounts.suspend_account(act, "platform")


async def test_accounts_come_in_pages(office: Office) -> None:
    """Pages of two show five accounts once each, in the order of their creation."""
    names = [f"account {number}" for number in range(5)]
    for name in names:
        await office.account(name)
    seen, cursor = [], None
    async with office.desk.view("test") as view:
        for _ in range(3):
            page = await accounts.list_accounts(view, PageAsk(2, cursor))
            seen += [account.name for account in page.rows]
            cursor = page.next_cursor
    assert (seen, cursor) == (names, None)


async def test_cursor_of_another_list_is_refused(office: Office) -> None:
    """A cursor that no page of this list ended with is bad input, not a fault."""
    async with office.desk.view("test") as view:
        for text in ("x", "!", "WzFd", "é", "a" * 601):
            with pytest.raises(InvalidInput, match="cursor"):
                await accounts.list_accounts(view, PageAsk(2, text))
        with pytest.raises(InvalidInput, match="rows"):
            PageAsk(1_000_000)


async def test_suspended_account_can_resume(office: Office) -> None:
    """Suspending and resuming change the status, each once in the audit log."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        assert (await accounts.suspend_account(act, account.id)).status == "suspended"
        assert (await accounts.suspend_account(act, account.id)).status == "suspended"
        assert (await accounts.resume_account(act, account.id)).status == "active"
    assert await _actions(office, account) == [
        "account.active",
        "account.suspended",
        "account.create",
    ]


async def test_key_is_told_once_and_stored_as_a_hash(office: Office, database: str) -> None:
    """The key answers at the front door; the database holds its hash and four characters of it."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        issued = await keys.create_key(act, account.id, NewKey("ci", ("chat",)))
    async with asyncpg.create_pool(database, min_size=1) as pool:
        store = PostgresPrincipals(pool, database, "test")
        found = await store.find([hash_key(issued.key)])
        dump = await pool.fetchval("SELECT array_agg(k.*)::text FROM api_keys AS k")
        audit = await pool.fetchval("SELECT array_agg(detail)::text FROM audit_log")
    principal = found[hash_key(issued.key)]
    assert is_well_formed(issued.key)
    assert (principal.account_id, principal.scopes) == (account.id, frozenset({"chat"}))
    assert issued.record.display == issued.key[-4:]
    assert issued.key not in dump + audit


async def test_rotated_key_works_during_the_overlap(office: Office) -> None:
    """The new key has name and scopes of the old one, which ends after the overlap."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        old = await keys.create_key(act, account.id, NewKey("ci", ("chat",)))
        new = await keys.rotate_key(act, account.id, old.id)
    async with office.desk.view("test") as view:
        page = await keys.list_keys(view, account.id, PageAsk())
    assert new.key != old.key
    assert new.old_key_ends_at == START + timedelta(hours=24)
    assert [(k.name, k.scopes, k.replaces, k.expires_at) for k in page.rows] == [
        ("ci", ("chat",), None, START + timedelta(hours=24)),
        ("ci", ("chat",), old.id, None),
    ]


async def test_rotation_never_lengthens_a_life(office: Office) -> None:
    """A key that would have ended within the overlap still ends when it would have."""
    account = await office.account()
    soon = START + timedelta(hours=1)
    async with office.desk.act(ANNA, "test") as act:
        old = await keys.create_key(act, account.id, NewKey(expires_at=soon))
        new = await keys.rotate_key(act, account.id, old.id, timedelta(hours=2))
        assert new.old_key_ends_at == soon
        with pytest.raises(InvalidInput, match="overlap"):
            await keys.rotate_key(act, account.id, new.id, timedelta(days=91))


async def test_ended_key_cannot_rotate(office: Office) -> None:
    """A revoked key and an expired one have no overlap to give."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        revoked = await keys.create_key(act, account.id, NewKey())
        expired = await keys.create_key(
            act, account.id, NewKey(expires_at=START + timedelta(hours=1))
        )
        await keys.revoke_key(act, account.id, revoked.id)
    office.clock.forward(timedelta(hours=1))
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(Conflict, match="revoked"):
            await keys.rotate_key(act, account.id, revoked.id)
        with pytest.raises(Conflict, match="expired"):
            await keys.rotate_key(act, account.id, expired.id)


async def test_revoking_twice_is_revoking_once(office: Office) -> None:
    """The second revocation keeps the time of the first and leaves no second audit entry."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        key = await keys.create_key(act, account.id, NewKey())
        first = await keys.revoke_key(act, account.id, key.id)
    office.clock.forward(timedelta(hours=1))
    async with office.desk.act(ANNA, "test") as act:
        assert await keys.revoke_key(act, account.id, key.id) == first
    assert first.revoked_at == START
    assert (await _actions(office, account)).count("key.revoke") == 1


async def test_key_of_another_account_is_not_found(office: Office) -> None:
    """A key can be named only together with its own account."""
    mine, other = await office.account("mine"), await office.account("other")
    async with office.desk.act(ANNA, "test") as act:
        key = await keys.create_key(act, other.id, NewKey())
        for attempt in (keys.revoke_key, keys.rotate_key):
            with pytest.raises(NotFound):
                await attempt(act, mine.id, key.id)
        with pytest.raises(NotFound):
            await keys.revoke_key(act, mine.id, "no id at all")


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (lambda: NewKey(scopes=("a b",)), "scope"),
        (lambda: NewKey(scopes=("a",) * 101), "scopes"),
        (lambda: NewKey("x" * 201), "name"),
        (lambda: NewKey("line\nbreak"), "control"),
        (lambda: NewKey(expires_at=datetime(2030, 1, 1)), "zone"),  # noqa: DTZ001 - that is it
        (lambda: NewAccount(""), "name"),
        (lambda: NewAccount("0198c0de-0000-7000-8000-000000000000"), "id"),
        (lambda: NewAccount("a", overdraft_nanos=-1), "overdraft"),
        (lambda: NewAccount("a", overdraft_nanos=MAX_NANOS + 1), "overdraft"),
        (lambda: Terms("pro", billing_day=32), "billing day"),
        (lambda: Terms("pro", units_limit=2**53), "units limit"),
        (lambda: Terms("pro", rps_override=0), "rps override"),
    ],
)
def test_input_that_can_never_succeed_is_refused(new: object, why: str) -> None:
    """Bounds are judged before anything is written."""
    assert callable(new)
    with pytest.raises(InvalidInput, match=why):
        new()


async def test_key_that_has_expired_is_never_made(office: Office) -> None:
    """An expiry in the past is bad input."""
    account = await office.account()
    async with office.desk.act(ANNA, "test") as act:
        with pytest.raises(InvalidInput, match="expired"):
            await keys.create_key(act, account.id, NewKey(expires_at=START))


async def test_operator_token_ends_with_its_revocation(office: Office) -> None:
    """A name can be given again after its token was revoked; tokens are never stored."""
    new = NewOperator("ben", "billing")
    async with office.desk.act(ANNA, "test") as act:
        issued = await operators.create_operator(act, new)
        with pytest.raises(Conflict, match="ben"):
            await operators.create_operator(act, new)
        revoked = await operators.revoke_operator(act, "ben")
        again = await operators.create_operator(act, new)
        rows = await act.connection.fetchval("SELECT array_agg(o.*)::text FROM operators AS o")
    async with office.desk.view("test") as view:
        page = await operators.list_operators(view, PageAsk())
    assert revoked.revoked_at == START
    assert [(o.id, o.revoked_at) for o in page.rows] == [(issued.id, START), (again.id, None)]
    assert issued.token not in rows


async def test_span_of_a_report_is_bounded() -> None:
    """An empty, a reversed and an endless span are bad input."""
    for since, until in (("2026-01-02", "2026-01-02"), ("1999-01-01", "2026-01-01")):
        with pytest.raises(InvalidInput, match="span"):
            Span(date.fromisoformat(since), date.fromisoformat(until))
    with pytest.raises(InvalidInput, match="days"):
        Span(date(2001, 1, 1), date(2026, 1, 1))


async def test_unmigrated_database_says_what_to_do(empty_database: str) -> None:
    """A missing table is a matter of configuration, told with the command that helps."""
    async with open_office(empty_database) as office:
        with pytest.raises(ConfigError, match="tollkeeper migrate"):
            await office.account()


async def test_absent_postgres_is_unavailable() -> None:
    """Nobody listening is a fault that says so, and no traceback."""
    with pytest.raises(StoreUnavailable, match="Postgres does not answer"):
        await open_pool(f"postgresql://nobody@127.0.0.1:{free_port()}/none", 1, 1.0)


async def _actions(office: Office, account: Account) -> list[str]:
    async with office.desk.view("test") as view:
        page = await operators.audit_log(view, account.id, PageAsk())
    entries: list[AuditEntry] = list(page.rows)
    assert {entry.actor for entry in entries} == {"anna"}
    return [entry.action for entry in entries]
