"""Taking over the spools of settlers that are gone for good.

What a settler had spooled when it died is settled by itself when it comes back. When it does not,
another settler below the same root finds that its lock is free, settles what lies there as if it
were its own (the ledger knows what was settled before), and removes the directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.pump import Pump
from accesslog.slots import with_entries
from accesslog.spool import Spool
from billing.errors import Conflict

Sleep = Callable[[float], Awaitable[None]]


class Adopter:
    """Takes over one spool after the other; any number of them may run below the same root.

    ``opened`` opens a directory as a spool, raising ``Conflict`` when it has an owner; ``pump``
    settles what lies in one.
    """

    def __init__(
        self,
        root: Path,
        *,
        opened: Callable[[Path], Spool],
        pump: Callable[[Spool], Pump],
        interval_s: float,
        metrics: AccessLogMetrics,
        notices: Notices,
    ) -> None:
        self._root = root
        self._opened = opened
        self._pump = pump
        self._interval_s = interval_s
        self._metrics = metrics
        self._notices = notices
        self._adopted: Spool | None = None
        metrics.watch_adopted(lambda: 0 if self._adopted is None else self._adopted.records)

    @property
    def oldest_us(self) -> int | None:
        """When the oldest entry of the spool that is being settled came in."""
        return None if self._adopted is None else self._adopted.oldest_us

    async def adopt(self) -> int:
        """Settle every spool that nobody owns; returns how many those were."""
        found = 0
        for directory in await asyncio.to_thread(lambda: list(with_entries(self._root))):
            try:
                # In a thread, because it reads and checks every record that lies there.
                spool = await asyncio.to_thread(self._opened, directory)
            except Conflict:
                continue  # its settler lives
            except OSError as error:
                self._metrics.adopted.labels("unreadable").inc()
                self._notices.tell("spool_unreadable", f"{directory}: {error}")
                continue
            found += 1
            await self._settle(directory, spool)
        return found

    async def run(self, sleep: Sleep = asyncio.sleep) -> None:
        """Look again and again, at once first."""
        while True:
            await self.adopt()
            await sleep(self._interval_s)

    async def _settle(self, directory: Path, spool: Spool) -> None:
        """Settle all of it, for as long as the ledger is away, and let the directory go."""
        records = spool.records
        self._notices.tell("spool_adopted", f"{records} records of {directory}, left by another")
        self._adopted = spool
        try:
            pump = self._pump(spool)
            pump.drain()
            await pump.run()
        except BaseException:
            spool.close()  # what is left is taken over by the next one who looks
            raise
        finally:
            self._adopted = None
        spool.retire()
        self._metrics.adopted.labels("settled").inc()
        self._notices.tell("spool_removed", f"{records} records of {directory} are settled")
