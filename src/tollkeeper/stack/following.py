"""A stack's part in a change of ``tollkeeper.yaml``: its roles take the file up by themselves, and
Envoy's bootstrap is rendered anew."""

from __future__ import annotations

from pathlib import Path

from billing.errors import ConfigError
from devstack.part import Report
from tollkeeper.catalog_watch import changes_of, fingerprint
from tollkeeper.config import load_config
from tollkeeper.envoy_render import render_bootstrap, to_yaml
from tollkeeper.settings import Settings


async def follow_configuration(
    settings: Settings, envoy_settings: Settings, bootstrap: Path, report: Report
) -> None:
    """Render Envoy's bootstrap whenever the file changes, for ever; ``report`` is told.

    A file that cannot be used changes nothing.
    """
    path = settings.config_file
    async for _ in changes_of(path, fingerprint(path)):
        try:
            config = load_config(path, settings)
        except ConfigError as error:
            report(f"{path.name} is refused, the old one stays in force: {error}")
            continue
        report(f"{path.name} is taken up")
        if _write(bootstrap, to_yaml(render_bootstrap(config, envoy_settings))):
            report(f"Envoy needs the new {bootstrap}: end its process, and it starts again over it")


def _write(path: Path, text: str) -> bool:
    """Write a file whole, unless it says the same already."""
    if path.read_text() == text:
        return False
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
    return True
