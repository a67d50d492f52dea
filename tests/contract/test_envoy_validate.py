"""A real Envoy judges what is rendered."""

import asyncio
import copy
from pathlib import Path
from typing import Any

import certifi
import pytest

from billing.errors import ConfigError
from devstack import validate
from tests.certificates import Authority
from tollkeeper.config import load_config
from tollkeeper.envoy_render import (
    render_bootstrap,
    render_filters,
    to_yaml,
    validate_bootstrap,
    validate_configuration,
)
from tollkeeper.settings import load_settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tollkeeper.yaml"


def everything(folder: Path) -> str:
    """The example with all that a file can ask for besides."""
    routes = """routes:
  limited:
    match: {method: POST, path: /limited}
    upstream: secure
    profile: llm
    meter: tokens
    tariff: chat
    rewrite: /v1/chat/completions
    token_limit: {count: completion_tokens}
  opened:
    match: {prefix: /open/}
    upstream: plain
    profile: llm
    meter: flat
    tariff: ping
    failure: {authorization: open}
  own:
    match: {prefix: /own/}
    upstream: plain
    profile: llm
    charged: false
    ratelimit: inline
"""
    upstreams = f"""upstreams:
  plain: {{url: "http://plain.example.test"}}
  secure: {{url: "https://secure.example.test", http2: true, ca_file: {certifi.where()}}}
"""
    path = folder / "everything.yaml"
    text = EXAMPLE.read_text().replace("routes:\n", routes, 1)
    path.write_text(text.replace("upstreams:\n", upstreams, 1))
    return str(path)


async def test_envoy_accepts_the_example(tmp_path: Path) -> None:
    """The committed file is one that Envoy starts with."""
    await validate(ROOT / "envoy/envoy.yaml", tmp_path / "envoy.log")
    settings = load_settings()
    assert (
        await validate_bootstrap(render_bootstrap(load_config(EXAMPLE, settings), settings)) == []
    )


async def test_envoy_accepts_whatever_a_file_can_ask_for(tmp_path: Path) -> None:
    """HTTPS, HTTP/2, Unix sockets, workers, token limits, open and self-service routes."""
    settings = load_settings(
        authz_listen="unix:/run/authz.sock",
        authz_workers=3,
        accesslog_listen="sink.example.test:50053",
        gateway_listen="unix:/run/gateway.sock",
    )
    config = load_config(Path(everything(tmp_path)), settings)
    assert await validate_bootstrap(render_bootstrap(config, settings)) == []


@pytest.mark.parametrize("with_authority", [True, False])
async def test_envoy_accepts_a_listener_with_tls(tmp_path: Path, *, with_authority: bool) -> None:
    """With an authority for clients, and without."""
    settings = load_settings(gateway_tls=gateway_tls(tmp_path, with_authority=with_authority))
    assert await validate_configuration(load_config(EXAMPLE, settings), settings) == []


@pytest.mark.parametrize("broken", ["certificate", "key", "client_ca"])
async def test_certificates_that_cannot_be_shown_are_told(tmp_path: Path, broken: str) -> None:
    """A file that is not there, or is none, is named before Envoy listens with nothing to show."""
    tls = gateway_tls(tmp_path, with_authority=True)
    settings = load_settings(gateway_tls=tls)
    config = load_config(EXAMPLE, settings)
    path = Path(tls[broken])
    await asyncio.to_thread(path.write_text, "nothing\n")
    with pytest.raises(ConfigError, match=path.name):
        await validate_configuration(config, settings)
    await asyncio.to_thread(path.unlink)
    with pytest.raises(ConfigError, match=f"{path.name} cannot be read"):
        await validate_configuration(config, settings)


def gateway_tls(folder: Path, *, with_authority: bool) -> dict[str, str]:
    """Files of the listener of clients, as its setting names them."""
    authority = Authority(folder)
    pair = authority.issue("gateway")
    clients = {"client_ca": str(authority.ca)} if with_authority else {}
    return {"certificate": str(pair.certificate), "key": str(pair.key), **clients}


async def test_envoy_accepts_the_filters_in_another_bootstrap(tmp_path: Path) -> None:
    """The parts for who has an Envoy already fit into a bootstrap that is not ours."""
    settings = load_settings()
    parts = render_filters(load_config(EXAMPLE, settings), settings)
    theirs = _their_bootstrap()
    manager = theirs["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    fields = manager["typed_config"]
    fields |= {name: parts[name] for name in ("http_filters", "access_log", "local_reply_config")}
    theirs["static_resources"]["clusters"] += parts["clusters"]
    for route in fields["route_config"]["virtual_hosts"][0]["routes"]:
        part = parts["routes"][route["name"]]
        route["typed_per_filter_config"] = part["typed_per_filter_config"]
        route["route"] |= part["route"]
    path = tmp_path / "theirs.yaml"
    path.write_text(to_yaml(theirs))
    await validate(path, tmp_path / "envoy.log")
    assert "configuration" in (tmp_path / "envoy.log").read_text()


@pytest.mark.parametrize(
    ("broken", "said"),
    [({"no_such_field": 1}, "no_such_field"), ({"static_resources": {"clusters": [{}]}}, "name")],
)
async def test_what_envoy_does_not_accept_is_told_in_its_words(
    broken: dict[str, Any], said: str
) -> None:
    """The lines are Envoy's own, and only those that say what is wrong."""
    settings = load_settings()
    bootstrap = copy.deepcopy(render_bootstrap(load_config(EXAMPLE, settings), settings))
    lines = await validate_bootstrap(bootstrap | broken)
    assert any(said in line.lower() for line in lines), lines
    assert not any("[warning]" in line for line in lines)


def _their_bootstrap() -> dict[str, Any]:
    """A gateway of somebody else, with two of the example's routes by name."""
    routes = [
        {"name": name, "match": {"path": path}, "route": {"cluster": "theirs"}}
        for name, path in (("chat", "/v1/chat/completions"), ("ping", "/flat/ping"))
    ]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "theirs",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "theirs",
                    "address": address,
                    "filter_chains": [{"filters": [{"name": "m", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "theirs",
                    "load_assignment": {"cluster_name": "theirs", "endpoints": endpoints},
                }
            ],
        }
    }
