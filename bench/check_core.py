"""How long one check takes inside one process: microseconds of CPU, nothing sent anywhere.

    python bench/check_core.py [--checks N] [--keys N] [--profile]

The request is a serialised ``CheckRequest`` as Envoy sends it, the answer a serialised
``CheckResponse``; between them everything is real but the reserver, which admits from an integer.
With ``--keys`` the directory holds that many keys, and their memory is reported as well.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import psutil
import uuid_utils
import uvloop

from billing.catalog import Catalog, Credential, Posture, PriceBook, PriceVersion, Route
from billing.keys import generate_key, hash_key
from billing.meters.compute_units import ComputeUnitTariff
from billing.meters.flat import FlatTariff
from billing.meters.tokens import ModelPrice, TokenRates, TokenTariff
from billing.money import MAX_NANOS, NANOS_PER_CREDIT
from billing.plans import Limits, Plan
from billing.reservations import Admission, Admitted, Hold, JournalRow
from billing.stores.memory import MemoryPrincipalStore
from billing.stores.protocol import Change, PrincipalStore
from billing.subscriptions import Principal, Subscription
from billing.ticket import TicketSeal
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from extauthz.counts import CheckCounts, DirectoryCounts
from extauthz.directory import Directory
from extauthz.door import Door
from extauthz.handler import CheckHandler
from extauthz.limits import CheckLimits, DirectoryLimits

LISTENING = Change("lost", detail="back")
DAY_S = 86_400


class Purse:
    """A reserver of one integer."""

    def __init__(self) -> None:
        self._left_nanos = MAX_NANOS

    def draw(self, hold: Hold, row: JournalRow) -> Admitted:  # noqa: ARG002
        """Admit, as from a lease."""
        self._left_nanos -= hold.amount_nanos
        return Admitted(self._left_nanos)

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:  # noqa: ARG002
        """The same, for a key that had to be looked up."""
        return self.draw(hold, row)


@dataclass(frozen=True)
class Result:
    """One kind of check: microseconds of CPU each, and bytes of request and answer."""

    name: str
    median_us: float
    spread_us: float
    request_bytes: int
    answer_bytes: int


def catalog() -> Catalog:
    """One route of three meters, under a plan without limits and one with all of them."""
    tariffs = {
        "tokens": TokenTariff(
            {
                "gpt-4o-mini": ModelPrice(
                    max_output_tokens=16_384,
                    own=TokenRates(
                        input_nanos_per_mtok=150_000_000, output_nanos_per_mtok=600_000_000
                    ),
                )
            }
        ),
        "compute_units": ComputeUnitTariff(methods={"eth_blockNumber": 1000}, nanos_per_cu=50_000),
        "flat": FlatTariff(nanos_per_request=NANOS_PER_CREDIT),
    }
    credential = Credential("authorization", "Bearer provider-credential-of-the-platform")
    routes = {
        "chat": Route("chat", "up", "llm", "tokens", "tokens", credential=credential),
        "ethereum": Route(
            "ethereum",
            "up",
            "llm",
            "compute_units",
            "compute_units",
            shape="jsonrpc",
            needs_body=True,
        ),
        "ping": Route("ping", "up", "llm", "flat", "flat"),
    }
    limits = Limits(
        requests_per_second=50,
        burst=100,
        max_in_flight=1000,
        units_per_period=10**12,
        spend_per_period_nanos=10**15,
        spend_per_day_nanos=10**14,
    )
    plans = {
        "unlimited": Plan("unlimited", "month", Limits(), {}),
        "bounded": Plan("bounded", "month", limits, {}),
    }
    return Catalog(routes, plans, PriceBook([PriceVersion("1", 0, tariffs, "")]))


def principal(plan: str, now_s: int) -> Principal:
    """A customer with one subscription."""
    subscription = Subscription(
        "llm", plan, "active", None, None, None, now_s - DAY_S, now_s + 30 * DAY_S
    )
    key_id, account_id = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    return Principal(
        key_id,
        "active",
        None,
        frozenset(),
        account_id,
        "active",
        "standard",
        {"llm": subscription},
    )


def envoy_request(route: str, key: str) -> CheckRequest:
    """What Envoy 1.39 sends for a request of a small client."""
    request = CheckRequest()
    attributes = request.attributes
    http = attributes.request.http
    http.id, http.method, http.protocol = "1783607200714287585", "POST", "HTTP/1.1"
    http.host, http.scheme, http.path, http.size = "127.0.0.1:10000", "http", "/v1/chat", 109
    headers = {
        ":authority": http.host,
        ":method": "POST",
        ":path": http.path,
        ":scheme": "http",
        "accept": "*/*",
        "authorization": f"Bearer {key}",
        "content-length": "109",
        "content-type": "application/json",
        "user-agent": "curl/7.88.1",
        "x-forwarded-proto": "http",
        "x-request-id": "5275283d-8399-44b7-b47a-0e066de9c389",
    }
    http.headers.update(headers)
    for peer, port in ((attributes.source, 52008), (attributes.destination, 10000)):
        peer.address.socket_address.address = "127.0.0.1"
        peer.address.socket_address.port_value = port
    attributes.context_extensions["tollkeeper.route"] = route
    if route == "chat":
        lifted = attributes.metadata_context.filter_metadata["envoy.filters.http.json_to_metadata"]
        lifted.update({"model": "gpt-4o-mini", "max_tokens": 100, "stream": True})
    if route == "ethereum":
        http.body = '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}'
    return request


def make_handler(store: PrincipalStore, limits: DirectoryLimits) -> tuple[CheckHandler, Directory]:
    """A door with everything real but the reserver."""
    directory = Directory(store, limits, DirectoryCounts(), time.monotonic)
    directory.tell(LISTENING)
    door = Door(
        catalog=catalog(),
        directory=directory,
        reserver=Purse(),
        seal=TicketSeal([b"benchmark-secret-of-32-bytes-....."]),
        now_s=time.time,
        new_id=lambda: str(uuid_utils.uuid7()),
        limits=CheckLimits(),
    )
    return CheckHandler(door, CheckLimits(), CheckCounts(), time.perf_counter), directory


async def time_checks(
    name: str, handler: CheckHandler, next_wire: Callable[[], bytes], checks: int
) -> Result:
    """Median of seven rounds."""
    wire = next_wire()
    answer = CheckResponse.FromString(await handler.check(wire))
    assert answer.HasField("ok_response"), answer
    rounds = []
    for _ in range(7):
        began_s = time.process_time()
        for _ in range(checks):
            await handler.check(next_wire())
        rounds.append((time.process_time() - began_s) / checks * 1e6)
    spread = max(rounds) - min(rounds)
    return Result(
        name, statistics.median(rounds), spread, len(wire), len(answer.SerializeToString())
    )


async def few_keys(checks: int) -> list[Result]:
    """Every meter, under both plans, with one key."""
    store, now_s = MemoryPrincipalStore(), int(time.time())
    handler, _ = make_handler(store, DirectoryLimits())
    results = []
    for plan in ("unlimited", "bounded"):
        key = generate_key(random.choice)
        store.put(hash_key(key), principal(plan, now_s))
        for route in ("ping", "chat", "ethereum"):
            wire = envoy_request(route, key).SerializeToString()
            result = await time_checks(f"{route}, {plan}", handler, lambda w=wire: w, checks)
            results.append(result)
    refused = envoy_request("ping", "tk_no_key").SerializeToString()
    began_s = time.process_time()
    for _ in range(checks):
        await handler.check(refused)
    took_us = (time.process_time() - began_s) / checks * 1e6
    results.append(Result("malformed key, refused", took_us, 0, len(refused), 0))
    return results


class Issuer:
    """A store that makes up a principal for each key that it is asked for, and keeps none."""

    def __init__(self) -> None:
        self._now_s = int(time.time())

    async def find(self, key_hashes: Sequence[bytes]) -> Mapping[bytes, Principal]:
        """A new principal for each."""
        return {key_hash: principal("bounded", self._now_s) for key_hash in key_hashes}

    def changes(self) -> AsyncIterator[Change]:
        """Nothing ever changes, and nobody asks."""
        raise NotImplementedError


async def many_keys(count: int, checks: int) -> tuple[list[Result], float]:
    """Even and Zipf-like use of many keys, and the directory's memory in MiB."""
    handler, directory = make_handler(Issuer(), DirectoryLimits(max_known=count * 2))
    every = max(1, count // 20_000)
    keys: list[str] = []
    gc.collect()
    before = psutil.Process().memory_info().rss
    for start in range(0, count, 500):
        batch = [generate_key(random.choice) for _ in range(min(500, count - start))]
        await asyncio.gather(*(directory.find(hash_key(key)) for key in batch))
        keys += batch[::every]
    gc.collect()
    memory_mib = (psutil.Process().memory_info().rss - before) / 2**20
    wires = [envoy_request("ping", key).SerializeToString() for key in keys]
    zipf = random.choices(wires, [1 / rank for rank in range(1, len(wires) + 1)], k=len(wires))
    results = []
    for name, order in (("evenly", wires), ("zipf", zipf)):
        turn = cycle(order)
        results.append(
            await time_checks(f"ping, {count} keys, {name}", handler, turn.__next__, checks)
        )
    return results, memory_mib


def show(results: list[Result]) -> None:
    """A table."""
    for result in results:
        print(
            f"{result.name:32} {result.median_us:7.2f} us  +-{result.spread_us / 2:5.2f}"
            f"  {result.request_bytes:5} B in {result.answer_bytes:5} B out"
        )


async def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=20_000)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    results = await few_keys(options.checks)
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
    memory_mib = None
    if options.keys:
        more, memory_mib = await many_keys(options.keys, options.checks)
        results += more
    if options.json:
        rows = [vars(result) for result in results]
        print(json.dumps({"checks": rows, "directory_mib": memory_mib}, indent=2))
        return
    show(results)
    if memory_mib is not None:
        print(f"{'directory':32} {memory_mib:7.0f} MiB for {options.keys} keys")


if __name__ == "__main__":
    uvloop.run(main())
