"""The model of money: requests, and the leases that they are admitted from."""

from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from billing.lease_calls import Step
from billing.reservations import Admitted, Short
from tests.model.money_base import MoneyBase
from tests.model.money_steps import A_WHILE_S
from tests.model.money_values import LIFETIME_S, NAMES, Ask, journal_row, settlement
from tests.model.money_worker import Loss, ModelWorker
from tests.model.reference_ledger import Content

T = TypeVar("T")
picks = st.integers(0, 10**6)
"""Stands for one of however many there are."""
accounts = st.sampled_from(NAMES)
workers = st.integers(0, 1)
losses = st.sampled_from(["", "", "", "", "call", "late call", "reply", "reply"])
shares = st.frozensets(st.sampled_from(["units", "day", "flight"]))


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """Requests that a balance of some hundred covers now and then."""
    return Ask(
        account=draw(accounts),
        amount=draw(st.sampled_from([0, 1, 4, 30, 60, 100])),
        beyond=draw(st.sampled_from([None] * 6 + [0, 1])),
        more=draw(st.sampled_from([0, 40])),
        shares=draw(shares),
        charging=draw(st.booleans()),
        reply_lost=draw(st.sampled_from([False] * 7 + [True])),
    )


@st.composite
def small_asks(draw: st.DrawFn) -> Ask:
    """Requests of which a balance covers many: those that are leased for."""
    amount = draw(st.sampled_from([0, 1, 1, 2, 6]))
    return Ask(draw(accounts), amount, None, 0, draw(shares), charging=False, reply_lost=False)


class LeaseRules(MoneyBase):
    """Each rule is one thing that happens."""

    def reserve_one(self, asker: ModelWorker, asked: Ask, *, patient: bool) -> bool:
        """One request, from a lease if there is one; returns whether it was drawn.

        One whose reply is lost never runs; it is journaled all the same, and ends soon.
        """
        clock_s = int(asker.now_s())
        copy = self.hot.copies.get(asked.account)
        if asked.beyond is not None and copy is not None:
            asked = replace(asked, amount=max(0, copy.available + asked.beyond))
        ident = f"0198c0de-0000-7000-8000-{len(self.books.reservations):012x}"
        hold = asked.hold(ident, clock_s, self.books.window(clock_s))
        one = asked.reservation(hold, clock_s, admitted=False)
        self.books.reservations[ident] = one
        drawn = one.admitted = self.draw(asker, hold, journal_row(one))
        if drawn:
            self.happens("drawn from a lease")
        else:
            build = patient and not asker.cut
            answer = self.ask_patiently(asker, hold) if build else self.ask(asker, hold)
            kind = answer.budget if isinstance(answer, Short) else type(answer).__name__
            self.happens(f"asked: {kind}")
            one.admitted = isinstance(answer, Admitted)
            if one.admitted:
                asker.leases.note(hold)
            if one.admitted or asked.reply_lost:
                asker.add(journal_row(one))
            else:
                del self.books.reservations[ident]
        if one.admitted and not asked.reply_lost:
            self.running.append(ident)
        return drawn

    def tend_once(self, worker: ModelWorker, wait_s: float, loses: Loss) -> None:
        """A moment later a worker looks after its leases; a call, or its reply, may be lost."""
        self.moment(wait_s)
        calls = worker.line.calls
        worker.line.loses = loses
        self.tend(worker)
        worker.line.loses = ""
        if loses and worker.line.calls > calls:
            self.happens(f"lease: lost {loses}")

    def lease_out(self, worker: ModelWorker, asked: Ask, opening: Loss = "") -> None:
        """An account that asks often is leased a share, and some of it is drawn and not told of;
        what is drawn may cost less than what opened the lease. Some time before nothing was closed
        or refused, so that asks count."""
        self.tend_once(worker, 0.5, "")
        for _ in range(3):
            self.reserve_one(worker, asked, patient=True)
        self.tend_once(worker, 0.06, opening)
        for amount in (asked.amount, 0, asked.amount):
            self.reserve_one(worker, replace(asked, amount=amount), patient=True)

    @rule(worker=workers, asked=small_asks(), opening=losses, loses=losses)
    def ask_often(self, worker: int, asked: Ask, opening: Loss, loses: Loss) -> None:
        """A lease is opened, drawn from and told of; any call may be lost, or its reply."""
        asker = self.workers[worker]
        self.lease_out(asker, asked, opening)
        self.tend_once(asker, 0.15, loses)
        self.reserve_one(asker, asked, patient=True)
        self.tend_once(asker, 0.15, "")
        self.reserve_one(asker, asked, patient=True)

    @rule(worker=workers, wait_s=st.sampled_from([0.0, 0.06, 0.15, 0.3]), loses=losses)
    def tend_leases(self, worker: int, wait_s: float, loses: Loss) -> None:
        """A worker looks after its leases; what it says, or the answer, may be lost."""
        self.tend_once(self.workers[worker], wait_s, loses)

    @rule(lessee=workers, asker=workers, asked=small_asks(), beyond=st.sampled_from([0, 0, 1]))
    def ask_for_what_is_leased(self, lessee: int, asker: int, asked: Ask, beyond: int) -> None:
        """A request needs all that there is, leased or not: who holds leases gives them back."""
        self.lease_out(self.workers[lessee], asked)
        copy = self.hot.copies.get(asked.account)
        if copy is not None:
            leased = sum(lease.amount for lease in copy.leases.values())
            whole = replace(asked, amount=max(1, copy.available + leased + beyond))
            self.reserve_one(self.workers[asker], replace(whole, shares=frozenset()), patient=True)

    @precondition(lambda self: self.late)
    @rule(pick=picks)
    def arrive_late(self, pick: int) -> None:
        """A call arrives that its worker has given up, and perhaps made again since."""
        item = pick_of(self.late, pick)
        self.late.remove(item)
        line, epoch, calls = item
        self.orphans |= {call.lease_id for call in calls if call.step is Step.OPEN}
        self.happens("lease: a late call arrives")
        self.run(line.deliver(epoch, calls))

    @rule(
        worker=workers, asked=small_asks(), price=st.sampled_from([0, 1, 30]), again=st.booleans()
    )
    def end_early(self, worker: int, asked: Ask, price: int, again: bool) -> None:
        """Requests end, and the hot copy hears of that before it hears that there were any."""
        self.lease_out(self.workers[worker], asked)
        untold = [ident for idents in self.untold.values() for ident in idents]
        known = self.books.reservations
        early = [i for i in untold if i in self.running and known[i].content is None]
        for ident in early[1:]:
            content = Content(True, price, 1, None)
            expected = self.books.settle({ident: content}, self.now_s)
            said = settlement(known[ident], content)
            self.committed(self.run(self.real.ledger.store.settle([said], self.now_us)), expected)
            self.happens("lease: ended before it was told of")
            for _ in range(1 + again):
                self.publish(self.outbox[-1][1])

    @rule(
        lessee=workers,
        builder=workers,
        asked=small_asks(),
        cut_moments=st.sampled_from([0, 8, 16]),
        heard_again=st.booleans(),
    )
    def build_behind_a_lease(
        self, lessee: int, builder: int, asked: Ask, cut_moments: int, heard_again: bool
    ) -> None:
        """A copy is lost and built while a worker has a lease of it, and perhaps cannot be heard of
        by anybody; it would draw from that lease."""
        worker = self.workers[lessee]
        self.lease_out(worker, asked)
        worker.cut = cut_moments > 0
        for _ in range(max(1, cut_moments)):
            self.tend_once(worker, 0.11, "")
        self.run(self.workers[0].line.drop([asked.account]))
        self.hot.drop(asked.account)
        if cut_moments:
            builder = 1 - lessee
        if not self.workers[builder].cut:
            self.reserve_one(self.workers[builder], replace(asked, amount=300), patient=True)
        worker.cut = worker.cut and not heard_again
        self.moment(0.01)
        drawn = self.reserve_one(worker, asked, patient=False)
        self.happens(f"copy built behind a lease: {'drawn' if drawn else 'asked'}")

    @rule(worker=workers, wait_s=st.sampled_from([0.0, 0.3, A_WHILE_S]))
    def cut_off(self, worker: int, wait_s: float) -> None:
        """A worker reaches Postgres no more, or again."""
        self.workers[worker].cut = not self.workers[worker].cut
        self.moment(wait_s)

    @rule(worker=workers, asked=small_asks(), leased=st.booleans(), journaled=st.booleans())
    def die(self, worker: int, asked: Ask, leased: bool, journaled: bool) -> None:
        """A worker dies with its leases and its journal's buffer; another takes its place."""
        dead = self.workers[worker]
        if leased:
            self.lease_out(dead, asked)
        if journaled:
            self.flush_journal(dead)
        self.orphans |= dead.line.opened
        self.lost |= {row.reservation_id for row in dead.buffer}
        self.loads = [load for load in self.loads if load.loader is not dead]
        if any(self.untold.values()):
            self.happens("a worker dies with draws that nobody was told of")
        self.workers[worker] = self.seat(worker)

    @rule(wait_s=st.sampled_from([0, LIFETIME_S // 2, LIFETIME_S + 31]))
    def sweep_strays(self, wait_s: int) -> None:
        """What is past its life in the hot copy ends, leases of the dead among it."""
        self.pass_time(wait_s)
        self.happens(f"swept: {'something' if self.sweep_up() else 'nothing'}")

    @rule()
    def rest(self) -> None:
        """Time passes for the hot copy: rights to load end, and call-backs are over."""
        self.run(self.real.rest())
        self.hot.rest()


def pick_of(items: list[T], pick: int) -> T:
    """One of them."""
    return items[pick % len(items)]
