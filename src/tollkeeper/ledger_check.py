"""``tollkeeper ledger check``: proves the eight invariants of the contract, or names a broken row.

Everything in Postgres is read in one snapshot, so traffic does not disturb the check. It goes on
from the last batch that was found in order, or begins at the first when asked for the whole. What
breaks an invariant does not stop the check: each invariant has its own verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from billing.stores import postgres_check as store
from billing.stores.postgres_access import Connection
from billing.stores.postgres_check import FULL_SPEED, Broken, Checked, Pace, Totals
from tollkeeper.ledger_chain_check import ChainWalk, chain_proofs, walk_chain
from tollkeeper.ledger_hot_check import Hot, prove_hot
from tollkeeper.ledger_report import LedgerReport, Progress, Proof
from tollkeeper.operations.desk import Desk, View

GRACE = timedelta(seconds=60)
"""How long after its lifetime a reservation may wait to be expired: twelve rounds of the sink."""

NOT_BROKEN = ("", "")


@dataclass(frozen=True, slots=True)
class CheckAsk:
    """How to check. ``whole`` begins at the first batch.

    ``allowance_nanos`` is what the workers together may have admitted of one account while Redis
    was away (the setting, times the workers). ``hot`` is the hot copy, if there is one to compare.
    ``pace`` is for a check that nobody waits for. ``most_replayed`` bounds how many usage events
    of the accounts that were touched are read again from their first one on; their transfers are
    about twice as many. ``None`` reads them all, as a check of the whole does in any case.
    """

    whole: bool = False
    allowance_nanos: int = 0
    grace: timedelta = GRACE
    hot: Hot | None = None
    pace: Pace = FULL_SPEED
    most_replayed: int | None = None


async def check_ledger(desk: Desk, ask: CheckAsk, progress: Progress) -> LedgerReport:
    """Prove the invariants; when no batch breaks one, the next check goes on from here."""
    async with desk.view("ledger check") as view:
        connection = view.connection
        since = store.NOTHING_CHECKED if ask.whole else await store.last_check(connection)
        end = await store.chain_end(connection)
        walk = await walk_chain(connection, since, end, ask.pace, progress)
        shapes, chained = chain_proofs(walk)
        proofs = (
            shapes,
            await _prove_replay(connection, since, walk.summed(), ask.most_replayed, progress),
            await _prove_causes(connection, since, walk, progress),
            await _prove_unchangeable(connection, progress),
            await _prove_ends(view, since, ask.grace, progress),
            await _prove_cover(connection, ask.allowance_nanos, progress),
            await prove_hot(connection, ask.hot, ask.pace, progress),
            chained,
        )
    report = LedgerReport(since.batch_id, walk.batch_id, proofs)
    if report.batches_in_order and walk.batch_id > since.batch_id:
        await _keep(desk, walk, whole=ask.whole)
    return report


async def _keep(desk: Desk, walk: ChainWalk, *, whole: bool) -> None:
    async with desk.access.writing("ledger check") as connection:
        checked = Checked(walk.batch_id, walk.hash, walk.summed())
        await store.keep_check(connection, checked, desk.now(), whole=whole)


async def _prove_replay(
    connection: Connection,
    since: Checked,
    moved: Totals,
    most_replayed: int | None,
    progress: Progress,
) -> Proof:
    """Invariant 2. The totals of all accounts also find a balance that no new batch touched."""
    progress("balances and usage", 0, 0)
    found, accounts = await store.ledger_totals(connection)
    balances = {code: sums for code, sums in found.items() if any(sums)}
    checked = f"{accounts} ledger accounts"
    if since.batch_id and most_replayed is not None:
        if balances != moved:
            return Proof(2, checked, "ledger accounts", _differing_totals(balances, moved))
        chosen, touched = await store.replayable_accounts(connection, since.batch_id, most_replayed)
        broken = await _first_in_replay(connection, since.batch_id, since.batch_id, chosen)
        return Proof(2, f"{checked}, {len(chosen)} of {touched} that moved replayed", *broken)
    first = since.batch_id if balances == moved else 0  # 0: every account, to name the one
    return Proof(2, checked, *await _first_in_replay(connection, first, since.batch_id, None))


async def _first_in_replay(
    connection: Connection, balances: int, usage: int, chosen: Sequence[UUID] | None
) -> Broken | tuple[str, str]:
    """Balances and usage of what these batches touched, or of the chosen accounts alone."""
    return await _first(
        connection,
        ("balance", balances, chosen),
        ("daily", usage, chosen),
        ("period", usage, chosen),
    )


def _differing_totals(balances: Totals, moved: Totals) -> str:
    """Which account it is takes a replay of all: a person asks for that."""
    code = min(c for c in {*balances, *moved} if balances.get(c) != moved.get(c))
    have, sums = balances.get(code, (0, 0)), moved.get(code, (0, 0))
    return (
        f"of {code} have debits and credits {have[0]} and {have[1]}, the transfers sum to "
        f"{sums[0]} and {sums[1]}; `tollkeeper ledger check` names the account"
    )


async def _prove_causes(
    connection: Connection, since: Checked, walk: ChainWalk, progress: Progress
) -> Proof:
    """Invariant 3."""
    progress("settlements and orders", 0, 0)
    broken = await _first(
        connection,
        ("uniqueness",),
        ("settled_twice", since.batch_id),
        ("event_money", since.batch_id),
        ("cause", since.batch_id),
        ("order",),
    )
    conflicts = await store.count_conflicts(connection)
    told = f"{conflicts} entries came again with another content (tollkeeper quarantine)"
    looked_at = f"{walk.transfers} transfers, {walk.lines - walk.transfers} usage events"
    return Proof(3, looked_at, broken[0], broken[1], (told,) if conflicts else ())


async def _prove_unchangeable(connection: Connection, progress: Progress) -> Proof:
    """Invariant 4."""
    progress("triggers and privileges", 0, 0)
    row, how = await _first(connection, ("trigger",), ("privilege",))
    return Proof(4, "8 triggers, 4 tables", row, how, of_now=True)


async def _prove_ends(view: View, since: Checked, grace: timedelta, progress: Progress) -> Proof:
    """Invariant 5. Counting every state takes a look at every reservation: only for the whole."""
    progress("reservations", 0, 0)
    statements: list[tuple[Any, ...]] = [("end_of_event", since.batch_id)]
    checked = ""
    if since.batch_id == 0:
        statements.append(("end",))
        states = await store.count_states(view.connection)
        parts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        checked = f"{sum(states.values())} admitted = {parts or 'none'}"
    broken = await _first(view.connection, *statements)
    if broken != NOT_BROKEN:
        return Proof(5, checked, *broken)
    row, how = await _first(view.connection, ("overdue", view.now - grace))
    return Proof(5, checked, row, how, of_now=True)


async def _prove_cover(connection: Connection, allowance_nanos: int, progress: Progress) -> Proof:
    """Invariant 6, as of now. A balance may sink after an admission; that is told, not broken."""
    progress("cover of reservations", 0, 0)
    uncovered = await store.uncovered_accounts(connection)
    for account in uncovered:
        if account.excess_nanos > account.explained_nanos + allowance_nanos:
            return Proof(
                6,
                f"{len(uncovered)} accounts beyond their balance",
                f"account {account.account_id}",
                f"holds {account.held_nanos} of posted {account.posted_nanos} and overdraft "
                f"{account.overdraft_nanos}; {account.explained_nanos} came afterwards",
                of_now=True,
            )
    notices = tuple(
        f"account {account.account_id} holds {account.excess_nanos} nano-USD more than it has, "
        "by what was charged after the admissions"
        for account in uncovered[:10]
    )
    return Proof(6, f"{len(uncovered)} accounts beyond their balance", notices=notices)


async def _first(connection: Connection, *statements: Sequence[Any]) -> Broken | tuple[str, str]:
    """What the first of the statements that finds anything finds."""
    for name, *args in statements:
        broken = await store.first_broken(connection, name, *args)
        if broken is not None:
            return broken
    return NOT_BROKEN
