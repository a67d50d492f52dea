"""The front door as a process, over each of its transports, and clients that can
misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
import h2.config
import h2.connection
import h2.events

from billing.stores.postgres_audit import Actor
from devstack import free_port
from devstack.resp import ask
from envoyapi.auth_v3_pb2 import CheckResponse
from tollkeeper.config import load_config
from tollkeeper.operations.catalog import apply_catalog
from tollkeeper.operations.desk import open_desk
from tollkeeper.settings import load_settings
from tollkeeper.stack.customers import Customer, open_customer
from tollkeeper.stack.roles import RolePart
from tollkeeper.tls_files import ClientTls, ListenerTls

TRANSPORTS = ("grpc", "hosted", "direct")
SERVICE = "envoy.service.auth.v3.Authorization"
CHECK = f"/{SERVICE}/Check"
BALANCE_NANOS = 10**13
PATIENT_REDIS_MS = 3_000
"""Redis may be held up by a test without being taken for dead."""

RAW_TIMEOUT_S = 2.0

Headers = dict[str, str]


@dataclass
class Reply:
    """What came back over bare HTTP/2."""

    headers: Headers = field(default_factory=dict)
    trailers: Headers = field(default_factory=dict)
    body: bytes = b""

    @property
    def status(self) -> str:
        """``grpc-status``, wherever it stands."""
        return self.trailers.get("grpc-status") or self.headers.get("grpc-status", "")


@dataclass(frozen=True)
class Served:
    """One front door that serves, and a channel to it."""

    transport: str
    part: RolePart
    path: Path
    channel: grpc.aio.Channel

    def begin(
        self, wire: bytes, timeout_s: float = 10, *, path: str = CHECK, patient: bool = False
    ) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """A call under way; a patient one waits until somebody listens."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        return method(wire, timeout=timeout_s, wait_for_ready=patient)

    async def check(self, wire: bytes, timeout_s: float = 10) -> CheckResponse:
        """The answer to a check."""
        return CheckResponse.FromString(await self.begin(wire, timeout_s))

    async def raw(self, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Reply:
        """Send that body as a call of Check, whatever it is."""
        async with asyncio.timeout(RAW_TIMEOUT_S):
            return await _raw_call(self.path, body, headers)


@dataclass(frozen=True)
class Installation:
    """Postgres and Redis of one installation, with a customer."""

    env: dict[str, str]
    dsn: str
    redis_port: int
    customer: Customer

    async def hold_redis(self, time_ms: int) -> None:
        """Let every command to Redis wait for so long."""
        await ask(self.redis_port, "CLIENT", "PAUSE", str(time_ms), "ALL")

    async def journaled(self, served: Served, wire: bytes) -> int:
        """Make one check; returns how many reservations there are when it stands among them."""
        before = len(await self.seconds_left())
        await served.check(wire)
        await asyncio.sleep(0.3)  # three intervals of the journal
        count = len(await self.seconds_left())
        assert count > before
        return count

    async def seconds_left(self) -> list[float]:
        """How long each pending reservation still lives."""
        connection = await asyncpg.connect(self.dsn)
        try:
            rows = await connection.fetch(
                "SELECT extract(epoch FROM expires_at - now())::float8 AS left_s"
                " FROM reservations WHERE state = 'pending' ORDER BY id DESC"
            )
        finally:
            await connection.close()
        return [row["left_s"] for row in rows]


async def install(dsn: str, redis_url: str, redis_port: int) -> Installation:
    """Prices, plans and a customer of the example in that database."""
    variables = {
        "POSTGRES_DSN": dsn,
        "REDIS_URL": redis_url,
        "TICKET_SECRET": "a secret that only these tests know",
        "REDIS_DEADLINE_MS": str(PATIENT_REDIS_MS),
    }
    settings = load_settings(postgres_dsn=dsn, redis_url=redis_url)
    async with open_desk(dsn) as desk, desk.act(Actor("tests", "cli"), "apply") as act:
        await apply_catalog(act, load_config(settings.config_file, settings))
    customer = await open_customer(dsn, "transports", BALANCE_NANOS)
    env = {f"TOLLKEEPER_{name}": value for name, value in variables.items()}
    return Installation(
        {**env, "EXAMPLE_API_KEY": "upstream", "TOLLKEEPER_GATEWAY_SECRET": "gateway"},
        dsn,
        redis_port,
        customer,
    )


@asynccontextmanager
async def serving(
    installation: Installation, transport: str, home: Path, *, workers: int = 1
) -> AsyncIterator[Served]:
    """The front door by that transport, on a Unix socket (the first of a row with several)."""
    path, ready_port = home / "authz.sock", free_port()
    pages = ",".join(
        f"127.0.0.1:{p}" for p in (ready_port, *(free_port() for _ in range(1, workers)))
    )
    env = installation.env | {
        "TOLLKEEPER_HOME": str(home),
        "TOLLKEEPER_AUTHZ_LISTEN": f"unix:{path}",
        "TOLLKEEPER_AUTHZ_WORKERS": str(workers),
        "TOLLKEEPER_AUTHZ_METRICS_LISTEN": pages,
        "TOLLKEEPER_AUTHZ_TRANSPORT": transport,
    }
    first = path if workers == 1 else path.with_name(f"{path.name}.0")
    part = RolePart(
        f"authz-{transport}",
        home,
        ("tollkeeper.serve", "authz"),
        env,
        listen=f"unix:{first}",
        ready_url=f"http://127.0.0.1:{ready_port}/readyz",
    )
    async with part, grpc.aio.insecure_channel(f"unix:{first}", options=_OPTIONS) as channel:
        yield Served(transport, part, first, channel)


@asynccontextmanager
async def guarded(
    installation: Installation, transport: str, home: Path, tls: ListenerTls, client: ClientTls
) -> AsyncIterator[tuple[str, str]]:
    """The front door by that transport with TLS on both of its ports; its address, and the URL of
    its pages."""
    address, pages = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    env = installation.env | {
        "TOLLKEEPER_HOME": str(home),
        "TOLLKEEPER_AUTHZ_LISTEN": address,
        "TOLLKEEPER_AUTHZ_TLS": tls.model_dump_json(),
        "TOLLKEEPER_AUTHZ_METRICS_LISTEN": pages,
        "TOLLKEEPER_METRICS_TLS": tls.model_dump_json(),
        "TOLLKEEPER_AUTHZ_TRANSPORT": transport,
    }
    args, url = ("tollkeeper.serve", "authz"), f"https://{pages}"
    ready = f"{url}/readyz"
    async with RolePart("authz", home, args, env, listen=address, ready_url=ready, tls=client):
        yield address, url


_OPTIONS = (("grpc.max_send_message_length", 64 << 20),)


def frame(message: bytes, flags: int = 0, size_bytes: int | None = None) -> bytes:
    """A gRPC frame, that may lie about its size."""
    size_bytes = len(message) if size_bytes is None else size_bytes
    return bytes([flags]) + size_bytes.to_bytes(4, "big") + message


async def _raw_call(path: Path, body: bytes, headers: Iterable[tuple[str, str]]) -> Reply:
    reader, writer = await asyncio.open_unix_connection(str(path))
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    basic = {
        ":method": "POST",
        ":scheme": "http",
        ":path": CHECK,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    connection.send_headers(1, [*{**basic, **dict(headers)}.items()], end_stream=not body)
    if body:
        connection.send_data(1, body, end_stream=True)
    reply = Reply()
    try:
        ended = False
        while not ended:
            writer.write(connection.data_to_send())
            received = await reader.read(65_536)
            if not received:
                raise ConnectionResetError("the connection ended before the answer")
            ended = _take(reply, connection, connection.receive_data(received))
    finally:
        writer.close()
    return reply


def _take(
    reply: Reply, connection: h2.connection.H2Connection, events: list[h2.events.Event]
) -> bool:
    ended = False
    for event in events:
        match event:
            case h2.events.ResponseReceived(headers=headers):
                reply.headers = _texts(headers)
            case h2.events.TrailersReceived(headers=headers):
                reply.trailers = _texts(headers)
            case h2.events.DataReceived(data=data, flow_controlled_length=length):
                reply.body += data
                connection.acknowledge_received_data(length, 1)
            case h2.events.StreamEnded() | h2.events.StreamReset():
                ended = True
    return ended


def _texts(headers: Iterable[tuple[str | bytes, str | bytes]]) -> Headers:
    """They are text already, by the configuration of the connection."""
    return {str(name): str(value) for name, value in headers}
