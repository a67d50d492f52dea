"""A whole stack that may be broken in any way: with a proxy before Postgres, a man in the middle
of the access-log stream, customers who are poor and rich, and short lifetimes."""

from __future__ import annotations

import asyncio
import random
import struct
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ruamel.yaml import YAML

from billing.errors import StoreUnavailable
from billing.stores.postgres_audit import Actor
from devstack import Part, Postgres, Redis, free_port
from tests.chaos.commit_proxy import CommitProxy
from tests.chaos.lease_watch import LeaseWatch
from tests.chaos.log_middleman import LogMiddleman
from tests.chaos.traffic import Payer, Witness
from tollkeeper.addresses import Address
from tollkeeper.operations.desk import open_desk
from tollkeeper.operations.orders import topup
from tollkeeper.settings import ENV_PREFIX, Settings, load_settings
from tollkeeper.stack import Stack, StackOptions
from tollkeeper.stack.customers import open_customer

ROOT = Path(__file__).resolve().parents[2]
CREDIT = 1_000_000
LIFETIME_S = 6
"""Of every reservation: so short that delayed entries come late and lost ones expire in a run."""
REQUEST_TIMEOUT_S = 5
ACTOR = Actor("chaos", "cli")
SETTINGS = {
    "expire_interval_s": "1",
    "spool_adopt_interval_s": "1",
    "redis_deadline_ms": "300",
    "reserve_deadline_ms": "1500",
}
"""Deadlines nearer to those of production than a stack's own, which are for slow machines."""
CLOCK_OFF_S = 600.0
"""The most by which a clock is off in any test."""
CLOCK = Path(__file__).with_name("clock")

LLM = {"upstream": "example", "profile": "llm"}
ROUTES: dict[str, dict[str, Any]] = {
    "spare": LLM
    | {
        "match": {"method": "GET", "path": "/spare/ping"},
        "meter": "flat",
        "tariff": "ping",
        "rewrite": "/flat/ping",
    },
    "inline": LLM
    | {
        "match": {"method": "GET", "path": "/inline/ping"},
        "meter": "flat",
        "tariff": "ping",
        "rewrite": "/flat/ping",
        "ratelimit": "inline",
    },
}
PLANS: dict[str, dict[str, Any]] = {
    "narrow": {
        "period": "month",
        "limits": {"max_in_flight": 3, "units_per_period": 100_000_000, "spend_per_day_usd": 5},
    },
    "wide": {
        "period": "month",
        "limits": {
            "max_in_flight": 400,
            "units_per_period": 100_000_000,
            "spend_per_day_usd": 10_000,
        },
    },
    "rated": {"limits": {"requests_per_second": 40, "burst": 80}},
}


def write_configuration(folder: Path, lifetime_s: int = LIFETIME_S) -> Path:
    """The example with short lifetimes; ``ping`` and ``tool`` are closed while Redis is away, so
    exact, and ``spare`` while a spool is full; ``inline`` takes the rate with the hold."""
    yaml = YAML()
    config = yaml.load((ROOT / "tollkeeper.yaml").read_text())
    config["routes"].update(ROUTES)
    config["plans"].update(PLANS)
    for route in config["routes"].values():
        route.update({"lifetime_s": lifetime_s, "timeout_s": REQUEST_TIMEOUT_S})
    for closed in ("ping", "tool"):
        config["routes"][closed]["failure"] = {"redis": "closed"}
    config["routes"]["spare"]["failure"] = {"spool": "closed"}
    config["routes"]["reported"]["on_expiry"] = "charge_quote"
    config["ratelimit"]["directory"] = str(ROOT / config["ratelimit"]["directory"])
    path = folder / "tollkeeper.yaml"
    with path.open("w") as file:
        yaml.dump(config, file)
    return path


class ChaosStack(Stack):
    """A stack whose sink reaches Postgres through a proxy, and Envoy the sink through a
    middleman."""

    def __init__(self, base: Settings, options: StackOptions, dice: random.Random) -> None:
        super().__init__(base, options)
        self.proxy = CommitProxy(free_port())
        self.middleman = LogMiddleman(free_port(), dice)

    @property
    def envoy_settings(self) -> Settings:
        middleman = Address("127.0.0.1", self.middleman.port)
        return self.settings.model_copy(update={"accesslog_listen": middleman})

    def role_env(self, name: str) -> Mapping[str, str]:
        clock = {"PYTHONPATH": str(CLOCK), "CHAOS_CLOCK": str(self._clock(name))}
        env = {**self.plan.env, **clock}
        if not name.startswith("accesslog"):
            return env
        parts = urlsplit(self.settings.require_postgres_dsn())
        assert parts.hostname is not None
        assert parts.port is not None
        self.proxy.server = (parts.hostname, parts.port)
        through = parts._replace(netloc=f"{parts.username}@127.0.0.1:{self.proxy.port}")
        return {**env, f"{ENV_PREFIX}POSTGRES_DSN": urlunsplit(through)}

    def put_clock_off(self, name: str, off_s: float) -> None:
        """From now on the wall clock of that role is off by so much; 0 puts it right."""
        with self._clock(name).open("r+b", buffering=0) as file:
            file.write(struct.pack("<q", int(off_s * 10**9)))

    def _clock(self, name: str) -> Path:
        """The file by which the clock of a role can be put off (``clock/sitecustomize.py``)."""
        path = self.home / "clocks" / name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(8))
        return path


class Arena(Witness):
    """One running stack, who pays in it, and what was seen of it."""

    def __init__(self, stack: ChaosStack) -> None:
        super().__init__()
        self.stack = stack
        self.restarts: list[str] = []
        self.locks = {name: asyncio.Lock() for name in ("redis", "postgres")}
        self.leases = LeaseWatch([str(p) for p in stack.settings.authz_metrics_addresses])

    @property
    def dsn(self) -> str:
        return self.stack.settings.require_postgres_dsn()

    @property
    def worker_deaths(self) -> int:
        """How often a worker of the front door ended and was started again."""
        return sum(name.startswith("authz") for name in self.restarts)

    @property
    def postgres(self) -> Postgres:
        part = self.stack.parts["postgres"]
        assert isinstance(part, Postgres)
        return part

    @property
    def redis(self) -> Redis:
        part = self.stack.parts["redis"]
        assert isinstance(part, Redis)
        return part

    @contextmanager
    def clocks_off(self, off_s: Mapping[str, float]) -> Iterator[None]:
        """Meanwhile the wall clocks of these roles are off by so many seconds."""
        for name, seconds in off_s.items():
            self.stack.put_clock_off(name, seconds)
        try:
            yield
        finally:
            for name in off_s:
                self.stack.put_clock_off(name, 0)

    @property
    def upstream_url(self) -> str:
        return next(iter(self.stack.settings.upstream_urls.values()))

    async def open_payer(
        self,
        name: str,
        balance_credits: int,
        kinds: Mapping[str, int],
        plan: str = "unlimited",
        hurried: int = 0,
    ) -> Payer:
        """A customer with that many credits who sends these kinds of requests, by weight; so many
        clients of a hurried one make hardly a pause."""
        customer = await open_customer(self.dsn, name, balance_credits * CREDIT, plan=plan)
        payer = Payer(customer, dict(kinds), [(0.0, balance_credits * CREDIT)], hurried)
        self.payers[customer.account_id] = payer
        return payer

    async def top_up(self, payer: Payer, paid_credits: int) -> None:
        """Money comes in; counted before it can be spent, and tried until Postgres takes it.

        The reference is the same at each try, so a payment whose COMMIT was not heard of counts
        once.
        """
        amount = paid_credits * CREDIT
        payer.paid_in.append((time.time(), amount))
        reference = f"payment {len(payer.paid_in)}"
        async with asyncio.timeout(60.0):
            while not await self._paid(payer, amount, reference):
                await asyncio.sleep(0.2)

    async def _paid(self, payer: Payer, amount_nanos: int, reference: str) -> bool:
        try:
            async with open_desk(self.dsn) as desk, desk.act(ACTOR, "top up") as act:
                await topup(act, payer.customer.account_id, amount_nanos, reference)
        except StoreUnavailable:
            return False
        return True


@asynccontextmanager
async def open_arena(
    folder: Path,
    seed: int,
    *,
    workers: int = 2,
    lifetime_s: int = LIFETIME_S,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Arena]:
    """Start everything; parts that die are started again until the block ends."""
    base = load_settings(home=folder / "home", config_file=write_configuration(folder, lifetime_s))
    given = {**SETTINGS, **(settings or {})}
    options = StackOptions(authz_workers=workers, settings=tuple(given.items()))
    stack = ChaosStack(base, options, random.Random(f"{seed}/entries"))
    await stack.proxy.start()
    try:
        async with stack:
            await stack.middleman.start(str(stack.settings.accesslog_listen))
            arena = Arena(stack)
            watching = (
                asyncio.create_task(stack.watch(arena.restarts.append)),
                asyncio.create_task(arena.leases.run()),
            )
            try:
                yield arena
                for task in watching:
                    if task.done():
                        task.result()
            finally:
                for task in watching:
                    task.cancel()
                await asyncio.wait(watching)
                await stack.middleman.stop()
                await _kill_ours(stack.parts.values())
    finally:
        await stack.proxy.stop()


async def _kill_ours(parts: Iterable[Part]) -> None:
    """Nothing is shown any more: a stop in order, one after the other, would take ten seconds.
    Only Postgres has shared memory to give back, and is stopped as the stack does it."""
    ours = (part for part in parts if not isinstance(part, Postgres))
    await asyncio.gather(*(part.kill() for part in ours))
