"""A check that does nothing but let pass, on each transport: what a call costs by itself.

python -m bench.noop ADDRESS        over grpc.aio; hosted, it is ``bench.noop:app``
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import uvloop

from envoyapi.auth_v3_pb2 import CheckResponse
from tollkeeper.addresses import parse_address
from tollkeeper.hosted.app import HostedApplication
from tollkeeper.hosted.calls import Method
from tollkeeper.hosted.child import HostedWorker
from tollkeeper.hosted.parts import find_host_parts
from tollkeeper.hosted.roles import Hosted
from tollkeeper.hosted.supervisor import supervise
from tollkeeper.running import stop_on_signals, take_longer_turns
from tollkeeper.settings import Settings, load_settings, worker_environment

SERVICE = "envoy.service.auth.v3.Authorization"


def _let_pass() -> bytes:
    response = CheckResponse()
    response.ok_response.SetInParent()
    return response.SerializeToString()


PASS = _let_pass()


async def check(_wire: bytes) -> bytes:
    """Let pass, unread."""
    return PASS


@asynccontextmanager
async def open_nothing(
    _settings: Settings, _worker: int, _draining: Callable[[], bool]
) -> AsyncIterator[Hosted]:
    """A role without any state."""
    method = Method(check, lambda _error: None, 4 << 20)
    yield Hosted(SERVICE, {f"/{SERVICE}/Check": method}, ())


app = HostedApplication({"authz": open_nothing})


async def serve_hosted(where: str, app_name: str = "bench.noop:app") -> None:
    """In an Envoy, until a signal."""
    stop, settings = stop_on_signals(), load_settings()
    address, env = parse_address(where), worker_environment(settings)
    parts = find_host_parts()
    worker = HostedWorker(parts, "authz", 0, address=address, env=env, app=app_name)
    await supervise([worker], stop, 1.0)


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
    uvloop.run({"grpc": serve_grpc, "hosted": serve_hosted}[sys.argv[1]](sys.argv[2]))
