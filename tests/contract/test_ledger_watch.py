"""The ledger checked by itself, over a real Postgres and Redis, and what its metrics say."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from math import isnan

import pytest
from prometheus_client import CollectorRegistry

from billing.accounts import Account
from billing.stores.postgres_status import SQL, first_id_of
from billing.stores.postgres_truth import PostgresTruth
from billing.stores.postgres_verdicts import (
    KEPT,
    Verdict,
    keep_verdict,
    newest_verdicts,
    take_turn,
)
from billing.stores.redis_client import connect
from billing.stores.redis_hot import RedisHotStore
from devstack import free_port
from tests.contract.copy_pair import open_pair
from tests.contract.desks import ANNA, Office, open_office
from tests.contract.every_kind import every_kind
from tests.contract.ledger_damage import DAMAGE, Damage
from tests.contract.paid_work import PaidWork
from tollkeeper.books_watch import BooksMetrics, BooksWatch
from tollkeeper.ledger_check import CheckAsk, check_ledger
from tollkeeper.ledger_hot_check import Hot
from tollkeeper.ledger_verdict import verdict_of
from tollkeeper.ledger_watch import Ground, LedgerWatch, WatchLimits
from tollkeeper.operations import orders

LIMITS = WatchLimits(interval_s=300.0, whole_interval_s=86_400.0, deadline_s=30.0)
INTERVAL = timedelta(seconds=301)
FIRST_OF_EACH = list({damage.invariant: damage for damage in reversed(DAMAGE)}.values())


@dataclass
class Watched:
    """A ledger with a watch over it, and what Prometheus would read."""

    office: Office
    limits: WatchLimits = LIMITS
    hot: Hot | None = None

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.seconds = 0.0
        self.watch = self.another(self.registry)
        desk = self.office.desk
        metrics = BooksMetrics(self.registry)
        self.reader = BooksWatch(lambda: desk.view("books"), metrics, lambda: 0.0)

    def another(self, registry: CollectorRegistry) -> LedgerWatch:
        """A watch of another process over the same ledger."""
        return LedgerWatch(
            self._ground,
            self.limits,
            allowance_nanos=0,
            name="admin on a test",
            clock_s=lambda: self.seconds,
            registry=registry,
            sleep=_at_once,
        )

    async def look(self, *, after: timedelta = INTERVAL) -> float:
        """Let time pass, check what is due, and read the metrics."""
        self.office.clock.forward(after)
        self.seconds += after.total_seconds()
        wait_s = await self.watch.look()
        await self.reader.look()
        return wait_s

    def value(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(f"tollkeeper_{name}", labels)
        assert found is not None, name
        return found

    def broken(self, scope: str) -> set[int]:
        """The invariants that the newest check of that scope found broken."""
        found = {n: self.value("ledger_broken", invariant=str(n), scope=scope) for n in range(1, 9)}
        return {number for number, value in found.items() if value == 1}

    async def damage(self, sql: str) -> None:
        """Do what only a superuser can who switches triggers and foreign keys off."""
        async with self.office.desk.access.writing("damage") as connection:
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(sql)

    @asynccontextmanager
    async def _ground(self) -> AsyncIterator[Ground]:
        yield Ground(self.office.desk, self.hot)


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


@pytest.fixture
async def watched(database: str) -> AsyncIterator[Watched]:
    """An account after every kind of transfer, over a watch without Redis."""
    async with open_office(database, 6) as office:
        await office.sells("llm")
        account = await office.account(paid_nanos=5000)
        await office.subscribes(account)
        await every_kind(office, account)
        yield Watched(office)


async def test_first_look_checks_the_whole_and_later_ones_what_is_new(watched: Watched) -> None:
    """A verdict is kept of each; in between nothing is done, and the rest is waited for."""
    assert await watched.look() == LIMITS.interval_s
    assert await watched.look(after=timedelta(seconds=100)) == pytest.approx(200)
    (whole,) = await _verdicts(watched.office)
    assert (whole.whole, whole.since_batch, whole.text) == (True, 0, "ledger check: ok")
    await every_kind(watched.office, await _acme(watched.office), " again")
    assert await watched.look() == LIMITS.interval_s
    new = next(v for v in await _verdicts(watched.office) if not v.whole)
    assert (new.since_batch, new.checked_by) == (whole.through_batch, "admin on a test")
    assert new.through_batch > whole.through_batch


async def test_metrics_say_what_was_checked_and_when(watched: Watched) -> None:
    """Time, length, last batch and verdict of both kinds; what was not looked at is no number."""
    await watched.look()
    assert watched.value("ledger_checked_timestamp_seconds", scope="new") == 0
    at = watched.office.clock.now.timestamp()
    assert watched.value("ledger_checked_timestamp_seconds", scope="whole") == at
    last_batch = watched.value("ledger_last_batch")
    assert watched.value("ledger_checked_batch", scope="whole") == last_batch > 0
    assert watched.value("ledger_check_duration_seconds", scope="whole") == 0
    assert watched.broken("whole") == set()
    assert isnan(watched.value("ledger_broken", invariant="7", scope="whole"))


@pytest.mark.parametrize("damage", FIRST_OF_EACH, ids=lambda damage: str(damage.invariant))
async def test_damage_shows_as_its_invariant(watched: Watched, damage: Damage) -> None:
    """A changed row is seen by Prometheus, with the row in the verdict."""
    await watched.damage(damage.sql)
    await watched.look()
    assert damage.invariant in watched.broken("whole")
    assert damage.invariant in (await _verdicts(watched.office))[0].broken


async def test_changed_past_stays_shown_until_the_whole_is_in_order_again(watched: Watched) -> None:
    """What is new being well does not hide it; a check of the whole by hand after a repair does."""
    await watched.look()
    await watched.damage("UPDATE usage_events SET facts = facts || ' '")
    await every_kind(watched.office, await _acme(watched.office), " again")
    await watched.look()
    assert (watched.broken("new"), watched.broken("whole")) == (set(), set())
    await PaidWork(watched.office).expire()
    await watched.look(after=timedelta(days=1))
    await watched.look()
    assert (watched.broken("new"), watched.broken("whole")) == (set(), {8})
    await watched.damage("UPDATE usage_events SET facts = rtrim(facts)")
    await _check_by_hand(watched.office)
    await watched.look(after=timedelta(seconds=1))
    assert watched.broken("whole") == set()


async def test_present_damage_does_not_make_checks_longer(watched: Watched) -> None:
    """While a privilege is wrong the checks go on from batch to batch, and tell it each time."""
    await watched.damage("GRANT DELETE ON usage_events TO PUBLIC")
    await watched.look()
    await every_kind(watched.office, await _acme(watched.office), " again")
    await watched.look()
    whole = next(v for v in await _verdicts(watched.office) if v.whole)
    new = next(v for v in await _verdicts(watched.office) if not v.whole)
    assert new.since_batch == whole.through_batch
    assert watched.broken("new") == {4}


async def test_present_damage_is_over_when_the_newest_check_says_so(watched: Watched) -> None:
    """What a check of the whole found broken now does not stay shown until the next whole one."""
    await watched.damage("GRANT DELETE ON usage_events TO PUBLIC")
    await watched.look()
    assert watched.broken("whole") == {4}
    await watched.damage("REVOKE DELETE ON usage_events FROM PUBLIC")
    await watched.look()
    assert (watched.broken("new"), watched.broken("whole")) == (set(), set())


async def test_one_process_checks_at_a_time(watched: Watched) -> None:
    """Whoever has not the turn comes back soon, and finds that nothing is due."""
    async with watched.office.desk.access.writing("the other one") as connection:
        assert await take_turn(connection)
        assert await watched.look() == LIMITS.busy_s
        assert await _verdicts(watched.office) == []
    both = await asyncio.gather(watched.watch.look(), watched.another(CollectorRegistry()).look())
    assert LIMITS.interval_s in both
    count = await watched.office.pool.fetchval("SELECT count(*) FROM ledger_verdicts")
    assert count == 1


async def test_check_that_takes_too_long_is_stopped_and_counted(watched: Watched) -> None:
    """It keeps nothing; the whole waits a quarter of its interval, what is new is checked again."""
    await check_ledger(watched.office.desk, CheckAsk(), lambda *_: None)
    slow = Watched(watched.office, replace(LIMITS, deadline_s=0.0))
    assert await slow.look() == LIMITS.interval_s
    assert slow.value("ledger_check_failures_total", reason="deadline") == 1
    assert await _verdicts(watched.office) == []
    slow.watch._limits = LIMITS
    await slow.look()
    assert [v.whole for v in await _verdicts(watched.office)] == [False]
    await slow.look(after=timedelta(hours=6))
    assert {v.whole for v in await _verdicts(watched.office)} == {True, False}


async def test_absent_postgres_is_counted_and_asked_again(database: str) -> None:
    """The watch goes on; of what stands now nothing is shown, because nothing is known."""
    async with open_office(database) as office:
        watched = Watched(office)
        await watched.look()
        assert watched.value("reservations", state="pending") == 0
        await office.pool.close()
        assert await watched.look() == LIMITS.interval_s
        assert watched.value("ledger_check_failures_total", reason="unavailable") == 1
        assert watched.value("books_unread_total") == 1
        assert isnan(watched.value("reservations", state="pending"))


async def test_fault_of_the_check_itself_ends_nothing(watched: Watched) -> None:
    """A row that the check stumbles over is counted as a fault, and the watch lives."""
    await watched.look()
    await watched.damage("UPDATE ledger_checks SET totals = '[1]'")
    assert await watched.look() == LIMITS.interval_s
    assert watched.value("ledger_check_failures_total", reason="fault") == 1


async def test_lost_publication_shows_as_drift_of_redis(database: str, redis_url: str) -> None:
    """A balance that Redis was never told of is invariant 7; told, it is in order again."""
    client = connect(redis_url, 5.0)
    tokens = itertools.count()
    copies = RedisHotStore(client, lambda: f"token-{next(tokens)}", 5.0)
    async with open_pair(database, copies) as pair:
        watched = Watched(pair.office, hot=Hot(copies, pair.truth, pair.now_s, _at_once))
        async with pair.office.desk.act(ANNA, "test") as act:
            await orders.topup(act, pair.account.id, 5, "more")
        await watched.look(after=timedelta())
        assert watched.broken("whole") == {7}
        await pair.publish()
        await watched.look()
    await client.aclose()
    assert watched.broken("new") == set()
    assert watched.value("ledger_broken", invariant="7", scope="new") == 0


async def test_absent_redis_leaves_the_rest_of_the_verdict(watched: Watched) -> None:
    """Invariant 7 is no number then, the others are judged."""
    nobody = connect(f"redis://127.0.0.1:{free_port()}/0", 0.5)
    copies = RedisHotStore(nobody, lambda: "token", 0.5)
    truth = PostgresTruth(watched.office.pool)
    watched.hot = Hot(copies, truth, watched.office.clock.now.timestamp, required=False)
    await watched.look()
    await nobody.aclose()
    assert isnan(watched.value("ledger_broken", invariant="7", scope="whole"))
    assert watched.value("ledger_broken", invariant="8", scope="whole") == 0


async def test_old_verdicts_are_forgotten_but_the_newest_of_each_kind(watched: Watched) -> None:
    """A quarter later the only check of the whole is still known, older ones of what is new go."""
    await watched.look()
    for _ in range(3):
        await watched.look()
    (whole, new) = sorted(await _verdicts(watched.office), key=lambda v: not v.whole)
    late = replace(new, checked_at=new.checked_at + KEPT + timedelta(hours=1))
    async with watched.office.desk.access.writing("test") as connection:
        await keep_verdict(connection, late)
        left = await connection.fetchval("SELECT count(*) FROM ledger_verdicts")
    assert left == 2
    assert whole in await _verdicts(watched.office)


async def test_live_and_lost_reservations_are_counted(database: str) -> None:
    """Pending, overdue and expired ones, what they hold, and the age of the oldest."""
    async with open_office(database) as office:
        account = await office.account(paid_nanos=1000)
        work, watched = PaidWork(office), Watched(office)
        await work.admit(*(work.request(account, 0) for _ in range(3)))
        await work.expire()
        await work.admit(work.request(account, 0), work.request(account, 0))
        office.clock.forward(timedelta(minutes=30))
        await work.admit(work.request(account, 0))
        await watched.reader.look()
        states = ("pending", "overdue", "expired")
        shown = [watched.value("reservations", state=state) for state in states]
        assert shown == [1, 2, 3]
        assert watched.value("reservations_held_nano_usd") == 300
        assert watched.value("reservations_oldest_seconds") == 1800
        office.clock.forward(timedelta(days=1))
        await watched.reader.look()
        assert watched.value("reservations", state="expired") == 0


async def test_counting_reads_partial_indexes_alone(database: str) -> None:
    """Neither what is pending nor what was lost is looked for among all that ever was."""
    async with open_office(database) as office:
        account = await office.account(paid_nanos=10**9)
        work = PaidWork(office)
        await work.settle(*(work.request(account, 1) for _ in range(2000)))
        await office.pool.execute("ANALYZE reservations")
        plan = await office.pool.fetch(
            "EXPLAIN "
            + SQL["reservations"]
            .replace("$1", "now()")
            .replace("$2", "1000000")
            .replace("$3", f"'{first_id_of(office.clock.now)}'")
        )
    text = "\n".join(row[0] for row in plan)
    assert "reservations_pending" in text
    assert "reservations_expired" in text
    assert "Seq Scan" not in text


async def _verdicts(office: Office) -> list[Verdict]:
    async with office.desk.view("test") as view:
        return list(await newest_verdicts(view.connection))


async def _check_by_hand(office: Office) -> None:
    report = await check_ledger(office.desk, CheckAsk(whole=True), lambda *_: None)
    kept = verdict_of(report, checked_by="anna", took_s=1.0, checked_at=office.clock.now)
    async with office.desk.access.writing("test") as connection:
        await keep_verdict(connection, kept)


async def _acme(office: Office) -> Account:
    async with office.desk.view("test") as view:
        return await view.account("acme")
