"""One lease, as its holder keeps it: what is left, and what the hot copy has not been told."""

from __future__ import annotations

import msgspec

from billing.lease_calls import LeaseCall, Leased, Step
from billing.rate import US_PER_S, Rate, RateLeft
from billing.reservations import Admitted, Hold

LEAST_REQUESTS = 4
"""Wanted in stock, besides twice and a half of what is drawn between two calls."""

FIRST_PACE = 8
"""What is drawn between two calls, until it is known."""

MOST_DRAWS = 1_000
"""Told in one call: each is two values, of which Lua passes 8000."""


class Lease:
    """``hold`` is one that opened it, and says the amounts of one request. ``found_s`` is when the
    last call was sent that found the lease, ``until_s`` how long it may be drawn from (both on the
    clock of :class:`billing.leases.Leases`)."""

    __slots__ = (
        "_available_nanos",
        "_drawn",
        "_expires_s",
        "_full_us",
        "_judged_s",
        "_left",
        "_left_nanos",
        "_life_s",
        "_number",
        "_pace",
        "_suspended_s",
        "_turns",
        "_under_way",
        "account_id",
        "draws",
        "ended",
        "found_s",
        "hold",
        "lease_id",
        "step",
        "until_s",
    )

    def __init__(self, lease_id: str, hold: Hold, now_s: float) -> None:
        self.lease_id = lease_id
        self.account_id = hold.account_id
        self.hold = hold
        self.step = Step.OPEN
        self.until_s = 0.0
        self.found_s = 0.0
        self.draws: list[Hold] = []
        self.ended = False
        self._left_nanos = 0
        self._left = [0] * len(hold.budgets)
        self._turns = 0
        self._available_nanos = 0
        self._full_us = 0
        self._number = 0
        self._expires_s = hold.expires_s
        self._life_s: int | None = None
        self._suspended_s = 0.0
        self._judged_s = now_s
        self._drawn = 0
        self._pace = FIRST_PACE
        self._under_way: LeaseCall | None = None

    def draw(self, hold: Hold) -> Admitted | None:
        """Take what a request holds, or nothing; whoever asks knows that the lease stands."""
        left_nanos = self._left_nanos - hold.amount_nanos
        if left_nanos < 0:
            return None
        if self._left:
            # Holds of one pool have the same budgets in the same order.
            left = [have - budget[3] for have, budget in zip(self._left, hold.budgets, strict=True)]
            if min(left) < 0:
                return None
        else:
            left = []
        rate_left = None
        if hold.rate is not None:
            if self._turns <= 0:
                return None
            self._turns -= 1
            _, interval_us, burst, now_us = hold.rate
            full_after_us = max(interval_us, self._full_us - self._turns * interval_us - now_us)
            room = (burst * interval_us - full_after_us) // interval_us
            rate_left = RateLeft(max(0, room), full_after_us)
        self._left_nanos = left_nanos
        self._left = left
        self._drawn += 1
        self.draws.append(hold)
        self._expires_s = max(self._expires_s, hold.expires_s)
        return Admitted(self._available_nanos + left_nanos, rate=rate_left)

    def next_call(self, most_requests: int, now_us: int, sure_until_us: int) -> LeaseCall:
        """What to tell now; the same again, and nothing wanted, where nobody knows whether the last
        call was made."""
        unclear = self._under_way
        if unclear is not None:
            anew = Step.CLOSE if unclear.step is Step.OPEN else unclear.step
            self._under_way = msgspec.structs.replace(unclear, step=anew, wanted=0)
            return self._under_way
        draws, self.draws = self.draws[:MOST_DRAWS], self.draws[MOST_DRAWS:]
        step = Step.KEEP if self.draws else self.step
        self._pace = max(len(draws), self._pace * 3 // 4)
        hold = self.hold
        if hold.rate is not None:
            name, interval_us, burst, _ = hold.rate
            rate = Rate(name, interval_us, burst, now_us)
            hold = msgspec.structs.replace(hold, rate=rate)
        self._number += 1
        now_s = now_us // US_PER_S
        if self._life_s is None:
            self._life_s = max(0, hold.expires_s - now_s)
        # What is drawn until the next call, and perhaps never told of, lives as long from now on.
        self._expires_s = max(self._expires_s, now_s + self._life_s)
        self._under_way = LeaseCall(
            self.lease_id,
            self._number,
            step,
            0 if self.step is Step.CLOSE else self._wanted(most_requests),
            hold,
            self._expires_s,
            draws,
            self._turns,
            sure_until_us,
        )
        return self._under_way

    def _wanted(self, most_requests: int) -> int:
        """For how many requests more the lease has to be, to last until the call after the next."""
        hold = self.hold
        left = [
            have // budget.amount
            for have, budget in zip(self._left, hold.budgets, strict=True)
            if budget.amount
        ]
        if hold.amount_nanos:
            left.append(self._left_nanos // hold.amount_nanos)
        if hold.rate is not None:
            left.append(self._turns)
        stock = min(most_requests, LEAST_REQUESTS + 5 * self._pace // 2)
        return max(0, stock - min(left, default=0))

    def told(self) -> None:
        """The last call was answered."""
        self._under_way = None
        if self.step is Step.OPEN:
            self.step = Step.KEEP

    def grow(self, call: LeaseCall, answer: Leased) -> None:
        """Take what a call granted, and what the account has left besides."""
        granted = answer.granted
        if granted:
            hold = call.hold
            self._left_nanos += granted * hold.amount_nanos
            self._left = [
                have + granted * budget.amount
                for have, budget in zip(self._left, hold.budgets, strict=True)
            ]
            self._turns += granted
        self._full_us = answer.full_us or self._full_us
        self._available_nanos = answer.available_nanos

    def found(self, sent_s: float, sure_s: float, answer: Leased) -> None:
        """A call that was sent then has found it: it stands for a moment from then on, unless
        copies began to be built since, or the turns of its rate cannot be had for longer."""
        self.found_s = sent_s
        renewed = answer.full_us > 0 or self.hold.rate is None
        if self.step is not Step.CLOSE and sent_s > self._suspended_s and renewed:
            self.until_s = sent_s + sure_s

    def judge_use(self, now_s: float, over_s: float, keep_draws: int) -> None:
        """Close it when fewer than ``keep_draws`` were drawn in the last ``over_s``."""
        if now_s - self._judged_s < over_s:
            return
        if self._drawn < keep_draws:
            self.close()
        self._judged_s, self._drawn = now_s, 0

    def suspend(self, now_s: float) -> None:
        """Nothing may be drawn until a call that is sent after now has found it."""
        self._suspended_s = now_s
        self.until_s = self.found_s = 0.0

    def close(self) -> None:
        """Nothing is drawn any more; the next call gives back what is left."""
        self.step = Step.CLOSE
        self.until_s = 0.0

    @property
    def calls_again(self) -> bool:
        """Whether there is more to tell at once."""
        return not self.ended and (self.step is Step.CLOSE or len(self.draws) >= MOST_DRAWS)
