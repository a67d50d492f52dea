"""The model of money without its rules: what holds after every step, and when all is quiet."""

import sys

from hypothesis.stateful import invariant

from billing.ledger import GENESIS, chain_hash
from billing.reservations import Admitted, Hold, Publication, Used
from tests.model.money_steps import BEAT_S, MoneySteps
from tests.model.money_values import FLIGHT_LIMIT, NAMES, WEEK_S, unaged
from tests.model.reference_ledger import Content


class MoneyBase(MoneySteps):
    """Compares the installation with the reference, and lets it come to rest."""

    # --- what holds after every step

    @invariant()
    def nothing_is_admitted_past_the_balance(self) -> None:
        """All that is admitted and not ended is covered, but for what nobody could foresee."""
        for name, account in self.books.accounts.items():
            covered = account.posted + account.overdraft + account.unforeseen
            assert self.books.live(name) <= covered, (name, account)
            assert self.books.in_flight(name) <= FLIGHT_LIMIT, name

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
        found = self.run(self.workers[0].line.read(NAMES))
        assert set(found) == set(self.hot.copies)
        for name, copy in self.hot.copies.items():
            real = found[name]
            assert (real.posted_nanos, real.overdraft_nanos) == (copy.posted, copy.overdraft)
            assert real.version == copy.version
            assert {one[0]: (one[1], one[2]) for one in real.used} == copy.used
            assert unaged(dict(real.pending)) == unaged(copy.live)
            leases = {ident: (one.amount, one.shares) for ident, one in copy.leases.items()}
            assert unaged(dict(real.leases)) == leases

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
            worker.cut, worker.line.loses = False, ""
            self.moment(BEAT_S)
            self.run(worker.hear_epoch())
            self.flush_journal(worker)
            self.run(worker.leases.give_back())
        self.now_s += 10 * WEEK_S
        self.sweep_up()
        self.expire_overdue()
        self.make_up_for_the_lost()
        for name in NAMES:
            self.retell(name)
            self._build_where_absent(name)
        truths = self.run(self.real.ledger.truth.truth(NAMES, self.now_s))
        found = self.run(self.workers[0].line.read(NAMES))
        for name, truth in truths.items():
            copy, posted = found[name], self.books.accounts[name].posted
            assert list(truth.pending) == list(copy.pending) == list(copy.leases) == []
            assert copy.posted_nanos == truth.posted_nanos == posted
            assert copy.version == truth.version
        self._check_money()
        self._check_chain()

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
