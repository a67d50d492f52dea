"""Gateways beside the product's: the same Envoy configuration with less in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devstack import Envoy, free_port
from tollkeeper.addresses import Address
from tollkeeper.config import Config
from tollkeeper.envoy_render import render_bootstrap
from tollkeeper.envoy_render.vocabulary import (
    AUTHZ_CLUSTER,
    EXT_AUTHZ,
    RATELIMIT,
    RATELIMIT_CLUSTER,
    ROUTER,
    address,
)
from tollkeeper.settings import Settings

Bootstrap = dict[str, Any]


def full(config: Config, settings: Settings) -> Bootstrap:
    """The product's bootstrap on ports of its own."""
    bootstrap: Bootstrap = copy.deepcopy(render_bootstrap(config, settings))
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = free_port()
    listener = bootstrap["static_resources"]["listeners"][0]
    listener["address"]["socket_address"]["port_value"] = free_port()
    return bootstrap


def with_only(config: Config, settings: Settings, filters: Sequence[str]) -> Bootstrap:
    """The same listener, routes and clusters, with only these filters, and no access log."""
    bootstrap = full(config, settings)
    listener = bootstrap["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    kept = {*filters, ROUTER}
    manager["http_filters"] = [f for f in manager["http_filters"] if f["name"] in kept]
    for name in ("access_log", "access_log_options", "local_reply_config"):
        manager.pop(name, None)
    for host in manager["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            per_filter = route.get("typed_per_filter_config", {})
            route["typed_per_filter_config"] = {
                name: value for name, value in per_filter.items() if name in kept
            }
            if RATELIMIT not in kept:
                route["route"].pop("rate_limits", None)
    needed = {AUTHZ_CLUSTER: EXT_AUTHZ, RATELIMIT_CLUSTER: RATELIMIT}
    clusters = bootstrap["static_resources"]["clusters"]
    bootstrap["static_resources"]["clusters"] = [
        cluster
        for cluster in clusters
        if cluster["name"].startswith("upstream_") or needed.get(cluster["name"]) in kept
    ]
    return bootstrap


def ask_at(bootstrap: Bootstrap, cluster_name: str, where: Address) -> None:
    """Let a cluster of services be one server, whose health nobody asks for."""
    for cluster in bootstrap["static_resources"]["clusters"]:
        if cluster["name"] == cluster_name:
            cluster.pop("health_checks", None)
            endpoint = {"endpoint": {"address": address(where)}}
            cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [endpoint]}]


def make_gateway(home: Path, name: str, bootstrap: Bootstrap) -> tuple[Envoy, str]:
    """An Envoy that is not started yet, and its URL."""
    path = home / f"{name}.json"
    path.write_text(json.dumps(bootstrap))
    admin = bootstrap["admin"]["address"]["socket_address"]["port_value"]
    listener = bootstrap["static_resources"]["listeners"][0]
    port = listener["address"]["socket_address"]["port_value"]
    return Envoy(home, path, admin, name=f"gateway-{name}"), f"http://127.0.0.1:{port}"
