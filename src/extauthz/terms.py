"""What one key may do on one route: worked out once, used by every request until something changes.

Terms depend on the principal, the catalog and the current period, and on nothing of the request. A
request adds its quote; the budgets of its hold follow from both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from billing.catalog import Catalog, HoldPolicy, Route
from billing.meters.values import Quote
from billing.money import format_credits
from billing.plans import Limits
from billing.rate import RATE_KIND, US_PER_S, Rate, interval_us
from billing.refusals import Refusal, refuse
from billing.reservations import MAX_COUNTED, Budget, Hold, write_shares
from billing.shares import DAY, FLIGHT, PERIOD, UNITS, UsualShares
from billing.subscriptions import Principal, Subscription, judge_subscription
from extauthz.period import DAY_S, current_period, day_start_s

MAX_REQUEST_NANOS = MAX_COUNTED
"""The most that any request may cost, whatever the plan: what a counted budget can hold."""

TOO_EXPENSIVE = "request_too_expensive"
NEVER_S = 2**53
"""The end of terms that no period ends."""


class Budgets(NamedTuple):
    """The budgets of an amount, so many units and a day; ``shares`` as the record writes them,
    ``usual`` as the ticket does; ``pool`` says which holds may come from one lease."""

    asked: tuple[int, int, int]
    budgets: tuple[Budget, ...]
    shares: str
    usual: UsualShares
    pool: str


@dataclass(slots=True, eq=False)
class Terms:
    """The terms of one key on one route.

    They hold for one edition of the catalog, up to ``period_end_s``; of the limits, ``None`` bounds
    nothing. ``inline_interval_us`` is above 0 where the rate is limited together with the hold.
    ``answer`` is for the response: what it says to every request under these terms,
    written once. ``last`` are the budgets of the last request: the next one is often like it.
    """

    edition: int
    route: Route
    account_id: str
    key_id: str
    plan: str = ""
    requests_per_second: int | None = None
    burst: int | None = None
    inline_interval_us: int = 0
    units_limit: int | None = None
    period_spend_limit_nanos: int | None = None
    day_spend_limit_nanos: int | None = None
    flight_limit: int | None = None
    request_limit_nanos: int = MAX_REQUEST_NANOS
    period_start_s: int = 0
    period_end_s: int = NEVER_S
    answer: bytes = field(default=b"", repr=False)
    last: Budgets | None = field(default=None, repr=False)

    def too_expensive(self, quote: Quote) -> Refusal | None:
        """Refuse a request that could cost more than one request may."""
        if quote.max_nanos > self.request_limit_nanos:
            limit, needed = self.request_limit_nanos, quote.max_nanos
            reason = (
                f"it may cost {format_credits(needed)} credits; at most {format_credits(limit)}"
                " are allowed for one request"
            )
            return refuse(TOO_EXPENSIVE, reason, needed_nanos=needed, limit_nanos=limit)
        if quote.max_units > MAX_COUNTED:
            return refuse(TOO_EXPENSIVE, "it may use more units than can be counted")
        return None

    def hold(self, reservation_id: str, quote: Quote, now_s: float) -> Hold:
        """What to hold for a request: the credits and its share of each budget that is bounded."""
        amount_nanos, units = _held_of(quote, self.route.hold)
        asked = (amount_nanos, units, day_start_s(now_s))
        last = self.last
        if last is None or last.asked != asked:
            budgets = self._budgets(*asked)
            shares = write_shares(budgets)
            same_day = last is not None and last.asked[2] == asked[2]
            pool = last.pool if last is not None and same_day else self._pool(budgets)
            last = self.last = Budgets(asked, budgets, shares, self._usual(units), pool)
        return Hold(
            reservation_id,
            self.account_id,
            amount_nanos,
            int(now_s) + self.route.lifetime_s,
            last.budgets,
            self._turn(now_s) if self.inline_interval_us else None,
            last.shares,
            last.pool,
        )

    def quoted_units(self, quote: Quote) -> int | None:
        """What the route's token limit takes in advance; ``None`` where it has no such limit."""
        policy = self.route.token_quote
        if policy is None:
            return None
        return 0 if policy == "none" else _held_of(quote, policy)[1]

    def resets_s(self, kind: str, now_s: float) -> int | None:
        """When the window of a kind of budget ends; ``None`` for one without windows."""
        if kind == "day":
            return day_start_s(now_s) + DAY_S
        return None if kind == "flight" else self.period_end_s

    @property
    def most_at_once(self) -> int:
        """The burst of the rate; a second's worth where none is named."""
        return self.burst or self.requests_per_second or 1

    def _turn(self, now_s: float) -> Rate:
        name = f"{RATE_KIND}:{self.route.profile}"
        now_us = int(now_s * US_PER_S)
        return Rate(name, self.inline_interval_us, self.most_at_once, now_us)

    def _pool(self, budgets: tuple[Budget, ...]) -> str:
        """Terms of one account with the same life, budgets, windows, bounds and rate share leases.

        A lease is held for the life of the last request that the hot copy was told of: what a dead
        worker told nobody of must not live longer.
        """
        bounds = "|".join([f"{name}~{window}~{limit}" for name, window, limit, _ in budgets])
        rate = f"{self.inline_interval_us}~{self.most_at_once}" if self.inline_interval_us else ""
        life_s = self.route.lifetime_s
        return f"{self.account_id}|{self.route.profile}|{life_s}|{rate}|{bounds}"

    def _budgets(self, amount_nanos: int, units: int, day_s: int) -> tuple[Budget, ...]:
        profile, start_s = self.route.profile, self.period_start_s
        budgets = []
        if self.units_limit is not None:
            budgets.append(Budget(f"units:{profile}", start_s, self.units_limit, units))
        if self.period_spend_limit_nanos is not None:
            limit = self.period_spend_limit_nanos
            budgets.append(Budget(f"period:{profile}", start_s, limit, amount_nanos))
        if self.day_spend_limit_nanos is not None:
            limit = self.day_spend_limit_nanos
            budgets.append(Budget(f"day:{profile}", day_s, limit, amount_nanos))
        if self.flight_limit is not None:
            budgets.append(Budget(f"flight:{profile}", 0, self.flight_limit, 1))
        return tuple(budgets)

    def _usual(self, units: int) -> UsualShares:
        """The shares of those budgets in short."""
        kinds = 0
        if self.units_limit is not None:
            kinds = UNITS
        if self.period_spend_limit_nanos is not None:
            kinds |= PERIOD
        if self.day_spend_limit_nanos is not None:
            kinds |= DAY
        if self.flight_limit is not None:
            kinds |= FLIGHT
        start_s = self.period_start_s if kinds & (UNITS | PERIOD) else 0
        return UsualShares(kinds, start_s, units if kinds & UNITS else 0)


def agree(
    catalog: Catalog, edition: int, route: Route, principal: Principal, now_s: float
) -> Terms | Refusal:
    """Work out the terms of a key that :func:`judge_access` lets in."""
    if not route.charged:
        return Terms(edition, route, principal.account_id, principal.key_id)
    subscription = principal.subscriptions[route.profile]
    plan = catalog.plans.get(subscription.plan)
    if plan is None:
        return refuse("no_subscription", f"plan {subscription.plan} is not offered any more")
    start_s, end_s = current_period(subscription, plan.period, now_s)
    limits = plan.limits_for(route.profile)
    most_nanos = _counted(limits.max_request_nanos)
    rps = _first(subscription.rps, limits.requests_per_second)
    return Terms(
        edition,
        route,
        principal.account_id,
        principal.key_id,
        plan.name,
        requests_per_second=rps,
        burst=_first(subscription.burst, limits.burst),
        inline_interval_us=interval_us(rps) if rps and route.inline_ratelimit else 0,
        units_limit=_counted(_units_limit(subscription, limits)),
        period_spend_limit_nanos=_counted(limits.spend_per_period_nanos),
        day_spend_limit_nanos=_counted(limits.spend_per_day_nanos),
        flight_limit=_counted(limits.max_in_flight),
        request_limit_nanos=MAX_REQUEST_NANOS if most_nanos is None else most_nanos,
        period_start_s=start_s,
        period_end_s=end_s,
    )


def judge_access(principal: Principal, route: Route) -> Refusal | None:
    """Refuse a key that may not use the route; one that charges nothing needs no subscription."""
    refusal = judge_subscription(principal, route.name, route.profile)
    if refusal is None or route.charged or refusal.kind.code == "key_not_allowed":
        return refusal
    return None


def _held_of(quote: Quote, policy: HoldPolicy) -> tuple[int, int]:
    if policy == "max":
        return quote.max_nanos, quote.max_units
    if policy == "typical":
        return quote.typical_nanos, quote.typical_units
    return quote.min_nanos, quote.min_units


def _units_limit(subscription: Subscription, limits: Limits) -> int | None:
    return _first(subscription.units_limit, limits.units_per_period)


def _first(override: int | None, planned: int | None) -> int | None:
    return planned if override is None else override


def _counted(limit: int | None) -> int | None:
    """A limit beyond what can be counted is as good as that one."""
    return None if limit is None else min(limit, MAX_COUNTED)
