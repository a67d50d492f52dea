"""From a command to the database and back: opens the desk, does one act or takes one view."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from billing.errors import ConfigError

if TYPE_CHECKING:
    from tollkeeper.operations.desk import Act, View
    from tollkeeper.settings import Settings

# The database's client is imported only by a command that needs it: the others answer at once.

Answer = TypeVar("Answer")

STACK_FILE = "stack.json"


def settings_here(**overrides: object) -> Settings:
    """The settings; servers that they do not name are those of a stack running here.

    So commands work beside ``tollkeeper up`` without any variable. What is set always wins.
    """
    from tollkeeper.settings import load_settings

    settings = load_settings(**overrides)
    if settings.postgres_dsn is not None:
        return settings
    found = _running_stack(settings)
    unset = {name: found[name] for name in found.keys() - settings.model_fields_set}
    return load_settings(**{**unset, **overrides})


def do(what: str, work: Callable[[Act], Awaitable[Answer]]) -> Answer:
    """Do one act: all of it is committed before this returns, or nothing."""

    async def acting() -> Answer:
        from billing.stores.postgres_audit import Actor
        from tollkeeper.operations.desk import open_desk

        actor = Actor(user_name(), "cli")
        dsn = settings_here().require_postgres_dsn()
        async with open_desk(dsn) as desk, desk.act(actor, what) as act:
            return await work(act)

    return asyncio.run(acting())


def see(what: str, work: Callable[[View], Awaitable[Answer]]) -> Answer:
    """Take one view."""

    async def looking() -> Answer:
        from tollkeeper.operations.desk import open_desk

        dsn = settings_here().require_postgres_dsn()
        async with open_desk(dsn) as desk, desk.view(what) as view:
            return await work(view)

    return asyncio.run(looking())


def user_name() -> str:
    """Who types: the name that the system has for the user of this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _running_stack(settings: Settings) -> dict[str, object]:
    """Addresses and secrets of the stack in the data directory; empty when none runs."""
    path = settings.home / STACK_FILE
    if not path.exists():
        return {}
    try:
        stack = json.loads(path.read_text())
        found = {
            "postgres_dsn": stack["postgres"],
            "redis_url": stack["redis"],
            "envoy_access_log_file": stack["access_log"],
        }
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} cannot be used: {error}; set TOLLKEEPER_POSTGRES_DSN") from error
    secret = settings.home / "secrets" / "ticket"
    return {**found, **_secret(settings, secret)}


def _secret(settings: Settings, path: Path) -> dict[str, object]:
    known = settings.ticket_secret is not None or not path.exists()
    return {} if known else {"ticket_secret_file": path}
