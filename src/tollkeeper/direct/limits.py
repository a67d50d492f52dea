"""Every bound of the direct transport, with its unit, its default and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DirectLimits:
    """``max_connections``: a gateway opens one or two for each of its threads, so this is hundreds
    of gateways. ``max_streams`` of one connection: more calls than any role takes at once, which
    then says so itself.

    ``receive_bytes``: bodies of one connection that are not complete yet. ``body_s``: how long a
    client may take to send a body, ``deliver_s`` to take an answer, ``hello_s`` to say that it
    speaks HTTP/2. ``linger_s``: how long one that broke the protocol may still send. ``quiet_s``:
    how long a peer may say nothing before it is asked whether it is there, and then again.

    ``free_nuisances``: how many calls a client may take back (CVE-2023-44487) or have us end by
    faults of theirs (CVE-2025-8671), and how many other windows it may set, before it counts;
    whoever then has more of them than half of its calls is cut off.
    """

    max_connections: int = 1_024
    max_streams: int = 1 << 15
    receive_bytes: int = 64 << 20
    body_s: float = 10.0
    deliver_s: float = 10.0
    hello_s: float = 10.0
    linger_s: float = 1.0
    quiet_s: float = 60.0
    free_nuisances: int = 10_000
