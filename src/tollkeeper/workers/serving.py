"""Serving a role by workers, each a process of its own."""

from __future__ import annotations

from collections.abc import Sequence

from tollkeeper.hosted.child import HostedWorker
from tollkeeper.hosted.parts import find_host_parts
from tollkeeper.logs import set_up_logs
from tollkeeper.running import stop_on_signals
from tollkeeper.settings import Settings, Transport, UnaryRole, worker_environment
from tollkeeper.workers.python_worker import PythonWorker
from tollkeeper.workers.supervisor import WorkerProcess, supervise


async def serve_workers(settings: Settings, role: UnaryRole, workers: Sequence[int]) -> None:
    """Serve a role by these workers until a signal; one that dies is replaced.

    Raises :class:`tollkeeper.hosted.parts.HostingMissing` when it is to be hosted and cannot be.
    """
    set_up_logs(role)
    stop = stop_on_signals()
    crew = [_worker(settings, role, worker) for worker in workers]
    await supervise(crew, stop, float(settings.drain_deadline_s))


async def serve_all(settings: Settings) -> None:
    """Serve every role, each a process of its own, until a signal; one that dies is replaced."""
    set_up_logs("supervisor")
    stop = stop_on_signals()
    env = worker_environment(settings)
    crew = [
        *(_worker(settings, "authz", w) for w in range(settings.authz_workers)),
        _worker(settings, "ratelimit", 0),
        PythonWorker("accesslog", 0, settings.accesslog_listen, env),
        PythonWorker("admin", 0, settings.admin_listen, env),
    ]
    await supervise(crew, stop, float(settings.drain_deadline_s))


def transport_of(settings: Settings, role: UnaryRole) -> Transport:
    """What carries the calls of a role."""
    return settings.authz_transport if role == "authz" else settings.ratelimit_transport


def _worker(settings: Settings, role: UnaryRole, worker: int) -> WorkerProcess:
    address, env = settings.called_address(role, worker), worker_environment(settings)
    if transport_of(settings, role) != "hosted":
        return PythonWorker(role, worker, address, env)
    tls = settings.called_tls(role)
    return HostedWorker(find_host_parts(), role, worker, address=address, env=env, tls=tls)
