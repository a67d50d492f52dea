"""Customers for the demo, the tests and the benchmark: an account, its key, its subscriptions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from billing.accounts import NewAccount, NewKey, Terms
from billing.stores.postgres_audit import Actor
from tollkeeper.operations.accounts import create_account
from tollkeeper.operations.desk import open_desk
from tollkeeper.operations.keys import create_key
from tollkeeper.operations.orders import topup
from tollkeeper.operations.subscriptions import set_subscription
from tollkeeper.settings import Settings

ACTOR = Actor("stack", "cli")
ALL_PROFILES = ("llm", "rpc", "tools")


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays, and with which key."""

    name: str
    account_id: str
    key_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """What a client of theirs sends."""
        return {"authorization": f"Bearer {self.key}"}


async def open_customer(
    dsn: str,
    name: str,
    balance_nanos: int,
    *,
    plan: str = "unlimited",
    profiles: Sequence[str] = ALL_PROFILES,
) -> Customer:
    """Create an account with a key, a balance and one plan for all profiles."""
    async with open_desk(dsn) as desk, desk.act(ACTOR, "open customer") as act:
        account = await create_account(act, NewAccount(name=name))
        issued = await create_key(act, account.id, NewKey())
        for profile in profiles:
            await set_subscription(act, account.id, profile, Terms(plan=plan))
        if balance_nanos:
            await topup(act, account.id, balance_nanos, "first payment")
    return Customer(name, account.id, issued.id, issued.key)


async def keep_customer(settings: Settings, name: str, balance_nanos: int) -> Customer:
    """The stack's own customer: made once, and found again with its key at the next start.

    The key lies beside the stack's secrets, for its owner only, because the ledger has but its
    hash.
    """
    path = settings.home / "secrets" / f"{name}.json"
    if path.exists():
        return Customer(**json.loads(path.read_text()))
    customer = await open_customer(settings.require_postgres_dsn(), name, balance_nanos)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(json.dumps(asdict(customer)))
    return customer
