"""Subscriptions in Postgres: which profile an account may use, under which plan, in which period.

Every function works on the connection of its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from billing.accounts import SubscriptionState, Terms
from billing.errors import NotFound
from billing.stores.postgres_access import Connection, Record
from billing.stores.queries import load_queries

SQL = load_queries("accounts.sql")


async def set_subscription(
    connection: Connection, account_id: str, profile: str, terms: Terms, now: datetime
) -> SubscriptionState:
    """Subscribe an account to a profile, or change the terms on which it is.

    The first period begins now. A change leaves the running period as it is: what was used stays
    used, and another length or billing day counts from the next period on. ``NotFound`` for a plan
    or a profile that was never applied.
    """
    period = await _plan_period(connection, terms.plan)
    await _check_profile(connection, profile)
    await connection.execute(SQL["roll_account"], account_id, now)
    row = await connection.fetchrow(
        SQL["set_subscription"],
        account_id,
        profile,
        terms.plan,
        terms.status,
        period,
        terms.billing_day,
        terms.units_limit,
        terms.rps_override,
        terms.burst_override,
        now,
    )
    assert row is not None, "an upsert that did not fail has a row"
    return _state(row)


async def list_subscriptions(
    connection: Connection, account_id: str, now: datetime
) -> Sequence[SubscriptionState]:
    """The subscriptions of an account; a period that is over counts as unused."""
    rows = await connection.fetch(SQL["list_subscriptions"], account_id, now)
    return [_state(row) for row in rows]


async def _plan_period(connection: Connection, plan: str) -> str:
    period = await connection.fetchval(SQL["plan_period"], plan)
    if not isinstance(period, str):
        raise NotFound(f"no plan {plan!r}; {await _known(connection, 'plan_names')}")
    return period


async def _check_profile(connection: Connection, profile: str) -> None:
    known = [row["name"] for row in await connection.fetch(SQL["profile_names"])]
    if profile not in known:
        raise NotFound(f"no profile {profile!r}; {await _known(connection, 'profile_names')}")


async def _known(connection: Connection, statement: str) -> str:
    names = [row["name"] for row in await connection.fetch(SQL[statement])]
    if not names:
        return "none was applied yet: run `tollkeeper catalog apply`"
    return f"known are {', '.join(names)}"


def _state(row: Record) -> SubscriptionState:
    return SubscriptionState(**dict(row))
