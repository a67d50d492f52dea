"""A stack's part in a change of ``tollkeeper.yaml``, which its roles take up by themselves."""

from __future__ import annotations

from pathlib import Path

from billing.errors import TollkeeperError
from billing.stores.postgres_audit import Actor
from devstack.part import Report
from tollkeeper.catalog_watch import changes_of, fingerprint
from tollkeeper.config import load_config
from tollkeeper.envoy_render import render_bootstrap, to_yaml
from tollkeeper.operations.catalog import apply_catalog
from tollkeeper.operations.desk import open_desk
from tollkeeper.settings import Settings

ACTOR = Actor("tollkeeper up", "cli")


async def follow_configuration(
    settings: Settings, envoy_settings: Settings, bootstrap: Path, report: Report
) -> None:
    """Record each new catalog in Postgres, and render Envoy's bootstrap anew, for ever.

    A file that cannot be used changes neither, and ``report`` says why.
    """
    path = settings.config_file
    async for _ in changes_of(path, fingerprint(path)):
        try:
            await take_up(settings, envoy_settings, bootstrap, report)
        except TollkeeperError as error:
            report(f"{path.name} is not taken up; write it again: {error}")


async def take_up(
    settings: Settings, envoy_settings: Settings, bootstrap: Path, report: Report
) -> None:
    """Do so once; raises ``TollkeeperError``, and may be done again."""
    config = load_config(settings.config_file, settings)
    dsn = settings.require_postgres_dsn()
    async with open_desk(dsn) as desk, desk.act(ACTOR, "apply configuration") as act:
        await apply_catalog(act, config)
    report(f"{settings.config_file.name} is taken up")
    if _write(bootstrap, to_yaml(render_bootstrap(config, envoy_settings))):
        report(f"Envoy needs the new {bootstrap}: end its process, and it is started again over it")


def _write(path: Path, text: str) -> bool:
    """Write a file whole, unless it says the same already."""
    if path.read_text() == text:
        return False
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return True
