"""One transaction for a batch, whatever is in it: tried again, halved, and the poison taken out.

Three kinds of faults are told apart. The store does not answer (deadlock, serialization failure,
timeout, lost connection, shutdown): the same batch is tried again for as long as it takes. A batch
cannot be written: it is halved until the entries that cannot be are alone, the others settle. No
entry at all can be written: then the fault is not in the entries, so they are kept and tried again.

A commit whose answer was lost is tried again like any other: what it wrote is found by its
reservation ids in the next try and counted as duplicate, so nothing is posted twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from accesslog.backoff import Backoff
from accesslog.faults import fault_class
from accesslog.judge import Priced
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.settings import SettleSettings
from billing.errors import InvalidInput, Unavailable

Commit = Callable[[Sequence[Priced]], Awaitable[None]]
"""Settles a batch in one transaction; raises ``Unavailable``, or anything else."""


class Poison(NamedTuple):
    """An entry that cannot be settled by itself, and why."""

    priced: Priced
    fault: Exception


class _Stuck(Exception):
    """So many entries failed one by one, and none succeeded, that the fault must be elsewhere."""


class _Try:
    """One pass over a batch: whether anything was settled, and what could not be."""

    def __init__(self, commit: Commit) -> None:
        self.commit = commit
        self.succeeded = False
        self.poison: list[Poison] = []

    @property
    def is_doubtful(self) -> bool:
        """Nothing was settled, and not all of it can be said never to succeed."""
        known = all(isinstance(p.fault, InvalidInput) for p in self.poison)
        return not self.succeeded and not known


class Isolator:
    """Settles batches and gives back what cannot be settled."""

    def __init__(
        self,
        *,
        settings: SettleSettings,
        backoff: Backoff,
        metrics: AccessLogMetrics,
        notices: Notices,
    ) -> None:
        self._settings = settings
        self._backoff = backoff
        self._metrics = metrics
        self._notices = notices

    async def settle(self, batch: Sequence[Priced], commit: Commit) -> list[Poison]:
        """Settle all that can be through ``commit``; returns when the rest is known as poison."""
        tries = 0
        while True:
            attempt = _Try(commit)
            try:
                await self._halve(batch, attempt)
            except _Stuck as stuck:
                await self._fail("stuck", f"no entry can be settled: {stuck}")
                continue
            tries += 1
            if not attempt.is_doubtful or tries >= self._settings.patience_tries:
                return attempt.poison
            await self._fail("refused", f"{len(batch)} entries: {attempt.poison[0].fault!r}")

    async def _halve(self, batch: Sequence[Priced], attempt: _Try) -> None:
        fault = await self._try_until_answered(batch, attempt.commit)
        if fault is None:
            attempt.succeeded = True
        elif len(batch) > 1:
            middle = len(batch) // 2
            await self._halve(batch[:middle], attempt)
            await self._halve(batch[middle:], attempt)
        else:
            attempt.poison.append(Poison(batch[0], fault))
            if not attempt.succeeded and len(attempt.poison) >= self._settings.systemic_entries:
                raise _Stuck(repr(fault)) from fault

    async def _try_until_answered(
        self, batch: Sequence[Priced], commit: Commit
    ) -> Exception | None:
        """The fault of a batch that was refused; waits while the store does not answer."""
        while True:
            try:
                await commit(batch)
            except Unavailable as fault:
                await self._fail(fault_class(fault), str(fault))
            except Exception as fault:  # noqa: BLE001 - whatever it is, it is told and isolated
                return fault
            else:
                self._backoff.reset()
                return None

    async def _fail(self, fault: str, text: str) -> None:
        self._metrics.retries.labels(fault).inc()
        self._notices.tell(f"settle_{fault}", text)
        await self._backoff.wait()
