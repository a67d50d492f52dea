"""Listening, and leaving without a refused call."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping

from tollkeeper.addresses import Address
from tollkeeper.direct.calls import Calls
from tollkeeper.direct.connection import Connection
from tollkeeper.direct.limits import DirectLimits
from tollkeeper.direct.roll import Roll
from tollkeeper.unary.method import Method
from tollkeeper.unary.timeouts import Timeouts

LOOK_S = 1.0
"""How often connections are looked at for what takes too long."""
IDLE_POLL_S = 0.02


class DirectServer:
    """Serves unary methods, by path, on one address; on the event loop that runs it."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        loop: asyncio.AbstractEventLoop,
        *,
        traced: bool = False,
        limits: DirectLimits | None = None,
    ) -> None:
        self._loop = loop
        self._limits = limits or DirectLimits()
        self._timeouts = Timeouts()
        self._listener: asyncio.Server | None = None
        self.calls = Calls(methods, loop, traced=traced)
        self.roll = Roll(self._limits.max_connections, loop.time)

    async def start(self, where: Address, context: ssl.SSLContext | None = None) -> None:
        """Listen, in clear without a context; raises ``OSError`` when the address cannot be had."""
        hello_s = None if context is None else self._limits.hello_s
        if where.path:
            self._listener = await self._loop.create_unix_server(
                self._connect, where.path, ssl=context, ssl_handshake_timeout=hello_s
            )
            return
        # Without SO_REUSEPORT an address that is taken is an error, not a share of its calls.
        self._listener = await self._loop.create_server(
            self._connect,
            where.host,
            where.port,
            ssl=context,
            backlog=1_024,
            ssl_handshake_timeout=hello_s,
        )

    async def watch(self) -> None:
        """Give up what takes too long, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            for peer in self.roll:
                peer.look(self._loop.time())

    async def drain(self) -> None:
        """Take no new connections, let the peers go elsewhere, answer all that is in hand."""
        if self._listener is not None:
            self._listener.close()
        for peer in self.roll:
            peer.go_away()
        await asyncio.sleep(IDLE_POLL_S)
        while self.calls.in_flight > 0 or any(peer.busy for peer in self.roll):
            await asyncio.sleep(IDLE_POLL_S)

    def close(self) -> None:
        """End all connections; what was written still goes out."""
        if self._listener is not None:
            self._listener.close()
        for peer in self.roll:
            peer.close()

    def _connect(self) -> Connection:
        return Connection(self.calls, self._limits, self._timeouts, self.roll)
