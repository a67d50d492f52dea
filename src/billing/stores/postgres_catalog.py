"""What is for sale, as Postgres keeps it: profiles, plans in force, and every price version ever.

The configuration file is where these are written; here stands what was applied, when, and by whom.
Plans may change; a price version never does, because settled requests refer to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from billing.errors import ConfigError
from billing.stores.postgres_access import Connection, Record
from billing.stores.queries import load_queries

SQL = load_queries("accounts.sql")


@dataclass(frozen=True, slots=True)
class PlanDefinition:
    """A plan as the file has it; ``definition`` names its ``period``, ``digest`` is a SHA-256."""

    name: str
    definition: Mapping[str, Any]
    digest: bytes


@dataclass(frozen=True, slots=True)
class PriceDefinition:
    """A price version as the file has it; ``digest`` is the one of its compiled version."""

    version: str
    effective_from: datetime
    definition: Mapping[str, Any]
    digest: bytes


@dataclass(frozen=True, slots=True)
class Definitions:
    """All that one configuration file sells."""

    profiles: Sequence[str]
    plans: Sequence[PlanDefinition]
    prices: Sequence[PriceDefinition]


@dataclass(frozen=True, slots=True)
class Applied:
    """What an application of definitions changed, by name."""

    profiles: tuple[str, ...]
    plans: tuple[str, ...]
    prices: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.profiles or self.plans or self.prices)


@dataclass(frozen=True, slots=True)
class PlanInForce:
    """A plan as it was last applied."""

    name: str
    definition: Mapping[str, Any]
    digest: str
    applied_at: datetime
    applied_by: str


@dataclass(frozen=True, slots=True)
class PriceInBook:
    """A version of the price book; ``in_force`` for the one that prices requests now."""

    version: str
    effective_from: datetime
    definition: Mapping[str, Any]
    digest: str
    applied_at: datetime
    applied_by: str
    in_force: bool


async def apply_definitions(
    connection: Connection, definitions: Definitions, applied_by: str, now: datetime
) -> Applied:
    """Bring Postgres up to the file; what is the same already stays untouched.

    Raises ``ConfigError`` when a price version has another content than it had, or when a name is
    one that Postgres does not take.
    """
    profiles = await connection.fetch(SQL["insert_profiles"], list(definitions.profiles), now)
    plans = [
        plan.name
        for plan in definitions.plans
        if await connection.fetchval(
            SQL["put_plan"],
            plan.name,
            json.dumps(plan.definition),
            plan.digest,
            now,
            applied_by,
        )
    ]
    prices = [
        price.version
        for price in definitions.prices
        if await _put_price(connection, price, applied_by, now)
    ]
    return Applied(tuple(row["name"] for row in profiles), tuple(plans), tuple(prices))


async def plans_in_force(connection: Connection) -> Sequence[PlanInForce]:
    """The plans that were applied, by name."""
    return [PlanInForce(**_read(row)) for row in await connection.fetch(SQL["list_plans"])]


async def price_book(connection: Connection, now: datetime) -> Sequence[PriceInBook]:
    """All price versions, by the time from which they apply."""
    rows = await connection.fetch(SQL["list_price_versions"], now)
    return [PriceInBook(**{**_read(row), "in_force": bool(row["in_force"])}) for row in rows]


async def _put_price(
    connection: Connection, price: PriceDefinition, applied_by: str, now: datetime
) -> bool:
    inserted = await connection.fetchval(
        SQL["put_price_version"],
        price.version,
        price.effective_from,
        json.dumps(price.definition),
        price.digest,
        now,
        applied_by,
    )
    if inserted is None:
        known = await connection.fetchval(SQL["price_digest"], price.version)
        if known != price.digest:
            raise ConfigError(
                f"price version {price.version} was applied with other prices; "
                "restore them and add a new version with its own effective_from"
            )
    return inserted is not None


def _read(row: Record) -> dict[str, Any]:
    return {**dict(row), "definition": json.loads(row["definition"])}
