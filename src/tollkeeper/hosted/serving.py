"""Which transport carries a role, and serving it by workers."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tollkeeper.addresses import Address
from tollkeeper.hosted.child import HostedWorker
from tollkeeper.hosted.grpc_child import GrpcWorker
from tollkeeper.hosted.parts import HostingMissing, HostParts, find_host_parts
from tollkeeper.hosted.supervisor import WorkerProcess, supervise
from tollkeeper.logs import set_up_logs
from tollkeeper.running import stop_on_signals
from tollkeeper.settings import (
    HostedRole,
    Settings,
    Transport,
    grpc_environment,
    worker_environment,
)

log = structlog.get_logger("supervisor")


def host_parts(transport: Transport) -> HostParts | None:
    """What hosting needs, or ``None`` where ``grpc.aio`` is to serve.

    Raises :class:`HostingMissing` when hosting is asked for by name and cannot be had.
    """
    if transport == "grpc":
        return None
    try:
        return find_host_parts()
    except HostingMissing as missing:
        if transport == "hosted":
            raise
        set_up_logs("supervisor")
        log.warning("not hosted in Envoy; grpc.aio serves, at more CPU a call", why=str(missing))
        return None


async def serve_workers(
    settings: Settings, parts: HostParts | None, role: HostedRole, workers: Sequence[int]
) -> None:
    """Serve a role by these workers, each a process of its own, until a signal."""
    set_up_logs(role)
    stop = stop_on_signals()
    crew = [_worker(settings, parts, role, worker) for worker in workers]
    await supervise(crew, stop, float(settings.drain_deadline_s))


async def serve_all(settings: Settings) -> None:
    """Serve every role, each a process of its own, until a signal; one that dies is replaced."""
    set_up_logs("supervisor")
    stop = stop_on_signals()
    authz, rates = host_parts(settings.authz_transport), host_parts(settings.ratelimit_transport)
    env = worker_environment(settings)
    crew = [
        *(_worker(settings, authz, "authz", w) for w in range(settings.authz_workers)),
        _worker(settings, rates, "ratelimit", 0),
        GrpcWorker("accesslog", 0, settings.accesslog_listen, env),
        GrpcWorker("admin", 0, settings.admin_listen, env),
    ]
    await supervise(crew, stop, float(settings.drain_deadline_s))


def _worker(
    settings: Settings, parts: HostParts | None, role: HostedRole, worker: int
) -> WorkerProcess:
    address = _address(settings, role, worker)
    if parts is None:
        return GrpcWorker(role, worker, address, grpc_environment(settings, role))
    env, tls = worker_environment(settings), settings.called_tls(role)
    return HostedWorker(parts, role, worker, address=address, env=env, tls=tls)


def _address(settings: Settings, role: HostedRole, worker: int) -> Address:
    return settings.authz_addresses[worker] if role == "authz" else settings.ratelimit_listen
