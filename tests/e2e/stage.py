"""A running stack with what the stories need around it: the example's routes and some more.

The further routes and plans are there for what the example has no room for: short deadlines, an
upstream that nobody serves, a lifetime of two seconds, limits that are reached at once.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from billing.accounts import IssuedKey
from billing.stores.postgres_audit import Actor
from devstack import free_port
from tollkeeper.operations.desk import Act, open_desk
from tollkeeper.settings import load_settings
from tollkeeper.stack import Stack, StackOptions
from tollkeeper.stack.customers import ALL_PROFILES, Customer, open_customer

ROOT = Path(__file__).resolve().parents[2]
CREDIT = 1_000_000
"""Nano-USD; also the price of one ping."""

OPERATOR = Actor("stories", "cli")
ANSWER_TIMEOUT_S = 30.0

LLM = {"upstream": "example", "profile": "llm"}
CHAT = LLM | {"meter": "tokens", "tariff": "chat", "rewrite": "/v1/chat/completions"}
PING = LLM | {"meter": "flat", "tariff": "ping", "rewrite": "/flat/ping"}

ROUTES: dict[str, dict[str, Any]] = {
    "hasty_chat": CHAT | {"match": {"method": "POST", "path": "/hasty/chat"}, "timeout_s": 1},
    "hasty_ping": PING | {"match": {"method": "GET", "path": "/hasty/ping"}, "timeout_s": 1},
    "long_chat": CHAT | {"match": {"method": "POST", "path": "/long/chat"}, "lifetime_s": 2},
    "counted_chat": CHAT
    | {"match": {"method": "POST", "path": "/counted/chat"}, "token_limit": {"domain": "few"}},
    "quoted_chat": CHAT
    | {"match": {"method": "POST", "path": "/quoted/chat"}, "missing_usage": "charge_quote"},
    "strict_chat": CHAT
    | {"match": {"method": "POST", "path": "/strict/chat"}, "stream_usage": "require"},
    "nowhere": PING | {"match": {"method": "GET", "path": "/nowhere"}, "upstream": "nowhere"},
    "inline_ping": PING | {"match": {"method": "GET", "path": "/inline"}, "ratelimit": "inline"},
    "self": {
        "match": {"method": "GET", "path": "/self"},
        "upstream": "example",
        "profile": "llm",
        "charged": False,
        "rewrite": "/flat/ping",
    },
}
BRISK_RPS, BRISK_BURST = 80, 120
PLANS: dict[str, dict[str, Any]] = {
    "paced": {"limits": {"requests_per_second": 1, "burst": 3}},
    "brisk": {"limits": {"requests_per_second": BRISK_RPS, "burst": BRISK_BURST}},
    "single_file": {"limits": {"max_in_flight": 1}},
    "ten_units": {"limits": {"units_per_period": 10}},
    "two_credits_a_day": {"limits": {"spend_per_day_usd": "0.002"}},
    "half_credit_requests": {"limits": {"max_request_usd": "0.0005"}},
}
SHADOW_RULE = {
    "key": "shadowed",
    "shadow_mode": True,
    "rate_limit": {"unit": "hour", "requests_per_unit": 1},
}


@dataclass
class Stage:
    """One stack; ``keys`` are all that were ever handed out, which no log may hold."""

    stack: Stack
    keys: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def customer(
        self,
        balance_nanos: int,
        *,
        plan: str = "unlimited",
        profiles: Sequence[str] = ALL_PROFILES,
    ) -> Customer:
        """A customer of the test's own."""
        dsn = self.stack.settings.require_postgres_dsn()
        name = f"customer {next(self._numbers)}"
        customer = await open_customer(dsn, name, balance_nanos, plan=plan, profiles=profiles)
        self.keys.append(customer.key)
        return customer

    @asynccontextmanager
    async def act(self) -> AsyncIterator[Act]:
        """One transaction of an operator; every worker hears of it within a second."""
        dsn = self.stack.settings.require_postgres_dsn()
        async with open_desk(dsn) as desk, desk.act(OPERATOR, "a story") as act:
            yield act

    def remembered(self, issued: IssuedKey) -> dict[str, str]:
        """The headers of a further key, which no log may hold either."""
        self.keys.append(issued.key)
        return {"authorization": f"Bearer {issued.key}"}

    def client(self, customer: Customer | None = None) -> httpx.AsyncClient:
        """An HTTP client at the gateway, with the customer's key in its headers."""
        client = self.stack.client(ANSWER_TIMEOUT_S, None)
        client.headers.update({} if customer is None else customer.headers)
        return client

    async def authz_counts(self, name: str, **labels: str) -> list[int]:
        """A counter of the front door, one number for each worker."""
        pages = self.stack.settings.authz_metrics_addresses
        return [await self.count(str(page), name, **labels) for page in pages]

    async def count(self, page: str, name: str, **labels: str) -> int:
        """The sum of a counter's samples with these labels on one metrics page."""
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{page}/metrics")).raise_for_status().text
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


class Upstream:
    """The example upstream, asked directly: what it saw, and how it is to answer."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def seen(self, path: str) -> dict[str, int]:
        """Its counts for a path since the last reset; empty when nothing came."""
        counts: dict[str, int] = (await self._seen())["routes"].get(path, {})
        return counts

    async def received(self, path: str) -> int:
        """How many requests came for a path since the last reset."""
        return (await self.seen(path)).get("received", 0)

    async def last(self, path: str) -> tuple[str, dict[str, str]]:
        """Target and headers of the last request for a path."""
        last = (await self._seen())["last"][path]
        return last["target"], last["headers"]

    async def behave(self, path: str, times: int = 1, **how: Any) -> None:
        """Tell how the next answers of a path misbehave."""
        told = {"path": path, "times": times, **how}
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self._url}/_behave", json=told)).raise_for_status()

    async def reset(self) -> None:
        """Forget counts and instructions."""
        async with httpx.AsyncClient() as client:
            (await client.post(f"{self._url}/_reset")).raise_for_status()

    async def _seen(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            found: dict[str, Any] = (await client.get(f"{self._url}/_seen")).json()
        return found


def new_stage(folder: Path, options: StackOptions) -> Stage:
    """A stack that is not started yet, over the example and the further routes."""
    config_file = write_configuration(folder)
    base = load_settings(home=folder / "home", config_file=config_file)
    return Stage(Stack(base, options))


def write_configuration(folder: Path) -> Path:
    """``tollkeeper.yaml`` and its rate limits in a folder of the test's own."""
    yaml = YAML()
    config = yaml.load((ROOT / "tollkeeper.yaml").read_text())
    config["gateway"]["stream_log_interval_s"] = 1
    config["upstreams"]["nowhere"] = {"url": f"http://127.0.0.1:{free_port()}"}
    config["routes"].update(ROUTES)
    config["plans"].update(PLANS)
    _write_rules(yaml, folder / config["ratelimit"]["directory"])
    path = folder / "tollkeeper.yaml"
    yaml.dump(config, path)
    return path


def _write_rules(yaml: YAML, directory: Path) -> None:
    """The example's rules, one in shadow mode, and a domain with 1 000 tokens an hour."""
    shutil.copytree(ROOT / "ratelimit.d", directory)
    rules = yaml.load((directory / "tollkeeper.yaml").read_text())
    rules["descriptors"].append(SHADOW_RULE)
    yaml.dump(rules, directory / "tollkeeper.yaml")
    few = yaml.load((directory / "tokens.yaml").read_text())
    few["domain"] = "few"
    few["descriptors"][0]["rate_limit"].update({"requests_per_unit": 1_000, "unit": "hour"})
    yaml.dump(few, directory / "few.yaml")
