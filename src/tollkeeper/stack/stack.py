"""Starting, watching and stopping the parts of a stack.

The order is that of who needs whom: Postgres and Redis, the database's schema and prices, our
roles, the example upstream, Envoy. What the settings name as running already is used and not
started.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from billing.errors import TollkeeperError
from billing.stores.postgres_audit import Actor
from devstack import Envoy, Part, PartFailed, Postgres, Redis, RedisCluster
from devstack.part import Report, silent
from tollkeeper.addresses import Address
from tollkeeper.asking_pages import CONNECTIONS
from tollkeeper.config import Config, load_config
from tollkeeper.envoy_render import render_bootstrap, to_yaml, write_gateway_secrets
from tollkeeper.migrate import migrate
from tollkeeper.operations.catalog import apply_catalog
from tollkeeper.operations.desk import open_desk
from tollkeeper.settings import Settings
from tollkeeper.stack.following import follow_configuration
from tollkeeper.stack.gateway import gateway_client, gateway_url, until_gateway_answers
from tollkeeper.stack.plan import EXAMPLE_UPSTREAM, StackOptions, StackPlan, plan_stack
from tollkeeper.stack.roles import RolePart

CLUSTER_SCHEME = "redis+cluster://"
RESTART_PAUSE_S = 0.3
RESTART_TRIES = 5
"""A part may need another one that is being started again as well."""
STACK_FILE = "stack.json"
ACTOR = Actor("tollkeeper up", "cli")


class Stack:
    """``async with Stack(settings)``: everything answers inside, and is gone after.

    ``report`` is told each step in a short line.
    """

    def __init__(
        self,
        base: Settings,
        options: StackOptions | None = None,
        report: Report = silent,
    ) -> None:
        self._base = base
        self.options = options or StackOptions()
        self._report = report
        self.home = base.home.absolute()
        self.parts: dict[str, Part] = {}
        self._clusters: list[RedisCluster] = []
        self._left_alone: set[str] = set()
        self._exits = AsyncExitStack()
        self._plan: StackPlan | None = None

    @property
    def plan(self) -> StackPlan:
        """Settings and environment of the running stack."""
        assert self._plan is not None, "the stack was started"
        return self._plan

    @property
    def settings(self) -> Settings:
        return self.plan.settings

    @property
    def config(self) -> Config:
        """The configuration as it stands in its file now."""
        return load_config(self.settings.config_file, self.settings)

    @property
    def envoy_settings(self) -> Settings:
        """What Envoy is rendered with; whoever puts something between it and a role says so."""
        return self.settings

    def role_env(self, name: str) -> Mapping[str, str]:
        """The environment of one role's process."""
        del name
        return self.plan.env

    @property
    def gateway_url(self) -> str:
        """Where clients go."""
        return gateway_url(self.settings)

    def client(
        self, timeout_s: float, connections_max: int | None = CONNECTIONS
    ) -> httpx.AsyncClient:
        """A client of the gateway, over TLS where it has it."""
        return gateway_client(self.settings, timeout_s, connections_max)

    async def __aenter__(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            await self._start()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        (self.home / STACK_FILE).unlink(missing_ok=True)
        await self._exits.aclose()

    async def _start(self) -> None:
        dsn = await self._postgres()
        redis_url, rates_url = await self._redis()
        self._plan = plan_stack(
            self._base, self.options, postgres_dsn=dsn, redis_url=redis_url, rates_url=rates_url
        )
        await self._prepare_database()
        await self._run_together([*self._roles(), *self._upstream()])
        await self._envoy()
        await until_gateway_answers(self.settings)
        self.write_stack_file()

    async def _postgres(self) -> str:
        if self._base.postgres_dsn is not None:
            return self._base.require_postgres_dsn()
        server = Postgres(self.home / "postgres", max_connections=200, report=self._report)
        await self._run(server)
        return server.dsn()

    async def _redis(self) -> tuple[str, str]:
        """The hot copy's Redis and the rate limits'."""
        if self._base.redis_url is not None:
            return self._base.require_redis_url(), self._base.require_ratelimit_redis_url()
        server = Redis(self.home / "redis", report=self._report)
        await self._run(server)
        if not self.options.redis_cluster:
            return server.url, server.url
        cluster = RedisCluster(self.home / "redis-cluster", report=self._report)
        await self._exits.enter_async_context(cluster)
        return cluster.url.replace("redis://", CLUSTER_SCHEME).removesuffix("/0"), server.url

    async def _prepare_database(self) -> None:
        dsn = self.settings.require_postgres_dsn()
        applied = await migrate(dsn)
        self._report(f"migrations: {len(applied)} applied")
        async with open_desk(dsn) as desk, desk.act(ACTOR, "apply configuration") as act:
            await apply_catalog(act, self.config)

    def _roles(self) -> list[RolePart]:
        settings = self.settings
        authz = [
            self._role(
                "authz" if worker == 0 else f"authz-{worker}",
                ("authz", str(worker)),
                settings.authz_addresses[worker],
                settings.authz_metrics_addresses[worker],
            )
            for worker in range(settings.authz_workers)
        ]
        return [
            *authz,
            self._role(
                "ratelimit",
                ("ratelimit",),
                settings.ratelimit_listen,
                settings.ratelimit_metrics_listen,
            ),
            self._role(
                "accesslog",
                ("accesslog",),
                settings.accesslog_listen,
                settings.accesslog_metrics_listen,
            ),
            self._role("admin", ("admin",), settings.admin_listen, settings.admin_listen),
        ]

    def _role(self, name: str, args: tuple[str, ...], listen: Address, health: Address) -> RolePart:
        pages = self.settings.page_url("admin" if name == "admin" else "metrics", health)
        return RolePart(
            name,
            self.home / "logs",
            ("tollkeeper.serve", *args),
            self.role_env(name),
            listen=str(listen),
            ready_url=f"{pages}/readyz",
            tls=self.settings.pages_tls,
            report=self._report,
        )

    def _upstream(self) -> list[RolePart]:
        """The example upstream, where the configuration has one and nobody runs it elsewhere."""
        given = EXAMPLE_UPSTREAM in self._base.upstream_urls
        if EXAMPLE_UPSTREAM not in self.config.upstreams or given:
            return []
        url = self.settings.upstream_urls[EXAMPLE_UPSTREAM]
        listen = url.removeprefix("http://")
        return [
            RolePart(
                "upstream",
                self.home / "logs",
                ("devstack.upstream", "--listen", listen),
                {},
                listen=listen,
                ready_url=f"{url}/_seen",
                report=self._report,
            )
        ]

    @property
    def bootstrap(self) -> Path:
        """Envoy's configuration, as it was rendered last."""
        return self.home / "envoy.yaml"

    async def _envoy(self) -> None:
        bootstrap, tls = self.bootstrap, self.settings.gateway_tls
        if tls is not None:
            tls.check()
        write_gateway_secrets(self.envoy_settings)
        bootstrap.write_text(to_yaml(render_bootstrap(self.config, self.envoy_settings)))
        admin = self.settings.envoy_admin_listen
        assert admin is not None, "a stack always chooses it"
        await self._run(Envoy(self.home / "logs", bootstrap, admin.port, report=self._report))

    async def _run(self, part: Part) -> None:
        await part.start()
        self.parts[part.name] = part
        self._exits.push_async_callback(part.stop)

    async def _run_together(self, parts: Sequence[Part]) -> None:
        """Start parts that do not need each other, and stop them so; the first fault is told."""

        async def stop() -> None:
            await asyncio.gather(*(part.stop() for part in parts))

        self._exits.push_async_callback(stop)
        started = await asyncio.gather(*(part.start() for part in parts), return_exceptions=True)
        for found in started:
            if isinstance(found, BaseException):
                raise found
        self.parts.update({part.name: part for part in parts})

    def describe(self) -> dict[str, Any]:
        """The content of ``stack.json``: addresses and process ids, no secrets of ours."""
        settings = self.settings
        health = (
            *settings.authz_metrics_addresses,
            settings.ratelimit_metrics_listen,
            settings.accesslog_metrics_listen,
        )
        admin = settings.page_url("admin", settings.admin_listen)
        pages = [*(settings.page_url("metrics", address) for address in health), admin]
        return {
            "gateway": self.gateway_url,
            "admin": admin,
            "authz": str(settings.authz_addresses[0]),
            "authz_workers": [str(address) for address in settings.authz_addresses],
            "ratelimit": str(settings.ratelimit_listen),
            "accesslog": str(settings.accesslog_listen),
            "envoy_admin": f"http://{settings.envoy_admin_listen}",
            "postgres": settings.require_postgres_dsn(),
            "redis": settings.require_redis_url(),
            "upstream": settings.upstream_urls.get(EXAMPLE_UPSTREAM, ""),
            "upstream_urls": settings.upstream_urls,
            "access_log": str(settings.envoy_access_log_file),
            "metrics": [f"{page}/metrics" for page in pages],
            "pids": {name: part.pid for name, part in self.parts.items()},
        }

    def write_stack_file(self) -> None:
        """Tell other programs where everything is; whole or not at all, for its owner only."""
        path = self.home / STACK_FILE
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self.describe(), indent=2) + "\n")
        fresh.replace(path)

    async def watch(self, on_restart: Callable[[str], None] = lambda _: None) -> None:
        """Start every part anew that ends by itself, and follow the configuration, for ever."""
        async with asyncio.TaskGroup() as watchers:
            watchers.create_task(self.follow())
            for part in self.parts.values():
                watchers.create_task(self._watch(part, on_restart))

    async def follow(self) -> None:
        """Take up each change of ``tollkeeper.yaml`` that the roles do not take up themselves."""
        await follow_configuration(self.settings, self.envoy_settings, self.bootstrap, self._report)

    async def _watch(self, part: Part, on_restart: Callable[[str], None]) -> None:
        while True:
            ended = await part.wait()
            await asyncio.sleep(RESTART_PAUSE_S)
            if part.name in self._left_alone or part.running:
                continue
            self._report(f"{ended}; starting it again")
            await self._start_again(part)
            on_restart(part.name)

    async def _start_again(self, part: Part) -> None:
        for attempt in range(1, RESTART_TRIES + 1):
            try:
                await part.start()
            except PartFailed as error:
                if attempt == RESTART_TRIES:
                    raise TollkeeperError(str(error)) from error
                self._report(f"{part.name} did not start; once more")
                await asyncio.sleep(RESTART_PAUSE_S * 2**attempt)
            else:
                self.write_stack_file()
                return

    @contextmanager
    def left_alone(self, name: str) -> Iterator[Part]:
        """A part that :meth:`watch` does not start anew meanwhile: its caller stops and starts
        it."""
        self._left_alone.add(name)
        try:
            yield self.parts[name]
        finally:
            self._left_alone.discard(name)


def stack_file(home: Path) -> Path:
    """Where a running stack of that data directory describes itself."""
    return home / STACK_FILE
