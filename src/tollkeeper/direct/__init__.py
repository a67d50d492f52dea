"""The direct transport: gRPC over HTTP/2 spoken by ourselves, for unary methods and nothing else.

``docs/decisions/033-direct-transport.md`` says what it replaced, what was measured, and why a
protocol is written here at all. From the socket to the method:

* :mod:`~tollkeeper.direct.server` listens and drains,
* :mod:`~tollkeeper.direct.connection` takes frames in,
* :mod:`~tollkeeper.direct.openings` reads the headers that begin a call,
* :mod:`~tollkeeper.direct.calls` answers a call within its deadline,
* :mod:`~tollkeeper.direct.outbox` sends answers as the peer's windows allow.

RFC 9113 is HTTP/2, RFC 7541 its header compression.
"""
