"""A check that does nothing but let pass, on each transport: what a call costs by itself.

python -m bench.noop direct|hosted|grpc ADDRESS
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import uvloop
from prometheus_client import CollectorRegistry

from envoyapi.auth_v3_pb2 import CheckResponse
from tollkeeper.addresses import parse_address
from tollkeeper.direct.server import DirectServer
from tollkeeper.hosted.app import HostedApplication
from tollkeeper.hosted.child import HostedWorker
from tollkeeper.hosted.parts import find_host_parts
from tollkeeper.running import stop_on_signals, take_longer_turns
from tollkeeper.settings import Settings, load_settings, worker_environment
from tollkeeper.unary.method import Method
from tollkeeper.unary.roles import Served
from tollkeeper.workers.supervisor import supervise

SERVICE = "envoy.service.auth.v3.Authorization"


def _let_pass() -> bytes:
    response = CheckResponse()
    response.ok_response.SetInParent()
    return response.SerializeToString()


PASS = _let_pass()


async def check(_wire: bytes) -> bytes:
    """Let pass, unread."""
    return PASS


METHOD = Method(check, lambda _error: None, 4 << 20)


@asynccontextmanager
async def open_nothing(
    _settings: Settings, _worker: int, _draining: Callable[[], bool]
) -> AsyncIterator[Served]:
    """A role without any state."""
    yield Served(SERVICE, CollectorRegistry(), {f"/{SERVICE}/Check": METHOD}, ())


app = HostedApplication({"authz": open_nothing})


async def serve_hosted(where: str, app_name: str = "bench.noop:app") -> None:
    """In an Envoy, until a signal."""
    stop, settings = stop_on_signals(), load_settings()
    address, env = parse_address(where), worker_environment(settings)
    parts = find_host_parts()
    worker = HostedWorker(parts, "authz", 0, address=address, env=env, app=app_name)
    await supervise([worker], stop, 1.0)


async def serve_direct(where: str) -> None:
    """Over HTTP/2 of our own, until a signal."""
    stop, loop = stop_on_signals(), asyncio.get_running_loop()
    server = DirectServer({f"/{SERVICE}/Check": METHOD}, loop)
    await server.start(parse_address(where))
    await stop.wait()
    server.close()


async def serve_grpc(address: str) -> None:
    """The same over grpc.aio, until a signal."""
    stop = stop_on_signals()
    server = grpc.aio.server()

    async def handle(wire: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return await check(wire)

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handle)
    handlers = grpc.method_handlers_generic_handler(SERVICE, {"Check": method})
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(address)
    await server.start()
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    take_longer_turns()
    serve = {"grpc": serve_grpc, "hosted": serve_hosted, "direct": serve_direct}[sys.argv[1]]
    uvloop.run(serve(sys.argv[2]))
