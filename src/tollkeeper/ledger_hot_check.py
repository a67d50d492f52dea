"""Invariant 7: the hot copy says what Postgres says, for every account that it has a copy of.

Traffic moves both while they are compared. So a difference counts only if the very same one is seen
again and again: what is under way between the two goes by, what is lost stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from billing.errors import StoreUnavailable
from billing.reservations import Truth, parse_record
from billing.stores.postgres_access import Connection
from billing.stores.postgres_check import Pace, account_ids
from billing.stores.protocol import HotStore, TruthStore
from tollkeeper.ledger_report import Progress, Proof

ACCOUNTS_AT_ONCE = 500
LOOKS = 8
PAUSE_S = 0.5
"""Eight looks half a second apart: settlement and the journal take well under a second."""

FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Hot(NamedTuple):
    """Both sides of the comparison, the clock of periods, and how to wait between two looks.

    Where it is not ``required``, a Redis that is away leaves the invariant out instead of ending
    the check: whoever looks again soon has the rest of the verdict meanwhile.
    """

    copies: HotStore
    truth: TruthStore
    now_s: Callable[[], float]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    required: bool = True


async def prove_hot(
    connection: Connection, hot: Hot | None, pace: Pace, progress: Progress
) -> Proof:
    """Compare every copy in bounded pieces; the first lasting difference breaks the invariant."""
    if hot is None:
        return Proof(7, skipped="no Redis was given (set TOLLKEEPER_REDIS_URL)")
    try:
        return await _compare(connection, hot, pace, progress)
    except StoreUnavailable as fault:
        if hot.required:
            raise
        return Proof(7, skipped=str(fault))


async def _compare(connection: Connection, hot: Hot, pace: Pace, progress: Progress) -> Proof:
    present, after = 0, FIRST_ID
    while ids := await account_ids(connection, after, ACCOUNTS_AT_ONCE):
        copies = await hot.copies.read(ids)
        present += len(copies)
        lasting = await _lasting(hot, list(copies))
        for account_id, differences in lasting.items():
            return Proof(
                7, f"{present} copies", f"account {account_id}", min(differences), of_now=True
            )
        after = ids[-1]
        progress("copies", present, 0)
        await pace.breath()
    return Proof(7, f"{present} copies")


async def _lasting(hot: Hot, ids: Sequence[str]) -> Mapping[str, set[str]]:
    """The differences that are the same at every look, by account."""
    differing: dict[str, set[str]] = {}
    for look in range(LOOKS):
        seen = await _look(hot, ids)
        differing = {
            account: found if look == 0 else found & differing[account]
            for account, found in seen.items()
        }
        differing = {account: found for account, found in differing.items() if found}
        ids = list(differing)
        if not ids:
            return {}
        await hot.pause(PAUSE_S)
    return differing


async def _look(hot: Hot, ids: Sequence[str]) -> Mapping[str, set[str]]:
    """Redis first: what Postgres says is then never older."""
    copies = await hot.copies.read(ids)
    truths = await hot.truth.truth(list(copies), hot.now_s())
    return {
        account: set(differences(copy, truths.get(account))) for account, copy in copies.items()
    }


def differences(copy: Truth, truth: Truth | None) -> Iterator[str]:
    """How a copy differs from what Postgres says, each as a sentence with its numbers."""
    if truth is None:
        yield "Redis has a copy of an account that Postgres does not have"
        return
    for name in ("posted_nanos", "overdraft_nanos", "version"):
        in_redis, in_postgres = getattr(copy, name), getattr(truth, name)
        if in_redis != in_postgres:
            yield f"{name} is {in_redis} in Redis and {in_postgres} in Postgres"
    covered = _covered(copy, truth)
    yield from _differing_holds(dict(copy.pending), dict(truth.pending), covered)
    yield from _differing_use(copy, truth)


def _covered(copy: Truth, truth: Truth) -> bool:
    """Whether leases hold at least what pending reservations do that the copy does not have: those
    that their worker has not told of yet, or died before it could."""
    known = {ident for ident, _ in copy.pending}
    missing = [record for ident, record in truth.pending if ident not in known]
    held, needed = _sums([record for _, record in copy.leases]), _sums(missing)
    return bool(copy.leases) and all(held[what] >= amount for what, amount in needed.items())


def _sums(records: Iterable[str]) -> Counter[tuple[str, int]]:
    """Credits and shares, added up; credits have neither a name nor a window."""
    sums: Counter[tuple[str, int]] = Counter()
    for record in map(parse_record, records):
        sums["", 0] += record.amount_nanos
        for share in record.shares:
            sums[share.name, share.window_s] += share.amount
    return sums


def _differing_holds(
    copy: Mapping[str, str], truth: Mapping[str, str], covered: bool
) -> Iterator[str]:
    for ident in sorted(copy.keys() - truth.keys()):
        yield f"reservation {ident} lives in Redis and is not pending in Postgres"
    for ident in sorted(truth.keys() - copy.keys()) if not covered else ():
        yield f"reservation {ident} is pending in Postgres and not held in Redis"
    for ident in sorted(copy.keys() & truth.keys()):
        held, pending = parse_record(copy[ident]), parse_record(truth[ident])
        if (held.amount_nanos, held.shares) != (pending.amount_nanos, pending.shares):
            yield f"reservation {ident} holds {copy[ident]} in Redis and {truth[ident]} in Postgres"


def _differing_use(copy: Truth, truth: Truth) -> Iterator[str]:
    """Budgets of the same window; a copy has only those that were asked for."""
    known = {(used.name, used.window_s): used.used for used in truth.used}
    for used in copy.used:
        in_postgres = known.get((used.name, used.window_s))
        if in_postgres is not None and in_postgres != used.used:
            yield f"used of {used.name} is {used.used} in Redis and {in_postgres} in Postgres"
