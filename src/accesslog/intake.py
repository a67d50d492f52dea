"""What comes in by the stream goes to the spool, before anything else. Knows no transport.

When the spool has no room the declared posture takes hold. ``hold``: the stream is not read on, so
the sender keeps what it has, up to its own bound. ``mark``: entries are dropped, counted, and
reported with their times, so that they can be replayed from the log file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from accesslog.entry import Parsed, Unreadable, read_message
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.records import encode_entries, encode_raw
from accesslog.settings import FullPosture
from accesslog.spool import Spool
from accesslog.values import Entry
from billing.errors import QueueFull

MICROS = 1_000_000
LOOK_AGAIN_S = 1.0
"""How long a stream that is not read waits before it looks by itself whether there is room."""


class Intake:
    """Takes messages of any number of streams into one spool."""

    def __init__(
        self,
        spool: Spool,
        *,
        usage_headers: Mapping[str, str],
        chunk_entries: int,
        when_full: FullPosture,
        metrics: AccessLogMetrics,
        notices: Notices,
    ) -> None:
        self._spool = spool
        self._usage_headers = usage_headers
        self._chunk_entries = chunk_entries
        self._when_full = when_full
        self._metrics = metrics
        self._notices = notices
        self._held = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for new entries, whatever becomes of them then."""
        return self._held > 0 or self._spool.is_full

    @property
    def is_stalled(self) -> bool:
        """Whether new entries would not be taken, so that the sender should keep them."""
        return self._when_full == "hold" and self.is_full

    async def take(self, message: bytes) -> None:
        """Keep one message of the stream; returns when all of it is in the spool."""
        try:
            for parsed in read_message(message, self._usage_headers, self._chunk_entries):
                await self._keep(parsed)
        except Unreadable as error:
            self._metrics.messages.labels("unreadable").inc()
            self._notices.tell("unreadable", f"{len(message)} bytes are no message: {error}")
            await self._append(encode_raw(message), ())
        else:
            self._metrics.messages.labels("taken").inc()

    async def _keep(self, parsed: Parsed) -> None:
        self._count(parsed)
        if parsed.entries:
            await self._append(encode_entries(parsed.entries), parsed.entries)
        await asyncio.sleep(0)  # a large message must not keep health checks waiting

    async def _append(self, payload: bytes, entries: Sequence[Entry]) -> None:
        while True:
            try:
                self._spool.append(payload)
            except QueueFull as fault:
                self._notices.tell("spool_full", f"{fault}; posture: {self._when_full}")
                if self._when_full == "mark":
                    self._mark(entries)
                    return
                await self._hold()
            else:
                return

    async def _hold(self) -> None:
        """Wait for room; meanwhile this stream is not read."""
        self._held += 1
        self._metrics.held.set(self._held)
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._spool.wait_room()
        except TimeoutError:
            pass  # it is tried again in any case: the disk may have room by now
        finally:
            self._held -= 1
            self._metrics.held.set(self._held)

    def _mark(self, entries: Sequence[Entry]) -> None:
        self._metrics.marked.inc(len(entries))
        if entries:
            started_s = [entry.started_us // MICROS for entry in entries]
            times = f"from Unix second {min(started_s)} to {max(started_s)}"
            self._notices.tell("marked", f"{len(entries)} entries {times} dropped: replay them")

    def _count(self, parsed: Parsed) -> None:
        ongoing = sum(entry.ongoing for entry in parsed.entries)
        counts = {
            "ended": len(parsed.entries) - ongoing,
            "ongoing": ongoing,
            "without_ticket": parsed.without_ticket,
            "other_type": parsed.other_types,
            "tcp": parsed.tcp,
        }
        for kind, count in counts.items():
            if count:
                self._metrics.entries.labels(kind).inc(count)
