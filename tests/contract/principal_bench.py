"""Stores of principals on a bench: how tests fill and change them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import asyncpg

from billing.stores.memory import MemoryPrincipalStore
from billing.stores.postgres_principals import PostgresPrincipals
from billing.stores.protocol import Change, PrincipalStore
from billing.subscriptions import AccountStatus, Principal, Subscription

LISTENER = "tollkeeper test"


class PrincipalBench(Protocol):
    """A store of principals, and what people do to it."""

    @property
    def store(self) -> PrincipalStore:
        """The store."""

    @property
    def unreachable(self) -> PrincipalStore:
        """A store whose server does not answer."""

    async def put(self, key_hash: bytes, principal: Principal) -> None:
        """Make a key with its account and subscriptions."""

    async def revoke(self, key_hash: bytes) -> None:
        """Revoke a key."""

    async def set_account_status(self, account_id: str, status: AccountStatus) -> None:
        """Suspend or reopen an account."""

    async def set_subscription(self, account_id: str, subscription: Subscription) -> None:
        """Subscribe, or change the terms of a subscription."""

    async def break_connection(self) -> None:
        """Cut the connection that tells of changes."""


class MemoryPrincipalBench:
    """Principals in memory, with the changes that Postgres's triggers would tell."""

    def __init__(self) -> None:
        self.store, self.unreachable = MemoryPrincipalStore(), MemoryPrincipalStore()
        self.unreachable.away = True
        self._known: dict[bytes, Principal] = {}

    async def put(self, key_hash: bytes, principal: Principal) -> None:
        self._known[key_hash] = principal
        self.store.put(key_hash, principal)

    async def revoke(self, key_hash: bytes) -> None:
        await self.put(key_hash, replace(self._known[key_hash], key_status="revoked"))

    async def set_account_status(self, account_id: str, status: AccountStatus) -> None:
        for key_hash, principal in list(self._known.items()):
            if principal.account_id == account_id:
                await self.put(key_hash, replace(principal, account_status=status))
        self.store.announce(Change("account", account_id))

    async def set_subscription(self, account_id: str, subscription: Subscription) -> None:
        for key_hash, principal in list(self._known.items()):
            if principal.account_id == account_id:
                others = {**principal.subscriptions, subscription.profile: subscription}
                await self.put(key_hash, replace(principal, subscriptions=others))
        self.store.announce(Change("subscription", account_id))

    async def break_connection(self) -> None:
        self.store.announce(Change("lost", detail="away"))
        self.store.announce(Change("lost", detail="back"))


class PostgresPrincipalBench:
    """Principals in Postgres, written with statements of the tests' own."""

    def __init__(self, pool: asyncpg.Pool, dsn: str, nobody: asyncpg.Pool) -> None:
        self._pool = pool
        self.store = PostgresPrincipals(pool, dsn, LISTENER, 10.0)
        self.unreachable = PostgresPrincipals(nobody, dsn, LISTENER, 2.0)

    async def put(self, key_hash: bytes, principal: Principal) -> None:
        account_id = principal.account_id
        await self._pool.execute(
            "INSERT INTO accounts (id, name, tier, status) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (id) DO NOTHING",
            account_id,
            f"account {account_id}",
            principal.tier,
            principal.account_status,
        )
        for subscription in principal.subscriptions.values():
            await self.set_subscription(account_id, subscription)
        expires_s = principal.key_expires_s
        await self._pool.execute(
            "INSERT INTO api_keys (account_id, id, hash, display, status, scopes, expires_at,"
            " revoked_at) VALUES ($1, $2, $3, 'abcd', $4, $5, $6, $7)",
            account_id,
            principal.key_id,
            key_hash,
            principal.key_status,
            sorted(principal.scopes),
            None if expires_s is None else datetime.fromtimestamp(expires_s, UTC),
            datetime.now(UTC) if principal.key_status == "revoked" else None,
        )

    async def revoke(self, key_hash: bytes) -> None:
        await self._pool.execute(
            "UPDATE api_keys SET status = 'revoked', revoked_at = now() WHERE hash = $1", key_hash
        )

    async def set_account_status(self, account_id: str, status: AccountStatus) -> None:
        await self._pool.execute(
            "UPDATE accounts SET status = $2 WHERE id = $1", account_id, status
        )

    async def set_subscription(self, account_id: str, subscription: Subscription) -> None:
        await self._pool.execute(
            "INSERT INTO profiles (name) VALUES ($1) ON CONFLICT DO NOTHING", subscription.profile
        )
        await self._pool.execute(
            "INSERT INTO plans (name, definition, digest, applied_by)"
            " VALUES ($1, '{}', sha256('plan'), 'test') ON CONFLICT DO NOTHING",
            subscription.plan,
        )
        await self._pool.execute(
            "INSERT INTO subscriptions (account_id, profile, plan, status, units_limit,"
            " rps_override, burst_override, period_start, period_end)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT (account_id, profile) DO UPDATE SET plan = excluded.plan,"
            " status = excluded.status, units_limit = excluded.units_limit",
            account_id,
            subscription.profile,
            subscription.plan,
            subscription.status,
            subscription.units_limit,
            subscription.rps,
            subscription.burst,
            datetime.fromtimestamp(subscription.period_start_s, UTC),
            datetime.fromtimestamp(subscription.period_end_s, UTC),
        )

    async def break_connection(self) -> None:
        ended = await self._pool.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = $1",
            LISTENER,
        )
        assert ended == 1, "one session listens"
