"""The model of money without its rules: an installation beside the reference, compared."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from billing.ledger import GENESIS, SettledBatch, chain_hash
from billing.reservations import Admitted, Hold, Publication, Short, Used, publication_of
from billing.stores.protocol import Absent
from billing.subscriptions import Subscription
from tests.model.money_values import (
    ACCOUNTS,
    NAMES,
    OPENING,
    START_S,
    WEEK_S,
    Installation,
    Load,
    Worker,
    built_copy,
    unaged,
)
from tests.model.reference_hot import ReferenceHot
from tests.model.reference_ledger import (
    DAY_S,
    PROFILE,
    Account,
    Content,
    Outcome,
    ReferenceLedger,
)

T = TypeVar("T")
RIGHT_IS_SURE_S = 1.5
"""Within this time of the wall clock a right to load has surely not ended by itself."""


class MoneyBase(RuleBasedStateMachine):
    """Asks the installation and the reference the same, and compares."""

    def __init__(self, install: Callable[[], Awaitable[Installation]]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.real = self.run(_awaited(install()))
        skews_s = (0, -120)
        self.workers = [
            Worker(hot, skew_s) for hot, skew_s in zip(self.real.workers, skews_s, strict=True)
        ]
        self.books = ReferenceLedger(START_S - DAY_S, WEEK_S)
        self.hot = ReferenceHot()
        self.now_s = START_S
        self.epoch = 1
        self.loads: list[Load] = []
        self.outbox: list[tuple[int, Sequence[Publication]]] = []
        self.running: list[str] = []

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

    # --- steps that rules are made of

    def ask(self, worker: Worker, hold: Hold) -> Admitted | Short | Load | None:
        """Ask for a hold; a ``Load`` is the right to build, ``None`` means to wait."""
        expected = self.hot.ask(worker.epoch, hold)
        (answer,) = self.run(worker.hot.admit(worker.epoch, [hold]))
        if not isinstance(answer, Absent):
            assert answer == expected
            assert isinstance(answer, Admitted | Short)
            return answer
        assert answer.mine is expected
        if not answer.mine:
            return None
        load = Load(hold.account_id, worker.epoch, answer.token, time.monotonic())
        self.hot.loading[hold.account_id] = answer.token
        self.loads.append(load)
        return load

    def ask_patiently(self, worker: Worker, hold: Hold) -> Admitted | Short:
        """Ask until there is an answer: hear of the epoch, outlive other loaders, build."""
        worker.epoch = self.epoch
        answer = self.ask(worker, hold)
        if answer is None:
            self.end_right_of(hold.account_id)
            answer = self.ask(worker, hold)
        if isinstance(answer, Load):
            self.read(answer)
            self.build(answer)
            answer = self.ask(worker, hold)
        assert isinstance(answer, Admitted | Short)
        return answer

    def read(self, load: Load) -> None:
        """Pass the barrier (every worker's journal is flushed), then read one snapshot."""
        for worker in self.workers:
            self.flush_journal(worker)
        truths = self.run(self.real.ledger.truth.truth([load.account], self.now_s))
        load.truth = truths[load.account]

    def build(self, load: Load) -> None:
        """Build the copy from what was read; it has to work exactly if the right still stands."""
        self.loads.remove(load)
        assert load.truth is not None
        (built,) = self.run(self.workers[0].hot.load(load.epoch, [(load.token, load.truth)]))
        stands = self.hot.loading.get(load.account) == load.token
        if built or time.monotonic() - load.since_s < RIGHT_IS_SURE_S:
            assert built is stands
        if stands:
            del self.hot.loading[load.account]
        if built:
            self.hot.copies[load.account] = built_copy(load.epoch, load.truth)

    def end_right_of(self, account: str) -> None:
        """Let the right to load an account end, as time would; its loader does not know."""
        if account in self.hot.loading:
            self.run(self.workers[0].hot.drop([account]))
            del self.hot.loading[account]

    def flush_journal(self, worker: Worker, times: int = 1) -> None:
        """Write what a worker has in its buffer."""
        rows, worker.buffer = worker.buffer, []
        for _ in range(times):
            self.run(self.real.ledger.journal.record(rows))
        for row in rows:
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
        self.run(self.workers[0].hot.publish(publications))
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

    # --- what holds after every step

    @invariant()
    def nothing_is_admitted_past_the_balance(self) -> None:
        """All that is admitted and not ended is covered, but for what nobody could foresee."""
        for name, account in self.books.accounts.items():
            covered = account.posted + account.overdraft + account.unforeseen
            assert self.books.live(name) <= covered, (name, account)

    @invariant()
    def the_ledger_is_what_it_has_to_be(self) -> None:
        """Balances, versions, usage, pending reservations and states agree with plain sums."""
        truths = self.run(self.real.ledger.truth.truth(list(self.books.accounts), self.now_s))
        for name, account in self.books.accounts.items():
            truth = truths[name]
            assert (truth.posted_nanos, truth.version) == (account.posted, account.version)
            assert dict(truth.pending) == self.books.pending(name)
            self.check_used(name, truth.used)
            said = {(used.name, used.window_s) for used in map(Used._make, truth.used)}
            assert said >= self.books.counted(name, self.now_s)
        states = {one.ident: one.state for one in self.books.reservations.values() if one.known}
        assert self.run(self.real.ledger.states()) == states

    @invariant()
    def the_hot_copies_are_what_they_have_to_be(self) -> None:
        """Each copy has the balance, the usage and the reservations that it was told of."""
        found = self.run(self.workers[0].hot.read(NAMES))
        assert set(found) == set(self.hot.copies)
        for name, copy in self.hot.copies.items():
            real = found[name]
            assert (real.posted_nanos, real.overdraft_nanos) == (copy.posted, copy.overdraft)
            assert real.version == copy.version
            assert {one[0]: (one[1], one[2]) for one in real.used} == copy.used
            assert unaged(dict(real.pending)) == unaged(copy.live)

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

    # --- quiet

    def teardown(self) -> None:
        """Unless a step failed: quiet, and then nothing may be held, lost or counted twice."""
        try:
            if sys.exc_info()[0] is None and self.books.accounts:
                self.quiesce()
        finally:
            self.run(self.real.close())
            self.runner.close()

    def quiesce(self) -> None:
        """Everything is journaled, expired and told: the hot copy equals the ledger."""
        for worker in self.workers:
            worker.epoch = self.epoch
            self.flush_journal(worker)
        self.now_s += 10 * WEEK_S
        expected = self.books.expire(self.now_s)
        self.committed(self.run(self.real.ledger.store.expire(self.now_us, 1000)), expected)
        self.make_up_for_the_lost()
        for name in NAMES:
            self.retell(name)
            self._build_where_absent(name)
        truths = self.run(self.real.ledger.truth.truth(NAMES, self.now_s))
        found = self.run(self.workers[0].hot.read(NAMES))
        for name, truth in truths.items():
            copy, posted = found[name], self.books.accounts[name].posted
            assert list(truth.pending) == list(copy.pending) == []
            assert copy.posted_nanos == truth.posted_nanos == posted
            assert copy.version == truth.version
        self._check_money()
        self._check_chain()

    @property
    def now_us(self) -> int:
        return self.now_s * 1_000_000

    def _build_where_absent(self, name: str) -> None:
        """The whole balance can be had again, through a copy that is there or built now."""
        account, worker = self.books.accounts[name], self.workers[0]
        amount = max(0, account.posted + account.overdraft)
        hold = Hold("0198c0de-0000-7000-8000-ffffffffffff", name, amount, self.now_s)
        answer = self.ask_patiently(worker, hold)
        assert answer == Admitted(min(0, account.posted + account.overdraft))
        self.publish([Publication(name, 0, 0, 0, ended=(hold.reservation_id,))])

    def _check_money(self) -> None:
        """Every nano has come from a top-up, and each reservation moved money of a kind once."""
        transfers = self.run(self.real.ledger.transfers())
        moved = [(transfer.source_id, transfer.kind) for transfer in transfers]
        assert len(set(moved)) == len(moved)
        for name, account in self.books.accounts.items():
            own = [transfer for transfer in transfers if transfer.account_id == name]
            credited = sum(t.amount_nanos for t in own if t.credit_code == "credits")
            debited = sum(t.amount_nanos for t in own if t.debit_code == "credits")
            assert credited - debited == account.posted
        settled = [one for one in self.books.reservations.values() if one.content is not None]
        assert {
            one.ident: ("late" if one.state == "late" else "billed", one.content)
            for one in settled
            if one.content is not None and one.content.billed
        } == {
            e.reservation_id: (
                e.status,
                Content(True, e.price_nanos, e.units, e.provider_cost_nanos),
            )
            for e in self.run(self.real.ledger.events())
        }

    def _check_chain(self) -> None:
        chain = self.run(self.real.ledger.chain())
        assert len(chain) == self.books.batches
        previous = GENESIS
        for link in chain:
            assert (link.previous_hash, link.hash) == (previous, chain_hash(previous, link.lines))
            previous = link.hash


async def _awaited(call: Awaitable[T]) -> T:
    return await call
