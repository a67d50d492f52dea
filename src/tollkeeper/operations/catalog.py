"""What is for sale: from the configuration file into Postgres, and back for people to see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from billing.stores import postgres_catalog as store
from billing.stores.postgres_catalog import Applied, Definitions, PlanInForce, PriceInBook
from tollkeeper.config import Config, price_digest
from tollkeeper.operations.desk import Act, View


async def apply_catalog(act: Act, config: Config) -> Applied:
    """Make a checked file's profiles, plans and price versions those of the database.

    Applying the same again changes nothing. ``ConfigError`` when a price version that was applied
    before has other prices now.
    """
    definitions = definitions_of(config)
    applied = await store.apply_definitions(act.connection, definitions, act.actor.name, act.now)
    if applied:
        detail = {
            "profiles": applied.profiles,
            "plans": applied.plans,
            "prices": applied.prices,
        }
        await act.record("catalog.apply", None, detail)
    return applied


async def plans_in_force(view: View) -> Sequence[PlanInForce]:
    """The plans as they were applied last, and by whom."""
    return await store.plans_in_force(view.connection)


async def price_book(view: View) -> Sequence[PriceInBook]:
    """All price versions, the one in force marked."""
    return await store.price_book(view.connection, view.now)


def definitions_of(config: Config) -> Definitions:
    """What a file sells, as the database keeps it."""
    return Definitions(
        profiles=config.profiles,
        plans=[
            store.PlanDefinition(name, content, _digest(content))
            for name, plan in config.plans.items()
            for content in (plan.model_dump(mode="json"),)
        ],
        prices=[
            store.PriceDefinition(
                version.version,
                datetime.fromtimestamp(version.effective_from, UTC),
                version.model_dump(mode="json", exclude_defaults=True),
                bytes.fromhex(price_digest(version)),
            )
            for version in config.prices
        ],
    )


def _digest(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).digest()
