"""Peers on the stage, beside ourselves: same upstream, same Envoy, same load."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from bench import gateways
from bench.peers.build import build_go_check, install_litellm, install_ratelimit
from bench.stage import Gateway, Stage, start_checked, start_gateway, start_process
from devstack import Command, free_port
from tollkeeper.addresses import Address
from tollkeeper.envoy_render.vocabulary import (
    AUTHZ_CLUSTER,
    EXT_AUTHZ,
    RATELIMIT,
    RATELIMIT_CLUSTER,
)

GO = "do-nothing grpc-go"
GO_AND_RATELIMIT = "grpc-go + envoyproxy/ratelimit"
LITELLM = "LiteLLM's proxy"
MASTER_KEY = "sk-benchmark"
LITELLM_WORKERS = 2
LITELLM_START_S = 120
_RULES = """
domain: tollkeeper
descriptors:
  - key: account
    rate_limit: {unit: second, requests_per_unit: 1000000}
"""


async def add_go(stage: Stage, exits: AsyncExitStack, place: Path) -> None:
    """A check over grpc-go that lets pass."""
    program = await asyncio.to_thread(build_go_check, place)
    where = Address(path=str(stage.home / "go-check"))
    await start_checked(stage, exits, GO, Command((str(program), str(where))), where)


async def add_go_and_ratelimit(stage: Stage, exits: AsyncExitStack, place: Path) -> None:
    """The same and a limit per client by envoyproxy/ratelimit over the same Redis."""
    check, limits = await asyncio.gather(
        asyncio.to_thread(build_go_check, place), asyncio.to_thread(install_ratelimit, place)
    )
    check_at = Address(path=str(stage.home / "go-check-2"))
    argv = (str(check), str(check_at))
    check_pid = await start_process(stage, exits, "go-check-2", Command(argv), check_at)
    limits_at = Address("127.0.0.1", free_port())
    command = Command((str(limits),), env=_ratelimit_settings(stage, limits_at.port))
    limits_pid = await start_process(stage, exits, "peer-ratelimit", command, limits_at)
    names = (EXT_AUTHZ, RATELIMIT)
    bootstrap = gateways.with_only(stage.stack.config, stage.stack.settings, names)
    gateways.ask_at(bootstrap, AUTHZ_CLUSTER, check_at)
    gateways.ask_at(bootstrap, RATELIMIT_CLUSTER, limits_at)
    _limit_by_key(bootstrap)
    redis = stage.stack.parts["redis"].pid
    pids = {"check": check_pid, "ratelimit": limits_pid, "redis": redis}
    await start_gateway(stage, exits, "go-and-ratelimit", bootstrap, pids)
    stage.gateways[GO_AND_RATELIMIT] = stage.gateways.pop("go-and-ratelimit")


async def add_litellm(stage: Stage, exits: AsyncExitStack, place: Path) -> None:
    """LiteLLM's proxy with a master key alone, no database, the same upstream."""
    program = await asyncio.to_thread(install_litellm, place)
    port, config = free_port(), stage.home / "litellm.json"
    upstream = next(iter(stage.stack.settings.upstream_urls.values()))
    config.write_text(json.dumps(_litellm_config(upstream)))
    argv = (str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    workers = ("--num_workers", str(LITELLM_WORKERS))
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "NO_PROXY": "*"}
    command = Command((*argv, *workers), env=quiet)
    where = Address("127.0.0.1", port)
    pid = await start_process(stage, exits, "litellm", command, where, wait_s=LITELLM_START_S)
    await _until_it_answers(f"http://127.0.0.1:{port}")
    stage.gateways[LITELLM] = Gateway(LITELLM, f"http://127.0.0.1:{port}", {"litellm": pid})
    (stage.home / "litellm-key").write_text(MASTER_KEY)


def _limit_by_key(bootstrap: gateways.Bootstrap) -> None:
    """One descriptor: who calls, as the client says; there is no account without our check."""
    header = {"header_name": "authorization", "descriptor_key": "account"}
    manager = bootstrap["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    for host in manager["typed_config"]["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route["route"]["rate_limits"] = [{"actions": [{"request_headers": header}]}]


def _ratelimit_settings(stage: Stage, port: int) -> dict[str, str]:
    rules = stage.home / "peer-rules" / "limits" / "config"
    rules.mkdir(parents=True)
    (rules / "rules.yaml").write_text(_RULES)
    redis = stage.stack.settings.require_ratelimit_redis_url().removeprefix("redis://")
    return {
        "BACKEND_TYPE": "redis",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": redis.partition("/")[0],
        "RUNTIME_ROOT": str(stage.home / "peer-rules"),
        "RUNTIME_SUBDIRECTORY": "limits",
        "RUNTIME_WATCH_ROOT": "false",
        "USE_STATSD": "false",
        "LOG_LEVEL": "error",
        "GRPC_PORT": str(port),
        "PORT": str(free_port()),
        "DEBUG_PORT": str(free_port()),
    }


def _litellm_config(upstream: str) -> dict[str, Any]:
    model = {"model": "openai/gpt-4o-mini", "api_base": f"{upstream}/v1", "api_key": "upstream"}
    return {
        "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": model}],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"telemetry": False, "set_verbose": False},
    }


async def _until_it_answers(url: str) -> None:
    async with asyncio.timeout(LITELLM_START_S), httpx.AsyncClient(timeout=2.0) as client:
        while True:
            try:
                if (await client.get(f"{url}/health/liveliness")).status_code == 200:
                    return
            except httpx.HTTPError as error:
                print(f"  LiteLLM does not answer yet: {error!r}", file=sys.stderr)
            await asyncio.sleep(1.0)
