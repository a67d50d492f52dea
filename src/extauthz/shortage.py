"""What to tell a client whose request found a budget short."""

from __future__ import annotations

from billing.money import format_credits
from billing.rate import RATE_KIND, US_PER_S
from billing.refusals import Refusal, refuse
from billing.reservations import BUDGET_KINDS, CREDITS, Hold, Short, Undecided
from extauthz.terms import Terms

UNDECIDED = refuse(
    "authorization_unavailable", "credits cannot be reserved right now", retry_after_s=1
)
IN_FLIGHT_RETRY_S = 1
"""How long to wait for one of the own requests to end: most last no longer."""


def explain(short: Short | Undecided, hold: Hold, terms: Terms, now_s: float) -> Refusal:
    """Name the short budget, what is left of it, what the request needs, and when it is reset."""
    if isinstance(short, Undecided):
        return UNDECIDED
    if short.budget == CREDITS:
        return _credits(short, hold)
    kind, _, profile = short.budget.partition(":")
    if kind == RATE_KIND:
        return _too_fast(short, profile, terms)
    code = BUDGET_KINDS[kind]
    if kind == "flight":
        reason = f"{short.limit} requests to {profile} are under way; no more may run at once"
        return refuse(code, reason, retry_after_s=IN_FLIGHT_RETRY_S, limit=short.limit)
    needed = next(budget.amount for budget in hold.budgets if budget.name == short.budget)
    resets_s = terms.resets_s(kind, now_s)
    assert resets_s is not None, "all counted budgets but those in flight have a window"
    # A request above the whole limit is refused in every window: then waiting does not help.
    wait_s = max(1, resets_s - int(now_s)) if needed <= short.limit else None
    if kind == "units":
        reason = f"the request needs up to {needed} units; {short.left} of {short.limit} are left"
        return refuse(
            code,
            reason,
            retry_after_s=wait_s,
            limit_units=short.limit,
            left_units=short.left,
            needed_units=needed,
            resets_at_s=resets_s,
        )
    return refuse(
        code,
        f"the request needs up to {format_credits(needed)} credits;"
        f" {format_credits(short.left)} of {format_credits(short.limit)} are left to spend",
        retry_after_s=wait_s,
        limit_nanos=short.limit,
        left_nanos=short.left,
        needed_nanos=needed,
        resets_at_s=resets_s,
    )


def _too_fast(short: Short, profile: str, terms: Terms) -> Refusal:
    rps = terms.requests_per_second or 0
    return refuse(
        "rate_limited",
        f"{profile} takes {rps} requests a second, and {short.limit} at once",
        retry_after_s=max(1, -(-short.wait_us // US_PER_S)),
        limit_per_second=rps,
        burst=short.limit,
    )


def _credits(short: Short, hold: Hold) -> Refusal:
    needed, left = hold.amount_nanos, short.left
    reason = (
        f"the request needs up to {format_credits(needed)} credits;"
        f" {format_credits(left)} are available"
    )
    return refuse("insufficient_credits", reason, available_nanos=left, needed_nanos=needed)
