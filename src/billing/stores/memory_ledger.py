"""The truth about money in memory: what Postgres is asked to do, in plain integers.

Serves unit tests and the model. Each method runs to its end without giving way to another task, so
it is one transaction; what cannot be written is found before anything is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import NAMESPACE_OID, uuid5

from billing.errors import Conflict, InvalidInput, NotFound, StoreUnavailable
from billing.ledger import SettledBatch, Settlement, Transfer, make_transfer
from billing.money import MAX_NANOS
from billing.plans import Period
from billing.reservations import TRANSITIONS, JournalRow, Publication, Truth, publication_of
from billing.stores.memory_books import Books, Subscribed
from billing.stores.memory_register import Key, Register, Reservation, key_of
from billing.stores.protocol import QuarantineRow
from billing.stores.settlement_rows import SettledRow, conflict_text, event_line, make_transfers
from billing.subscriptions import Subscription


@dataclass(frozen=True, slots=True)
class _Promise:
    """A committed batch that the hot copy has not been told of: accounts and what ended."""

    committed_s: float
    ended: Mapping[str, tuple[str, ...]]


class MemoryLedgerStore:
    """Ledger, truth and journal of one process (:mod:`billing.stores.protocol`).

    ``charges_on_expiry`` says for which routes a reservation whose log entry never came is charged
    its quote instead of released. While ``away`` is set every call raises ``StoreUnavailable``.
    """

    def __init__(self, charges_on_expiry: Callable[[str], bool] = lambda _route: False) -> None:
        self._charges_on_expiry = charges_on_expiry
        self._promises: dict[int, _Promise] = {}
        self._paid: dict[tuple[str, str], int] = {}
        self.books = Books()
        self.register = Register()
        self.events: dict[Key, SettledRow] = {}
        self.quarantined: dict[tuple[str, bytes], QuarantineRow] = {}
        self.away = False

    def open_account(self, account_id: str, overdraft_nanos: int = 0) -> None:
        """Make an account without credits; ``Conflict`` when it exists."""
        if account_id in self.books.overdrafts:
            raise Conflict(f"account {account_id} exists")
        self.books.open(account_id, overdraft_nanos)

    def subscribe(
        self,
        account_id: str,
        subscription: Subscription,
        period: Period = "month",
        billing_day: int = 1,
    ) -> None:
        """Begin to count the usage of a profile in the subscription's periods."""
        subscribed = Subscribed(subscription, period, billing_day)
        self.books.subscribed[account_id, subscription.profile] = subscribed

    async def topup(self, account_id: str, amount_nanos: int, reference: str, now_us: int) -> bool:
        """Post prepaid money once per reference; False when it was posted before.

        Raises ``Conflict`` for the same reference with another amount, ``NotFound`` for an unknown
        account, ``InvalidInput`` for an amount that is not above zero and within bounds.
        """
        self._reach()
        if not 0 < amount_nanos <= MAX_NANOS:
            raise InvalidInput(f"{amount_nanos} nano-USD cannot be paid in")
        if account_id not in self.books.overdrafts:
            raise NotFound(f"no account {account_id}")
        paid = self._paid.get((account_id, reference))
        if paid is not None and paid != amount_nanos:
            raise Conflict(f"reference {reference!r} was used for {paid} nano-USD")
        if paid is None:
            source_id = str(uuid5(NAMESPACE_OID, f"{account_id} {reference}"))
            transfer = make_transfer(account_id, source_id, "topup", amount_nanos, now_us)
            self.books.append("topup", {account_id}, [transfer])
            self._paid[account_id, reference] = amount_nanos
        return paid is None

    async def record(self, rows: Sequence[JournalRow]) -> None:
        """Write reservations as pending; those already known, or ended, stay as they are."""
        self._reach()
        for row in rows:
            self.register.record(row)

    async def settle(self, settlements: Sequence[Settlement], now_us: int) -> SettledBatch:
        """End reservations and post their transfers; see :meth:`LedgerStore.settle`.

        A batch that names an unknown account, or leaves the range of a balance, is
        ``InvalidInput``, and nothing of it is written.
        """
        self._reach()
        assert len({s.reservation_id for s in settlements}) == len(settlements), "ids are distinct"
        rows = [row for s in settlements if (row := self.register.ending(s)) is not None]
        transfers = make_transfers(rows, self._expiry_charges(rows), now_us)
        self.books.check({row.settlement.account_id for row in rows}, transfers)
        conflicts = self._conflicts(settlements, rows)
        batch_id, publications = self._commit(rows, transfers, now_us)
        states = [row.state for row in rows]
        return SettledBatch(
            batch_id=batch_id,
            settled=states.count("settled"),
            released=states.count("released"),
            late=states.count("late"),
            duplicates=len(settlements) - len(rows) - len(conflicts),
            conflicts=conflicts,
            charged_nanos=sum(t.amount_nanos for t in transfers if t.kind == "charge"),
            publications=publications,
        )

    async def expire(self, now_us: int, at_most: int) -> SettledBatch:
        """End the longest overdue; those ended are counted as released, charged or not."""
        self._reach()
        overdue = self.register.overdue(now_us, at_most)
        if not overdue:
            return SettledBatch(0, 0, 0, 0, 0, (), 0, ())
        transfers = self._charges_of_the_overdue(overdue, now_us)
        accounts = {reservation.row.account_id for reservation in overdue}
        batch_id = self.books.append("expiry", accounts, transfers)
        for reservation in overdue:
            reservation.state = TRANSITIONS[reservation.state, "lifetime_over"]
        publications = self._publish(batch_id, [r.key for r in overdue], now_us)
        charged_nanos = sum(transfer.amount_nanos for transfer in transfers)
        return SettledBatch(batch_id, 0, len(overdue), 0, 0, (), charged_nanos, publications)

    async def extend(self, lives: Sequence[tuple[str, str, int]]) -> None:
        """Move the end of life of pending reservations, never back."""
        self._reach()
        for account_id, reservation_id, expires_s in lives:
            self.register.extend((account_id, reservation_id), expires_s)

    async def quarantine(self, rows: Sequence[QuarantineRow]) -> None:
        """Keep entries that cannot be settled, each content once per reason."""
        self._reach()
        self._keep_aside(rows)

    async def truth(self, account_ids: Sequence[str], now_s: float) -> Mapping[str, Truth]:
        """Accounts as they are now, pending reservations included; unknown ones are left out."""
        self._reach()
        known = [account_id for account_id in account_ids if account_id in self.books.overdrafts]
        return {account_id: self._truth(account_id, now_s) for account_id in known}

    async def promises(
        self, older_than_s: float, at_most: int, now_s: float
    ) -> Mapping[int, Sequence[Publication]]:
        """Batches that were committed and never told of; see :meth:`TruthStore.promises`."""
        self._reach()
        due = [
            (batch_id, promise.ended)
            for batch_id, promise in sorted(self._promises.items())
            if promise.committed_s < now_s - older_than_s
        ]
        return {
            batch_id: [self._publication(key, now_s, ended[key]) for key in ended]
            for batch_id, ended in due[:at_most]
        }

    async def kept(self, batch_ids: Sequence[int]) -> None:
        """The hot copy was told of these batches."""
        self._reach()
        for batch_id in batch_ids:
            self._promises.pop(batch_id, None)

    def _conflicts(
        self, settlements: Sequence[Settlement], rows: Sequence[SettledRow]
    ) -> tuple[str, ...]:
        """Put aside those that had ended before and come again with another content."""
        fresh = {row.settlement.reservation_id for row in rows}
        again = [s for s in settlements if s.reservation_id not in fresh]
        differing = [s for s in again if not self.register.has_same_content(s)]
        self._keep_aside(
            QuarantineRow(s.account_id, s.reservation_id, "conflict", conflict_text(s))
            for s in differing
        )
        return tuple(s.reservation_id for s in differing)

    def _expiry_charges(self, rows: Sequence[SettledRow]) -> Mapping[str, int]:
        late = {row.settlement.reservation_id for row in rows if row.state == "late"}
        return {
            transfer.source_id: transfer.amount_nanos
            for transfer in self.books.transfers
            if transfer.kind == "expiry" and transfer.source_id in late
        }

    def _charges_of_the_overdue(
        self, overdue: Sequence[Reservation], now_us: int
    ) -> list[Transfer]:
        return [
            make_transfer(row.account_id, row.reservation_id, "expiry", row.quoted_nanos, now_us)
            for row in (reservation.row for reservation in overdue)
            if row.quoted_nanos > 0 and self._charges_on_expiry(row.route)
        ]

    def _commit(
        self, rows: Sequence[SettledRow], transfers: Sequence[Transfer], now_us: int
    ) -> tuple[int, tuple[Publication, ...]]:
        if not rows:
            return 0, ()
        events = {key_of(row.settlement): row for row in rows if row.settlement.billed}
        lines = [event_line(row, now_us) for row in events.values()]
        ended = [key_of(row.settlement) for row in rows]
        batch_id = self.books.append("settlement", {key[0] for key in ended}, transfers, lines)
        for row in rows:
            self.register.end(row)
        self.books.count(list(events.values()), now_us // 1_000_000)
        self.events |= events
        return batch_id, self._publish(batch_id, ended, now_us)

    def _publish(self, batch_id: int, ended: Sequence[Key], now_us: int) -> tuple[Publication, ...]:
        """What to tell the hot copy, promised until it is known to have been told."""
        by_account: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for account_id, reservation_id in ended:
            by_account[account_id] += (reservation_id,)
        now_s = now_us / 1_000_000
        self._promises[batch_id] = _Promise(now_s, by_account)
        return tuple(self._publication(key, now_s, by_account[key]) for key in by_account)

    def _publication(self, account_id: str, now_s: float, ended: tuple[str, ...]) -> Publication:
        return publication_of(self._truth(account_id, now_s), ended)

    def _truth(self, account_id: str, now_s: float) -> Truth:
        balance = self.books.credits(account_id)
        return Truth(
            account_id,
            balance.posted_nanos,
            self.books.overdrafts[account_id],
            balance.version,
            self.books.used(account_id, now_s),
            self.register.pending(account_id),
        )

    def _keep_aside(self, rows: Iterable[QuarantineRow]) -> None:
        for row in rows:
            self.quarantined.setdefault((row.reason, row.digest()), row)

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("the ledger does not answer")
