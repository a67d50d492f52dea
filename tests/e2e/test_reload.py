"""A changed ``tollkeeper.yaml`` is taken up by running roles; one that is broken is refused."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from tests.e2e.ledger_reading import Books, Paid, open_books
from tests.e2e.stage import CREDIT, PING, Stage, new_stage
from tollkeeper.stack import StackOptions

CHANGES = "/flat/ping"
ASKED: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "hi"}],
}
SOON_S = 10.0
Document = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A stack of this module's own, whose configuration may change."""
    found = new_stage(tmp_path_factory.mktemp("reload"), StackOptions(authz_workers=2))
    async with found.stack:
        yield found


@pytest_asyncio.fixture
async def own_books(own: Stage) -> AsyncIterator[Books]:
    """Its ledger."""
    async with open_books(own.stack.settings) as found:
        yield found


@asynccontextmanager
async def followed(stage: Stage) -> AsyncIterator[None]:
    """The stack follows its configuration, as it does under ``make up``."""
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(stage.stack.follow())
        await asyncio.sleep(0)
        yield
        following.cancel()


def health_pages(stage: Stage) -> list[str]:
    """Every process that has the catalog: both workers of the front door, and the back door."""
    settings = stage.stack.settings
    return [*map(str, settings.authz_metrics_addresses), str(settings.accesslog_metrics_listen)]


async def reloads(stage: Stage, result: str) -> list[int]:
    name = "tollkeeper_config_reloads_total"
    return [await stage.count(page, name, result=result) for page in health_pages(stage)]


async def readiness(stage: Stage) -> list[tuple[int, str]]:
    async with httpx.AsyncClient() as client:
        pages = [await client.get(f"http://{page}/readyz") for page in health_pages(stage)]
    return [(page.status_code, page.json()["config"]) for page in pages]


async def rewrite(stage: Stage, text: str, result: str) -> None:
    """Replace the file as editors do, and wait until every process has judged it."""
    path = stage.stack.settings.config_file
    before = await reloads(stage, result)
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(path)
    deadline_s = time.monotonic() + SOON_S
    while any(n <= o for n, o in zip(await reloads(stage, result), before, strict=True)):
        assert time.monotonic() < deadline_s, f"not every process has {result} the file"
        await asyncio.sleep(0.02)


def written(document: Document, folder_of: Stage) -> str:
    path = folder_of.stack.settings.config_file.with_suffix(".made")
    YAML().dump(document, path)
    return path.read_text()


@contextmanager
def changeable(stage: Stage) -> Iterator[Document]:
    """The configuration as it is, to be changed."""
    yield YAML().load(stage.stack.settings.config_file.read_text())


async def change(stage: Stage, how: Callable[[Document], None], result: str = "taken") -> None:
    with changeable(stage) as document:
        how(document)
        await rewrite(stage, written(document, stage), result)


@asynccontextmanager
async def uninterrupted(stage: Stage, books: Books) -> AsyncIterator[None]:
    """Requests one after the other, meanwhile: each is answered, and paid for."""
    customer = await stage.customer(10_000 * CREDIT)
    codes: list[int] = []
    done = asyncio.Event()

    async def keep_asking() -> None:
        async with stage.client(customer) as client:
            while not done.is_set():
                codes.append((await client.get(CHANGES)).status_code)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_asking())
        try:
            yield
        finally:
            done.set()
    assert len(codes) > 10
    assert set(codes) == {200}
    reading = await books.settled(customer, len(codes))
    assert len(reading.events) == len(codes)


async def test_a_plan_with_another_limit(own: Stage, own_books: Books) -> None:
    """A rate that is taken away holds nobody from then on; others are served all the while."""
    customer = await own.customer(100 * CREDIT, plan="paced")
    async with own.client(customer) as client, uninterrupted(own, own_books):
        before = [(await client.get(CHANGES)).status_code for _ in range(6)]
        await change(own, lambda document: document["plans"].update({"paced": {}}))
        after = [(await client.get(CHANGES)).status_code for _ in range(20)]
    assert 429 in before
    assert set(after) == {200}


async def test_a_new_price_version(own: Stage, own_books: Books) -> None:
    """From its time on a ping costs two credits; those before stay at one, and both are settled."""
    customer = await own.customer(100 * CREDIT)

    def add_version(document: Document) -> None:
        version = copy.deepcopy(document["prices"][0])
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        version.update({"version": "two-credits", "effective_from": now})
        version["tariffs"]["ping"]["usd_per_request"] = 0.002
        document["prices"].append(version)

    async with own.client(customer) as client:
        first = await client.get(CHANGES)
        await change(own, add_version)
        second = await client.get(CHANGES)
        assert await applied_by(own_books, "two-credits")
    assert (first.headers["x-credits-reserved"], second.headers["x-credits-reserved"]) == (
        "1.000000",
        "2.000000",
    )
    paid = [Paid("ping", CREDIT, 1), Paid("ping", 2 * CREDIT, 1)]
    await own_books.expect(customer, 100 * CREDIT, *paid)


async def applied_by(books: Books, version: str) -> str:
    """Who recorded a price version, once somebody has."""
    sql = "SELECT applied_by FROM price_versions WHERE version = $1"
    deadline_s = time.monotonic() + SOON_S
    while (found := await books.pool.fetchval(sql, version)) is None:
        assert time.monotonic() < deadline_s, "nothing was recorded"
        await asyncio.sleep(0.02)
    return str(found)


async def test_a_new_route(own: Stage, own_books: Books) -> None:
    """Roles know it at once; Envoy serves it once it runs over the bootstrap that was rendered."""
    customer = await own.customer(100 * CREDIT)
    fresh = PING | {"match": {"method": "GET", "path": "/fresh/ping"}}
    deadline_s = time.monotonic() + SOON_S
    async with followed(own):
        await change(own, lambda document: document["routes"].update({"fresh": fresh}))
        while "/fresh/ping" not in own.stack.bootstrap.read_text():
            assert time.monotonic() < deadline_s, "nothing was rendered"
            await asyncio.sleep(0.02)
    async with own.client(customer) as client:
        assert (await client.get("/fresh/ping")).status_code == 404
        envoy = own.stack.parts["envoy"]
        await envoy.stop()
        await envoy.start()
        while (answer := await client.get("/fresh/ping")).status_code == 503:
            assert time.monotonic() < deadline_s + SOON_S, "Envoy does not find its services"
            await asyncio.sleep(0.05)
    assert answer.status_code == 200
    reading = await own_books.settled(customer, 1)
    assert [event["route"] for event in reading.events] == ["fresh"]


async def test_a_broken_file_is_refused(own: Stage, own_books: Books) -> None:
    """The old one goes on serving; readiness tells the line, a metric rises, until it is mended."""
    good = own.stack.settings.config_file.read_text()
    async with uninterrupted(own, own_books):
        await rewrite(own, good.replace("  tool:\n", "  tool:\n    surprise: 1\n", 1), "refused")
        for status, said in await readiness(own):
            assert status == 200  # it serves: a balancer must not take it away
            assert said.startswith("an older configuration is in force: ")
            assert "surprise" in said
        stale = [await own.count(page, "tollkeeper_config_refused") for page in health_pages(own)]
        assert stale == [1, 1, 1]
        await rewrite(own, good, "taken")
    assert await readiness(own) == [(200, "ok")] * 3
    assert [await own.count(page, "tollkeeper_config_refused") for page in health_pages(own)] == [
        0,
        0,
        0,
    ]


async def test_a_price_version_is_never_edited(own: Stage, own_books: Books) -> None:
    """A file with another price under a known version is refused by name, and charges nobody."""
    good = own.stack.settings.config_file.read_text()
    version = YAML().load(good)["prices"][-1]["version"]

    def cheat(document: Document) -> None:
        document["prices"][-1]["tariffs"]["ping"]["usd_per_request"] = 0.5

    await change(own, cheat, "refused")
    for _, said in await readiness(own):
        assert f"price version {version} was changed" in said
    customer = await own.customer(100 * CREDIT)
    async with own.client(customer) as client:
        answer = await client.get(CHANGES)
    assert float(answer.headers["x-credits-reserved"]) <= 2.0
    await rewrite(own, good, "taken")
    assert (await own_books.settled(customer, 1)).events[0]["price_nanos"] <= 2 * CREDIT


async def test_a_route_that_goes_while_a_request_is_under_way(own: Stage, own_books: Books) -> None:
    """It settles at the route's price and by its usage; nobody is admitted by the route any more,
    and the settler knows it until nothing of it can be waiting."""
    customer = await own.customer(100 * CREDIT)
    slow = {"x-example-delay-ms": "3000", "x-example-tokens": "32"}
    async with own.client(customer) as client:
        under_way = asyncio.create_task(client.post("/quoted/chat", json=ASKED, headers=slow))
        await own_books.journaled(customer, pending=1)
        await change(own, lambda document: document["routes"].pop("quoted_chat"))
        assert not under_way.done()
        refused = await client.post("/quoted/chat", json=ASKED)
        answer = await under_way
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "unknown_route")
    usage = answer.json()["usage"]
    cost = usage["prompt_tokens"] * 150 + usage["completion_tokens"] * 600
    units = usage["prompt_tokens"] + usage["completion_tokens"]
    await own_books.expect(customer, 100 * CREDIT, Paid("quoted_chat", 2 * cost, units, cost))
