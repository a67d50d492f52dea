"""An operator's own Envoy beside that of the stack: the same filters, and something more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devstack import Envoy, free_port
from tests.e2e.stage import Stage
from tollkeeper.addresses import Address
from tollkeeper.envoy_render import render_bootstrap, to_yaml

Routes = dict[str, dict[str, Any]]
"""Envoy's routes by name, as they stand in its bootstrap."""


@asynccontextmanager
async def own_envoy(
    stage: Stage, folder: Path, change: Callable[[Routes], None]
) -> AsyncIterator[str]:
    """Run it over the rendered bootstrap with changed routes; yields the URL of its gateway."""
    gateway, admin = Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port())
    settings = stage.stack.settings.model_copy(
        update={"envoy_access_log_file": folder / "access.log"}
    )
    config = stage.stack.config
    moved = config.gateway.model_copy(update={"listen": gateway, "admin_listen": admin})
    bootstrap = render_bootstrap(config.model_copy(update={"gateway": moved}), settings)
    change(_routes(bootstrap))
    path = folder / "envoy.yaml"
    path.write_text(to_yaml(bootstrap))
    async with Envoy(folder, path, admin.port):
        yield f"http://{gateway}"


def _routes(bootstrap: dict[str, Any]) -> Routes:
    (listener,) = bootstrap["static_resources"]["listeners"]
    (manager,) = listener["filter_chains"][0]["filters"]
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    return {route["name"]: route for route in host["routes"]}
