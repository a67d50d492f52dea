"""Accounts, their keys and their subscriptions, as the front door sees them.

One :class:`Principal` holds all that a request of a key needs, so that a cached one answers without
any look-up. Times are whole seconds of Unix time in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from billing.refusals import Refusal, refuse

AccountType = Literal["personal", "org", "platform_service"]
AccountStatus = Literal["active", "suspended", "closed"]
KeyStatus = Literal["active", "revoked"]
SubscriptionStatus = Literal["active", "past_due", "suspended", "cancelled"]


@dataclass(frozen=True, slots=True)
class Subscription:
    """An account's right to use one profile under one plan.

    ``units_limit``, ``rps`` and ``burst`` override the plan's when set. The period is
    ``[period_start_s, period_end_s)``.
    """

    profile: str
    plan: str
    status: SubscriptionStatus
    units_limit: int | None
    rps: int | None
    burst: int | None
    period_start_s: int
    period_end_s: int


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: one key, its account, and the account's subscriptions by profile.

    ``scopes`` holds route or profile names; empty means all.
    """

    key_id: str
    key_status: KeyStatus
    key_expires_s: int | None
    scopes: frozenset[str]
    account_id: str
    account_status: AccountStatus
    tier: str
    subscriptions: Mapping[str, Subscription]


def judge_key(principal: Principal, now_s: float) -> Refusal | None:
    """Refuse a key that has ended, or whose account may not act at all."""
    if principal.key_status == "revoked":
        return refuse("revoked_key")
    if principal.key_expires_s is not None and now_s >= principal.key_expires_s:
        return refuse("expired_key")
    if principal.account_status != "active":
        return refuse("account_suspended")
    return None


def judge_subscription(principal: Principal, route: str, profile: str) -> Refusal | None:
    """Refuse a key without the scope, or an account without a live subscription to the profile.

    ``past_due`` still passes: the balance is prepaid, so what is due is not spent here.
    """
    if principal.scopes and not principal.scopes & {route, profile}:
        return refuse("key_not_allowed", f"the key has no scope for route {route}")
    subscription = principal.subscriptions.get(profile)
    if subscription is None:
        return refuse("no_subscription", f"no subscription to profile {profile}")
    if subscription.status == "suspended":
        return refuse("subscription_suspended")
    if subscription.status == "cancelled":
        return refuse("subscription_cancelled")
    return None
