"""A front door over stores in memory, a clock that the test moves, and checks to bring to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from billing.catalog import Catalog, Credential, Posture, PriceBook, PriceVersion, Route
from billing.errors import StoreUnavailable
from billing.fullness import Fullness
from billing.keys import generate_key, hash_key
from billing.meters.compute_units import ComputeUnitTariff
from billing.meters.duration import DurationTariff
from billing.meters.flat import FlatTariff
from billing.meters.reported import ReportedTariff
from billing.meters.tokens import ModelPrice, TokenRates, TokenTariff
from billing.meters.values import Tariff
from billing.money import NANOS_PER_CREDIT
from billing.plans import Limits, Plan
from billing.reservations import Admission, Admitted, Hold, JournalRow, Short, Truth, Undecided
from billing.stores.memory import MemoryHotStore, MemoryPrincipalStore
from billing.stores.protocol import Absent, Change
from billing.subscriptions import Principal, Subscription
from billing.ticket import Ticket, TicketSeal
from envoyapi.auth_v3_pb2 import CheckRequest, CheckResponse
from extauthz.counts import CheckCounts, DirectoryCounts
from extauthz.directory import Directory
from extauthz.door import Door
from extauthz.handler import CheckHandler
from extauthz.limits import CheckLimits, DirectoryLimits

NOW_S = 1_800_000_000
DAY_S = 86_400
EPOCH = 1
LISTENING = Change("lost", detail="back")
CREDIT = NANOS_PER_CREDIT
LIFTED = "envoy.filters.http.json_to_metadata"
RPC_CALL = '{"jsonrpc":"2.0","id":7,"method":"eth_blockNumber","params":[]}'

TARIFFS: Mapping[str, Tariff] = {
    "chat": TokenTariff(
        {
            "small": ModelPrice(
                max_output_tokens=1000,
                own=TokenRates(input_nanos_per_mtok=10**9, output_nanos_per_mtok=10**9),
            )
        }
    ),
    "ethereum": ComputeUnitTariff(
        methods={"eth_blockNumber": 1000, "eth_call": 1500}, nanos_per_cu=CREDIT
    ),
    "tool": DurationTariff(),
    "reported": ReportedTariff(typical_nanos=CREDIT, max_nanos=2 * CREDIT),
    "ping": FlatTariff(nanos_per_request=CREDIT),
}

ROUTES = (
    Route(
        "chat",
        "up",
        "llm",
        "tokens",
        "chat",
        credential=Credential("authorization", "Bearer provider-secret"),
    ),
    Route("ethereum", "up", "rpc", "compute_units", "ethereum", shape="jsonrpc", needs_body=True),
    Route("tool", "up", "tools", "duration", "tool"),
    Route("reported", "up", "llm", "reported", "reported"),
    Route("ping", "up", "llm", "flat", "ping", credential=Credential("x-provider", "secret")),
    Route("rpc_ping", "up", "rpc", "flat", "ping", shape="jsonrpc", needs_body=True),
    Route("closed", "up", "llm", "flat", "ping", postgres_posture="closed"),
    Route("recorded", "up", "llm", "flat", "ping", spool_posture="closed"),
    Route("unpriced", "up", "llm", "flat", "no such tariff"),
    Route("account", "admin", "llm", "flat", "", charged=False),
)


class Clock:
    """Stands still until it is moved; serves as wall clock and as one that never goes back."""

    def __init__(self) -> None:
        self.now_s = float(NOW_S)

    def __call__(self) -> float:
        return self.now_s

    def forward(self, seconds: float) -> None:
        self.now_s += seconds


class Fill:
    """The word of the only settler, as the test says."""

    def __init__(self) -> None:
        self.full = False

    async def say(self, settler: str, *, full: bool, for_s: float) -> None:  # noqa: ARG002
        self.full = full

    async def say_full(self, for_s: float) -> None:
        await self.say("one", full=for_s > 0, for_s=for_s)

    async def is_full(self) -> bool:
        return self.full


class Unleased:
    """A reserver without leases."""

    def draw(self, hold: Hold, row: JournalRow) -> Admitted | None:  # noqa: ARG002
        return None


class HotReserver(Unleased):
    """Reserves in the hot copy in memory, of accounts whose balances the test sets."""

    def __init__(self, hot: MemoryHotStore) -> None:
        self.hot = hot
        self.balances_nanos: dict[str, int] = {}
        self.rows: list[JournalRow] = []

    async def reserve(self, hold: Hold, row: JournalRow, posture: Posture) -> Admission:
        """Admit or not; an account that is not in the hot copy yet is put there."""
        try:
            answer = await self._ask(hold)
        except StoreUnavailable:
            return Undecided(f"the hot copy is away, the posture is {posture}")
        if isinstance(answer, Admitted):
            self.rows.append(row)
        return answer

    async def _ask(self, hold: Hold) -> Admitted | Short:
        (answer,) = await self.hot.admit(EPOCH, [hold])
        if isinstance(answer, Absent):
            account_id = hold.account_id
            truth = Truth(account_id, self.balances_nanos.get(account_id, 0), 0, 1, (), ())
            await self.hot.load(EPOCH, [(answer.token, truth)])
            (answer,) = await self.hot.admit(EPOCH, [hold])
        assert not isinstance(answer, Absent)
        return answer


def make_catalog(
    routes: Sequence[Route] = ROUTES,
    limits: Limits | None = None,
    tariffs: Mapping[str, Tariff] = TARIFFS,
    **more: Any,
) -> Catalog:
    """Everything for sale; ``limits`` are those of the plan ``bounded``."""
    plans = {
        "unlimited": Plan("unlimited", "month", Limits(), {}),
        "bounded": Plan("bounded", "month", limits or Limits(), {}),
    }
    book = PriceBook([PriceVersion("2027-01", 0, tariffs, "digest")])
    return Catalog({route.name: route for route in routes}, plans, book, **more)


@dataclass
class FrontDoor:
    """One worker's door, and what it stands on."""

    clock: Clock
    store: MemoryPrincipalStore
    reserver: HotReserver
    door: Door
    handler: CheckHandler
    counts: CheckCounts
    directory_counts: DirectoryCounts
    seal: TicketSeal
    fill: Fill
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def customer(
        self, *, plan: str = "unlimited", balance_nanos: int = 1000 * CREDIT, **changes: Any
    ) -> str:
        """A new account with subscriptions to all profiles; its key. ``changes`` are of the
        principal."""
        number = next(self.numbers)
        key = make_key(number)
        principal = replace(make_principal(number, plan), **changes)
        self.reserver.balances_nanos[principal.account_id] = balance_nanos
        self.store.put(hash_key(key), principal)
        return key

    async def check(self, wire: bytes) -> CheckResponse:
        """Bring a check to the door."""
        return CheckResponse.FromString(await self.handler.check(wire))

    async def refusal(self, wire: bytes) -> Answer:
        """Bring a check that is to be refused."""
        return Answer.of(await self.check(wire))

    def ticket(self, response: CheckResponse) -> Ticket:
        """The ticket of an allowed check, opened."""
        opened = self.seal.open(response.dynamic_metadata.fields["ticket"].string_value)
        assert isinstance(opened, Ticket), opened
        return opened


@dataclass(frozen=True)
class Answer:
    """A refusal as the client sees it."""

    status: int
    headers: dict[str, str]
    body: Any

    @classmethod
    def of(cls, response: CheckResponse) -> Answer:
        assert response.WhichOneof("http_response") == "denied_response", response
        assert response.status.code != 0
        denied = response.denied_response
        headers = {option.header.key: option.header.value for option in denied.headers}
        return cls(int(denied.status.code), headers, json.loads(denied.body))

    @property
    def error(self) -> dict[str, Any]:
        """The error object of ours, whatever shape it came in."""
        if "error" in self.body and "jsonrpc" not in self.body:
            found: dict[str, Any] = self.body["error"]
            return found
        assert self.body["jsonrpc"] == "2.0"
        rpc = self.body["error"]
        return {"message": rpc["message"], **rpc["data"]}


def make_front_door(
    catalog: Catalog | None = None,
    directory_limits: DirectoryLimits | None = None,
    check_limits: CheckLimits | None = None,
) -> FrontDoor:
    """A door whose directory hears of changes."""
    clock, store, counts = Clock(), MemoryPrincipalStore(), DirectoryCounts()
    directory = Directory(store, directory_limits or DirectoryLimits(), counts, clock)
    directory.tell(LISTENING)
    tokens, ids = itertools.count(1), itertools.count(1)
    seal = TicketSeal([b"the secret of this installation"])
    limits = check_limits or CheckLimits()
    fill = Fill()
    fullness = Fullness(fill, clock, lambda _: None, CollectorRegistry())
    reserver = HotReserver(MemoryHotStore(clock, lambda: str(next(tokens))))
    door = Door(
        catalog=catalog or make_catalog(),
        directory=directory,
        reserver=reserver,
        seal=seal,
        now_s=clock,
        new_id=lambda: str(UUID(int=next(ids))),
        limits=limits,
        fullness=fullness,
    )
    checks = CheckCounts()
    handler = CheckHandler(door, limits, checks, clock)
    return FrontDoor(clock, store, reserver, door, handler, checks, counts, seal, fill)


def make_key(number: int) -> str:
    """The well-formed key of that number."""
    digits = iter(f"{number:032d}")
    return generate_key(lambda _: next(digits))


def make_principal(number: int, plan: str = "unlimited") -> Principal:
    """An active key of an active account, subscribed to every profile."""
    return Principal(
        key_id=str(UUID(int=number)),
        key_status="active",
        key_expires_s=None,
        scopes=frozenset(),
        account_id=str(UUID(int=2**64 + number)),
        account_status="active",
        tier="standard",
        subscriptions={profile: subscribe(profile, plan) for profile in ("llm", "rpc", "tools")},
    )


def subscribe(profile: str, plan: str = "unlimited", **changes: Any) -> Subscription:
    """A live subscription, whose period began yesterday."""
    made = Subscription(
        profile, plan, "active", None, None, None, NOW_S - DAY_S, NOW_S + 29 * DAY_S
    )
    return replace(made, **changes)


def envoy_check(
    route: str,
    key: str | None = None,
    *,
    path: str = "/",
    headers: Mapping[str, str] | None = None,
    body: str | bytes = "",
    lifted: Mapping[str, Any] | None = None,
    size_bytes: int = 0,
) -> bytes:
    """A check as Envoy sends it: pseudo-headers, lower-cased names, joined values."""
    request = CheckRequest()
    attributes = request.attributes
    http = attributes.request.http
    http.method, http.path, http.size = "POST", path, size_bytes
    http.headers.update({":path": path, ":method": "POST", "x-request-id": "envoy-1"})
    if key is not None:
        http.headers["authorization"] = f"Bearer {key}"
    http.headers.update(headers or {})
    if isinstance(body, bytes):
        http.raw_body = body
    else:
        http.body = body
    attributes.context_extensions["tollkeeper.route"] = route
    if lifted is not None:
        attributes.metadata_context.filter_metadata[LIFTED].update(lifted)
    return request.SerializeToString()
