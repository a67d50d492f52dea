"""The steps that the rules of the model of money are made of: the same is asked of an installation
and of the reference, and compared."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from hypothesis import currently_in_test_context, event
from hypothesis.stateful import RuleBasedStateMachine, initialize

from billing.lease_calls import LeaseCall, Leased, Step
from billing.ledger import SettledBatch
from billing.reservations import (
    Admitted,
    Hold,
    JournalRow,
    Publication,
    Short,
    Used,
    parse_record,
    publication_of,
)
from billing.stores.memory import MemoryLedgerStore
from billing.stores.memory_workers import MemoryOffice
from billing.stores.protocol import Absent
from billing.subscriptions import Subscription
from tests.model.money_sweep import sweep
from tests.model.money_values import (
    ACCOUNTS,
    OPENING,
    START_S,
    WEEK_S,
    Installation,
    Load,
    built_copy,
)
from tests.model.money_worker import LIMITS, Line, ModelWorker
from tests.model.reference_hot import ReferenceHot
from tests.model.reference_ledger import (
    DAY_S,
    PROFILE,
    Account,
    Outcome,
    ReferenceLedger,
)

T = TypeVar("T")
SKEWS_S = (0, -120)
"""How far the clocks of the workers are wrong."""
BEAT_S = 0.5
A_WHILE_S = 3.0
"""Long enough for every lease to lapse, and for a silent worker to count as dead."""
RIGHT_IS_SURE_S = 1.5
"""Within this time of the wall clock a right to load has surely not ended by itself."""


class MoneySteps(RuleBasedStateMachine):
    """Asks the installation and the reference the same, and compares.

    ``untold`` is, by lease, what was drawn of which the hot copy has not heard; ``lost`` was in the
    journals of workers that died; ``late`` are calls of leases that arrive at some time.
    ``orphans`` are leases that nobody holds any more, or that a late call opened.
    """

    def __init__(self, install: Callable[[], Awaitable[Installation]]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.real = self.run(_awaited(install()))
        self.books = ReferenceLedger(START_S - DAY_S, WEEK_S)
        self.hot = ReferenceHot()
        self.now_s = START_S
        self.clock_s = 1_000.0
        self.office = MemoryOffice(MemoryLedgerStore())
        self.numbers = itertools.count()
        self.workers = [self.seat(index) for index in range(len(SKEWS_S))]
        self.loads: list[Load] = []
        self.outbox: list[tuple[int, Sequence[Publication]]] = []
        self.running: list[str] = []
        self.untold: dict[str, list[str]] = {}
        self.lost: set[str] = set()
        self.orphans: set[str] = set()
        self.happened: Counter[str] = Counter()
        self.late: list[tuple[Line, int, Sequence[LeaseCall]]] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    @initialize()
    def open_accounts(self) -> None:
        """Every account has paid in a little and subscribes for a week at a time."""
        start_s = self.books.window(START_S)
        terms = Subscription(PROFILE, "pro", "active", None, None, None, start_s, start_s + WEEK_S)
        for name, overdraft in ACCOUNTS.items():
            self.run(self.real.ledger.open_account(name, overdraft))
            self.run(self.real.ledger.subscribe(name, terms, "week", 1))
            self.run(self.real.ledger.topup(name, OPENING, "opening"))
            self.books.accounts[name] = Account(overdraft)
            self.books.topup(name, OPENING, "opening")

    def happens(self, what: str) -> None:
        """For the statistics of hypothesis, and for whoever wants to see that it did."""
        self.happened[what] += 1
        if currently_in_test_context():
            event(what)

    # --- workers and time

    @property
    def now_us(self) -> int:
        return self.now_s * 1_000_000

    def seat(self, index: int) -> ModelWorker:
        """A new worker, with nothing in its memory."""
        skew_s = SKEWS_S[index]
        worker = ModelWorker(
            f"worker-{index}-{next(self.numbers):04d}",
            Line(self.real.workers[index], self.told),
            office=self.office,
            journal=self.real.ledger.journal,
            truth=self.real.ledger.truth,
            clock_s=lambda: self.clock_s,
            now_s=lambda: self.now_s + skew_s,
            limits=LIMITS[index],
        )
        self.run(worker.hear_epoch())
        worker.beat(self.clock_s)
        return worker

    def told(
        self, epoch: int, calls: Sequence[LeaseCall], answers: Sequence[Leased | None]
    ) -> None:
        """The hot copy was told of leases, by whom and why ever."""
        for call, answer in zip(calls, answers, strict=True):
            assert answer == self.hot.tend(epoch, call), call
            self.happens(f"lease: {call.step.name} {'is not there' if answer is None else 'done'}")
            untold = self.untold.get(call.lease_id, [])
            for draw in call.draws if answer is not None else ():
                if draw.reservation_id in untold:
                    untold.remove(draw.reservation_id)
            if answer is None or call.step is Step.CLOSE:
                self.untold.pop(call.lease_id, None)
            if answer is not None and answer.called_back:
                self.happens("lease: called back")

    def moment(self, seconds_s: float) -> None:
        """Time passes for leases and heartbeats."""
        while seconds_s > 0:
            self.clock_s += min(seconds_s, BEAT_S)
            seconds_s -= BEAT_S
            for worker in self.workers:
                worker.beat(self.clock_s)

    def pass_time(self, seconds_s: int) -> None:
        """Time passes for everybody."""
        self.now_s += seconds_s
        self.moment(min(seconds_s, A_WHILE_S))

    def tend(self, worker: ModelWorker) -> None:
        """A worker looks after its leases."""
        self.run(worker.leases.tend())
        self.late += [(worker.line, *call) for call in worker.line.late]
        worker.line.late.clear()

    # --- steps that rules are made of

    def draw(self, worker: ModelWorker, hold: Hold, row: JournalRow) -> bool:
        """Draw from a lease; the hot copy has to hold at least what is drawn and not told of, or
        whoever builds it anew has to hear of it in time."""
        if worker.draw(hold, row) is None:
            return False
        lease_id = worker.line.lease_ids[hold.pool]
        untold = self.untold.setdefault(lease_id, [])
        untold.append(hold.reservation_id)
        copy = self.hot.copies.get(hold.account_id)
        if copy is None:
            read = [load.token for load in self.loads if load.truth is not None]
            assert self.hot.loading.get(hold.account_id) not in read, "drawn behind a barrier"
            return True
        assert lease_id in copy.leases, "drawn from a lease that does not stand"
        records = [parse_record(self.books.reservations[ident].record) for ident in untold]
        lease = copy.leases[lease_id]
        assert sum(record.amount_nanos for record in records) <= lease.amount
        for place, share in enumerate(lease.shares):
            assert sum(record.shares[place].amount for record in records) <= share.amount
        return True

    def ask(self, worker: ModelWorker, hold: Hold) -> Admitted | Short | Load | None:
        """Ask for a hold; a ``Load`` is the right to build, ``None`` means to wait."""
        expected = self.hot.ask(worker.epoch, hold)
        (answer,) = self.run(worker.line.admit(worker.epoch, [hold]))
        if not isinstance(answer, Absent):
            assert answer == expected
            assert isinstance(answer, Admitted | Short)
            return answer
        assert answer.mine is expected
        if not answer.mine:
            return None
        load = Load(hold.account_id, worker, worker.epoch, answer.token, time.monotonic())
        self.hot.loading[hold.account_id] = answer.token
        self.loads.append(load)
        return load

    def ask_patiently(self, worker: ModelWorker, hold: Hold) -> Admitted | Short:
        """Ask until there is an answer: hear of the epoch, outlive other loaders, build, wait for
        leases to come back."""
        self.run(worker.hear_epoch())
        answer = self.ask(worker, hold)
        if answer is None:
            self.end_right_of(hold.account_id)
            answer = self.ask(worker, hold)
        if isinstance(answer, Load):
            self.read(answer)
            self.build(answer)
            answer = self.ask(worker, hold)
        if isinstance(answer, Short) and answer.leased:
            self.happens("asked: short of what is leased")
            self.run(worker.leases.give_back(hold.account_id))
            self.moment(0.15)
            for other in self.workers:
                self.tend(other)
            assert set(self.hot.copies[hold.account_id].leases) <= self.orphans
            answer = self.ask(worker, hold)
        assert isinstance(answer, Admitted | Short)
        return answer

    def read(self, load: Load) -> None:
        """Pass the barrier, for which every worker that counts as live draws no more and flushes
        its journal, then read one snapshot."""
        self.run(load.loader.flush_own(load.account))
        while any(w.cut and w.counts_as_live(self.clock_s) for w in self.workers):
            self.moment(0.1)
        for worker in self.workers:
            if worker is not load.loader and worker.counts_as_live(self.clock_s):
                self.run(worker.answer_barrier())
        self.note_journaled()
        dead = [w for w in self.workers if not w.counts_as_live(self.clock_s)]
        load.unheard = frozenset(row.reservation_id for w in dead for row in w.buffer)
        truths = self.run(self.real.ledger.truth.truth([load.account], self.now_s))
        load.truth = truths[load.account]

    def build(self, load: Load) -> None:
        """Build the copy from what was read; it has to work exactly if the right still stands."""
        self.loads.remove(load)
        assert load.truth is not None
        (built,) = self.run(self.workers[0].line.load(load.epoch, [(load.token, load.truth)]))
        stands = self.hot.loading.get(load.account) == load.token
        if built or time.monotonic() - load.since_s < RIGHT_IS_SURE_S:
            assert built is stands
        if stands:
            del self.hot.loading[load.account]
        if built:
            self.hot.copies[load.account] = built_copy(load.epoch, load.truth)
            self.forget_what_nobody_journaled(load, dict(load.truth.pending))

    def forget_what_nobody_journaled(self, load: Load, kept: Mapping[str, str]) -> None:
        """A copy has all that is live, but for what died with a worker, or with its line to
        Postgres: no admission from now on can know of that."""
        for one in self.books.reservations.values():
            live = one.admitted and one.state == "pending"
            if one.account == load.account and live and one.ident not in kept:
                assert one.ident in load.unheard | self.lost, "a copy without what is live"
                one.admitted = False

    def end_right_of(self, account: str) -> None:
        """Let the right to load an account end, as time would; its loader does not know."""
        if account in self.hot.loading:
            self.run(self.workers[0].line.drop([account]))
            del self.hot.loading[account]

    def flush_journal(self, worker: ModelWorker, times: int = 1) -> None:
        """Write what a worker has in its buffer."""
        if not worker.cut:
            self.run(worker.flush(times))
            self.note_journaled()

    def note_journaled(self) -> None:
        """The ledger knows what was written."""
        for worker in self.workers:
            for row in worker.take_written():
                self.books.reservations[row.reservation_id].known = True

    def committed(self, batch: SettledBatch, expected: Outcome) -> None:
        """A batch did what it had to, and says what to publish."""
        assert batch.charged_nanos == expected.charged
        said = {one.account_id: frozenset(one.ended) for one in batch.publications}
        assert said == expected.ended
        self.check_said(batch.publications)
        if said:
            self.outbox.append((batch.batch_id, batch.publications))

    def publish(self, publications: Sequence[Publication]) -> None:
        """Tell the hot copy."""
        self.run(self.workers[0].line.publish(publications))
        self.hot.publish(publications)

    def make_up_for_the_lost(self) -> None:
        """Tell everything that was promised and not told."""
        owed = self.run(self.real.ledger.truth.promises(0.0, 1000, self.now_s + 1))
        for publications in owed.values():
            self.check_said(publications)
            self.publish(publications)
        self.run(self.real.ledger.truth.kept(list(owed)))

    def retell(self, account: str) -> None:
        """Tell what Postgres says now of an account."""
        truths = self.run(self.real.ledger.truth.truth([account], self.now_s))
        self.publish([publication_of(truths[account])])

    def expire_overdue(self) -> None:
        """What is overdue ends."""
        expected = self.books.expire(self.now_s)
        done = self.run(self.real.ledger.store.expire(self.now_us, 1000))
        assert done.released == expected.released
        self.committed(done, expected)

    def sweep_up(self) -> int:
        """What nobody else would end is ended, after all that is overdue; returns how much."""
        self.expire_overdue()
        return self.run(sweep(self))

    def check_said(self, publications: Sequence[Publication]) -> None:
        """A publication that is made now says what stands now."""
        for said in publications:
            account = self.books.accounts[said.account_id]
            assert (said.posted_nanos, said.version) == (account.posted, account.version)
            self.check_used(said.account_id, said.used)

    def check_used(self, account: str, used: Sequence[Used]) -> None:
        """What is said to be used is the sum of what was."""
        for name, window_s, amount in used:
            assert amount == self.books.used[account, name, window_s], (account, name, window_s)


async def _awaited(call: Awaitable[T]) -> T:
    return await call
