"""Subscriptions: set and list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from billing.accounts import SubscriptionState, Terms
from billing.stores import postgres_subscriptions as store
from tollkeeper.operations.desk import Act, View


async def set_subscription(act: Act, account: str, profile: str, terms: Terms) -> SubscriptionState:
    """Subscribe an account to a profile, or change its terms; the running period goes on."""
    owner = await act.customer(account)
    state = await store.set_subscription(act.connection, owner.id, profile, terms, act.now)
    await act.record("subscription.set", owner.id, {"profile": profile, **asdict(terms)})
    return state


async def list_subscriptions(view: View, account: str) -> Sequence[SubscriptionState]:
    """What an account is subscribed to, by profile."""
    owner = await view.account(account)
    return await store.list_subscriptions(view.connection, owner.id, view.now)
