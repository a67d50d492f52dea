"""Where a role listens: ``host:port`` or ``unix:path``, one address for each of its workers."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/,]+):(?P<port>\d{1,5})")
_UNIX_PREFIX = "unix:"
MAX_UNIX_PATH_BYTES = 107
"""The kernel's limit on the path of a Unix socket, without its closing NUL."""
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address (``host`` and ``port``) or a Unix socket (``path``, the others empty)."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """The text that :func:`parse_address` reads and that gRPC takes as a target."""
        if self.path:
            return _UNIX_PREFIX + self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read one address; raises ``ValueError`` with what to write instead."""
    text = text.strip()
    if text.startswith(_UNIX_PREFIX):
        return _unix_address(text.removeprefix(_UNIX_PREFIX))
    found = _TCP.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no address; write host:port or unix:path")
    port = int(found["port"])
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"port {port} of {text!r} is outside of 1 to {MAX_PORT}")
    return Address(host=found["host"].strip("[]"), port=port)


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read addresses separated by commas; raises ``ValueError`` for none and for repeated ones."""
    addresses = tuple(parse_address(part) for part in text.split(","))
    if len(set(addresses)) != len(addresses):
        raise ValueError(f"{text!r} names an address twice; give each worker its own")
    return addresses


def for_workers(addresses: tuple[Address, ...], workers: int) -> tuple[Address, ...]:
    """One address for each worker.

    Several addresses are taken as they are and must be as many as the workers. A single one is the
    first of a row: worker ``i`` of a TCP address listens on port + ``i``, of a Unix socket on
    ``path.i``. Raises ``ValueError`` when the numbers do not fit.
    """
    if len(addresses) == workers:
        return addresses
    if len(addresses) != 1:
        raise ValueError(
            f"{len(addresses)} addresses for {workers} workers; write one, or one for each"
        )
    first = addresses[0]
    if first.path:
        return tuple(_unix_address(f"{first.path}.{i}") for i in range(workers))
    if first.port + workers - 1 > MAX_PORT:
        raise ValueError(f"{workers} ports from {first.port} on end above {MAX_PORT}")
    return tuple(Address(host=first.host, port=first.port + i) for i in range(workers))


def _unix_address(path: str) -> Address:
    if not path or "," in path or not path.isprintable():
        raise ValueError("a Unix socket needs a path; write unix:/run/tollkeeper/authz.sock")
    if len(path.encode()) > MAX_UNIX_PATH_BYTES:
        raise ValueError(f"the path of a Unix socket ends after {MAX_UNIX_PATH_BYTES} bytes")
    return Address(path=path)
