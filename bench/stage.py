"""Everything that is measured, running at once, so that rounds can take turns."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg

from bench import gateways
from bench.load import Target
from bench.offer import BODIES, PLAN, path_of, write_offer
from bench.upstream import make_upstream
from devstack import Command, Part
from devstack.process import Process
from tollkeeper.addresses import Address
from tollkeeper.envoy_render.vocabulary import AUTHZ_CLUSTER, EXT_AUTHZ
from tollkeeper.hosted.parts import HostingMissing, find_host_parts
from tollkeeper.settings import load_settings
from tollkeeper.stack import Stack, StackOptions
from tollkeeper.stack.customers import Customer, open_customer

BALANCE_NANOS = 10**17
CUSTOMERS = 32
"""As many accounts as take turns in a load: one account alone would be a worst case of its own."""
SOCKET_WAIT_S = 30.0
DO_NOTHING = "do-nothing direct"


@dataclass
class Gateway:
    """A gateway to load. ``pids`` are the processes that work for it, by name."""

    name: str
    url: str
    pids: Mapping[str, int]
    settles: bool = False


@dataclass
class Stage:
    """What runs; ``gateways`` by name."""

    home: Path
    stack: Stack
    keys_file: Path
    ledger: asyncpg.Connection
    gateways: dict[str, Gateway] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def target(self, gateway: str, route: str = "ping", keys_file: Path | None = None) -> Target:
        """A request to a route through a gateway."""
        plain = route.removesuffix("-inline")
        body_file = None
        if plain in BODIES:
            body_file = self.home / f"{plain}.body"
            body_file.write_bytes(BODIES[plain])
        url = self.gateways[gateway].url
        method = "GET" if body_file is None else "POST"
        return Target(url, path_of(route), keys_file or self.keys_file, method, body_file)

    async def settled(self) -> int:
        """Requests whose settlement is committed."""
        said = await self.ledger.fetchval("SELECT coalesce(sum(usage_events), 0) FROM batches")
        return int(said)

    async def until_settled(self, wait_s: float = 30.0) -> None:
        """Wait until nothing is committed any more, so that the next load begins at rest."""
        before, quiet = await self.settled(), 0
        async with asyncio.timeout(wait_s):
            while quiet < 3:
                await asyncio.sleep(0.1)
                now = await self.settled()
                quiet, before = (quiet + 1 if now == before else 0), now


@asynccontextmanager
async def open_stage(home: Path, *, workers: int = 1, beside: bool = True) -> AsyncIterator[Stage]:
    """Start everything; ``beside`` the product also what it is compared with."""
    write_offer(home / "bench.yaml")
    async with AsyncExitStack() as exits:
        upstream, upstream_url = make_upstream(home / "upstream")
        await exits.enter_async_context(upstream)
        stack = await exits.enter_async_context(_stack(home, upstream_url, workers))
        dsn = stack.settings.require_postgres_dsn()
        ledger = await asyncpg.connect(dsn)
        exits.push_async_callback(ledger.close)
        keys_file = home / "keys"
        customers = [await _customer(dsn, number) for number in range(CUSTOMERS)]
        keys_file.write_text("\n".join(customer.key for customer in customers))
        stage = Stage(home, stack, keys_file, ledger)
        own = {name: part.pid for name, part in stack.parts.items()}
        stage.gateways["everything"] = Gateway("everything", stack.gateway_url, own, settles=True)
        if beside:
            await _add_alone(stage, exits)
            await _add_noop(stage, exits)
            await _add_grpc(stage, exits)
        yield stage


def _stack(home: Path, upstream_url: str, workers: int) -> Stack:
    base = load_settings(
        home=home / "stack",
        config_file=home / "bench.yaml",
        upstream_urls={"example": upstream_url},
    )
    listen = (("authz_listen", f"unix:{home}/authz"), ("ratelimit_listen", f"unix:{home}/limits"))
    return Stack(base, StackOptions(authz_workers=workers, settings=listen))


async def _customer(dsn: str, number: int) -> Customer:
    return await open_customer(dsn, f"bench-{number}", BALANCE_NANOS, plan=PLAN)


async def _add_alone(stage: Stage, exits: AsyncExitStack) -> None:
    """Envoy alone: the same listener, routes and upstream, none of our filters."""
    bootstrap = gateways.with_only(stage.stack.config, stage.stack.settings, ())
    await start_gateway(stage, exits, "alone", bootstrap, {})


async def _add_noop(stage: Stage, exits: AsyncExitStack) -> None:
    """Envoy with a check that does nothing, over each transport."""
    names = {"grpc": "do-nothing grpc.aio", "hosted": "do-nothing hosted", "direct": DO_NOTHING}
    for transport, name in names.items():
        if transport == "hosted":
            try:
                find_host_parts()
            except HostingMissing as missing:
                stage.skipped.append(f"{name}: {missing}")
                continue
        where = Address(path=str(stage.home / f"noop-{transport}"))
        command = Command((sys.executable, "-m", "bench.noop", transport, str(where)))
        await start_checked(stage, exits, name, command, where)


async def _add_grpc(stage: Stage, exits: AsyncExitStack) -> None:
    """Everything on, with checks over grpc.aio: a worker more, and a gateway that asks it."""
    settings = stage.stack.settings
    if settings.authz_transport == "grpc":
        return
    where = Address(path=str(stage.home / "authz-grpc"))
    env = stage.stack.plan.env | {
        "TOLLKEEPER_AUTHZ_TRANSPORT": "grpc",
        "TOLLKEEPER_AUTHZ_WORKERS": "1",
        "TOLLKEEPER_AUTHZ_LISTEN": str(where),
        "TOLLKEEPER_AUTHZ_METRICS_LISTEN": f"unix:{stage.home}/authz-grpc-pages",
    }
    argv = (sys.executable, "-m", "tollkeeper.serve", "authz", "0")
    pid = await start_process(stage, exits, "authz-grpc", Command(argv, env=env), where)
    bootstrap = gateways.full(stage.stack.config, settings)
    gateways.ask_at(bootstrap, AUTHZ_CLUSTER, where)
    own = {name: part.pid for name, part in stage.stack.parts.items() if name != "envoy"}
    await start_gateway(
        stage, exits, "everything grpc.aio", bootstrap, own | {"authz": pid}, settles=True
    )


async def start_checked(
    stage: Stage, exits: AsyncExitStack, name: str, command: Command, where: Address
) -> None:
    """A gateway whose only filter asks a check that this command serves."""
    pid = await start_process(stage, exits, name.replace(" ", "-"), command, where)
    await start_checking(stage, exits, name, where, {"check": pid})


async def start_checking(
    stage: Stage, exits: AsyncExitStack, name: str, where: Address, pids: Mapping[str, int]
) -> None:
    """A gateway whose only filter asks the check at that address."""
    bootstrap = gateways.with_only(stage.stack.config, stage.stack.settings, (EXT_AUTHZ,))
    gateways.ask_at(bootstrap, AUTHZ_CLUSTER, where)
    await start_gateway(stage, exits, name, bootstrap, pids)


async def start_process(
    stage: Stage,
    exits: AsyncExitStack,
    name: str,
    command: Command,
    where: Address,
    *,
    wait_s: float = SOCKET_WAIT_S,
) -> int:
    """Run a server until the stage ends; returns its process id once it listens.

    It takes the same turns on a core as the product's roles do (docs/decisions/031-scheduling.md).
    """
    if chrt := shutil.which("chrt"):
        command = replace(command, argv=(chrt, "--batch", "0", *command.argv))
    process = Process(name, command, stage.home / f"{name}.log")
    exits.push_async_callback(process.stop)
    async with asyncio.timeout(wait_s):
        while not await _listens(where):
            if process.exit_code() is not None:
                raise process.failure("ended before it listened")
            await asyncio.sleep(0.05)
    return process.pid


async def start_gateway(
    stage: Stage,
    exits: AsyncExitStack,
    name: str,
    bootstrap: gateways.Bootstrap,
    pids: Mapping[str, int],
    *,
    settles: bool = False,
) -> None:
    """Start an Envoy and put it on the stage."""
    part: Part
    part, url = gateways.make_gateway(stage.home, name.replace(" ", "-"), bootstrap)
    await exits.enter_async_context(part)
    stage.gateways[name] = Gateway(name, url, {**pids, "envoy": part.pid}, settles)


async def _listens(where: Address) -> bool:
    try:
        if where.path:
            _, writer = await asyncio.open_unix_connection(where.path)
        else:
            _, writer = await asyncio.open_connection(where.host, where.port)
    except OSError:
        return False
    writer.close()
    return True
