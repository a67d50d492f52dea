"""Free loopback ports, handed out so that two takers hardly ever meet.

A port is taken at random from below the kernel's ephemeral range, where no outgoing connection can
land on it, is probed, and is never handed out twice by one process. What remains is the moment
between the probe and the start of a server, against another process that guesses the same number.
"""

import random
import socket
from collections.abc import Iterable
from pathlib import Path

LOOPBACK = "127.0.0.1"
CLUSTER_BUS_OFFSET = 10_000
"""A Redis Cluster node also listens on its port plus this."""

_LOWEST = 10_240
_ATTEMPTS = 1_000
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_handed_out: set[int] = set()


class NoFreePort(Exception):
    """A thousand random ports were all in use."""


def free_port() -> int:
    """A loopback TCP port that nothing listens on."""
    return _reserve(offsets=(0,))


def free_cluster_port() -> int:
    """A free port whose cluster bus port is free too."""
    return _reserve(offsets=(0, CLUSTER_BUS_OFFSET))


def _reserve(offsets: tuple[int, ...]) -> int:
    highest = _highest() - max(offsets)
    for _ in range(_ATTEMPTS):
        port = random.randint(_LOWEST, highest)
        wanted = {port + offset for offset in offsets}
        if _handed_out.isdisjoint(wanted) and _all_bindable(wanted):
            _handed_out.update(wanted)
            return port
    raise NoFreePort(f"no free port among {_ATTEMPTS} tried between {_LOWEST} and {highest}")


def _highest() -> int:
    """The last port below the ephemeral range, or of all where that range leaves no room."""
    if not _EPHEMERAL_RANGE.exists():
        return 32_767
    lowest_ephemeral = int(_EPHEMERAL_RANGE.read_text().split()[0])
    return lowest_ephemeral - 1 if lowest_ephemeral > _LOWEST + 12_000 else 65_535


def _all_bindable(ports: Iterable[int]) -> bool:
    return all(_bindable(port) for port in ports)


def _bindable(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
