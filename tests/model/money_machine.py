"""The model of money: what may happen, in any order.

Requests of two workers whose clocks and epochs differ, lost replies, journals that lag, entries
that come doubled, contradicting or after their reservation expired, top-ups, publications that come
late, twice or never, copies that are flushed, dropped, outdated and rebuilt meanwhile.
"""

from collections.abc import Awaitable, Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from billing.errors import Conflict
from billing.reservations import Admitted, Hold, publication_of
from billing.stores.protocol import Epoch
from tests.model.lease_rules import LeaseRules, accounts, asks, pick_of, picks, workers
from tests.model.money_values import LIFETIME_S, WEEK_S, Ask, Installation, settlement
from tests.model.reference_hot import ReferenceHot
from tests.model.reference_ledger import DAY_S, Content

prices = st.sampled_from([0, 1, 30, 60, 100, 140])
contents = st.one_of(
    st.builds(Content, st.just(True), prices, st.integers(0, 9), st.sampled_from([None, 0, 20])),
    st.just(Content(False, 0, 0, None)),
)


class MoneyMachine(LeaseRules):
    """Each rule is one thing that happens."""

    # --- money comes in

    @rule(account=accounts, amount=st.sampled_from([100, 100, 250]), reference=st.integers(0, 12))
    def topup(self, account: str, amount: int, reference: int) -> None:
        """Pay in; the same reference again pays nothing, and with another amount is refused."""
        expected = self.books.topup(account, amount, str(reference))
        try:
            posted = self.run(self.real.ledger.topup(account, amount, str(reference)))
        except Conflict:
            assert expected == "conflict"
        else:
            assert expected == ("posted" if posted else "repeated")

    @rule(account=accounts)
    def send_the_balance(self, account: str) -> None:
        """What Postgres says now is on its way to the hot copy, as after a top-up."""
        truths = self.run(self.real.ledger.truth.truth([account], self.now_s))
        self.outbox.append((0, [publication_of(truths[account])]))

    # --- requests come

    @rule(
        worker=workers,
        asked=st.lists(asks(), min_size=1, max_size=6),
        patient=st.sampled_from([True, True, True, False]),
    )
    def reserve(self, worker: int, asked: list[Ask], patient: bool) -> None:
        """Requests of one worker. Who is patient waits for, or builds, a copy that is absent."""
        asker = self.workers[worker]
        for one in asked:
            self.reserve_one(asker, one, patient=patient)

    @precondition(lambda self: self.running)
    @rule(pick=picks, worker=workers)
    def ask_again(self, pick: int, worker: int) -> None:
        """A retry of what is still held is admitted, and held once."""
        one = self.books.reservations[pick_of(self.running, pick)]
        copy = self.hot.copies.get(one.account)
        asker = self.workers[worker]
        if copy is not None and copy.epoch == asker.epoch and one.ident in copy.live:
            again = Hold(one.ident, one.account, one.amount, one.expires_s)
            assert self.ask(asker, again) == Admitted(copy.available)

    @rule(worker=workers, times=st.integers(1, 2))
    def journal(self, worker: int, times: int) -> None:
        """A worker's buffer reaches Postgres, perhaps twice."""
        self.flush_journal(self.workers[worker], times)

    # --- copies are lost and built

    @rule(whole=st.booleans(), account=accounts)
    def lose_copies(self, whole: bool, account: str) -> None:
        """Redis is flushed, or one account is evicted from it."""
        if whole:
            self.run(self.real.flush())
            self.hot = ReferenceHot()
        else:
            self.run(self.workers[0].line.drop([account]))
            self.hot.drop(account)

    @rule(heard_by_all=st.booleans())
    def raise_epoch(self, heard_by_all: bool) -> None:
        """All copies are void; the second worker may hear of it later."""
        self.office.epoch = Epoch(self.office.epoch.number + 1, "")
        for worker in self.workers if heard_by_all else self.workers[:1]:
            self.run(worker.hear_epoch())

    @precondition(lambda self: self.loads)
    @rule(pick=picks)
    def read_truth(self, pick: int) -> None:
        """A loader reads, and is slow to load."""
        load = pick_of(self.loads, pick)
        if not load.loader.cut:
            self.read(load)

    @precondition(lambda self: any(load.truth for load in self.loads))
    @rule(pick=picks)
    def finish_load(self, pick: int) -> None:
        """A loader comes to build what it read a while ago."""
        self.build(pick_of([load for load in self.loads if load.truth], pick))

    @precondition(lambda self: self.hot.loading)
    @rule(pick=picks)
    def end_right(self, pick: int) -> None:
        """A loader takes too long and loses its right; it does not know that."""
        self.end_right_of(pick_of(sorted(self.hot.loading), pick))

    # --- requests end

    @precondition(lambda self: self.running)
    @rule(
        entries=st.lists(
            st.tuples(picks, contents, st.sampled_from(["first", "first", "alike", "any"])),
            min_size=1,
            max_size=4,
        )
    )
    def settle(self, entries: list[tuple[int, Content, str]]) -> None:
        """A batch of entries: first ones, and some that come again, alike or contradicting."""
        batch: dict[str, Content] = {}
        known = self.books.reservations
        for pick, content, kind in entries:
            fresh = [ident for ident in self.running if known[ident].content is None]
            ident = pick_of(fresh if fresh and kind == "first" else self.running, pick)
            before = known[ident].content
            batch[ident] = before if before is not None and kind == "alike" else content
        settlements = [settlement(known[ident], said) for ident, said in batch.items()]
        expected = self.books.settle(batch, self.now_s)
        done = self.run(self.real.ledger.store.settle(settlements, self.now_us))
        counts = (done.settled, done.released, done.late, done.duplicates)
        assert counts == (expected.settled, expected.released, expected.late, expected.duplicates)
        assert frozenset(done.conflicts) == expected.conflicts
        for name in ("settled", "released", "late", "duplicates", "conflicts"):
            if getattr(expected, name):
                self.happens(f"entries: {name}")
        self.committed(done, expected)

    @rule(wait_s=st.sampled_from([30, LIFETIME_S // 2, DAY_S, WEEK_S]))
    def wait(self, wait_s: int) -> None:
        """Time passes; days and periods turn while reservations are live."""
        self.pass_time(wait_s)

    @rule(wait_s=st.sampled_from([0, LIFETIME_S]))
    def expire(self, wait_s: int) -> None:
        """What is overdue ends."""
        self.pass_time(wait_s)
        self.expire_overdue()

    @precondition(lambda self: self.running)
    @rule(pick=picks, more_s=st.sampled_from([-60, 60, 2 * LIFETIME_S]), untold=st.booleans())
    def extend(self, pick: int, more_s: int, untold: bool) -> None:
        """A periodic entry of a long stream moves the end of life, never back."""
        drawn = [i for idents in self.untold.values() for i in idents if i in self.running]
        ident = pick_of(drawn if drawn and untold else self.running, pick)
        one = self.books.reservations[ident]
        life = (one.account, one.ident, one.expires_s + more_s)
        self.run(self.real.ledger.store.extend([life]))
        self.run(self.workers[0].line.extend([life]))
        if one.known and one.state == "pending":
            one.expires_s = max(one.expires_s, life[2])

    # --- the hot copy is told

    @precondition(lambda self: self.outbox)
    @rule(pick=picks, again=st.booleans())
    def tell(self, pick: int, again: bool) -> None:
        """Any publication arrives, early or late, and perhaps once more."""
        batch_id, publications = item = pick_of(self.outbox, pick)
        self.publish(publications)
        if not again:
            self.outbox.remove(item)
            self.run(self.real.ledger.truth.kept([batch_id]))

    @precondition(lambda self: self.outbox)
    @rule(pick=picks)
    def forget_to_tell(self, pick: int) -> None:
        """A settler dies between its COMMIT and telling the hot copy."""
        self.outbox.remove(pick_of(self.outbox, pick))

    @rule()
    def make_up(self) -> None:
        """Another settler finds what was promised and never told."""
        self.make_up_for_the_lost()


def check_money(install: Callable[[], Awaitable[Installation]], how: settings) -> None:
    """Run the model over installations that ``install`` makes, one for each example.

    A failure prints the steps that led to it, cut down to the fewest.
    """

    class Model(MoneyMachine):
        def __init__(self) -> None:
            super().__init__(install)

    run_state_machine_as_test(Model, settings=settings(how, deadline=None, database=None))
