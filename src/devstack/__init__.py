"""Real Envoy, Postgres and Redis from wheels, for the demo, `make up` and the tests.

Each is a `Part`: an async context manager, or ``start`` and ``stop``, with ``pid``, ``log_path``
and ``address``. devstack starts what it is told; who already has a server does not call it.
"""

from devstack.envoy import Envoy, InvalidBootstrap, validate
from devstack.errors import PartFailed, PartMissing
from devstack.part import Part, Report
from devstack.ports import free_port
from devstack.postgres import Postgres
from devstack.process import Command, Process
from devstack.redis import Persistence, Redis, RedisCluster

__all__ = [
    "Command",
    "Envoy",
    "InvalidBootstrap",
    "Part",
    "PartFailed",
    "PartMissing",
    "Persistence",
    "Postgres",
    "Process",
    "Redis",
    "RedisCluster",
    "Report",
    "free_port",
    "validate",
]
