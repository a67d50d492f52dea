"""A unary method over bytes, and the status of what it raises."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tollkeeper.unary.status import CallFailed, Code

Answer = Callable[[bytes], Awaitable[bytes]]
Rest = Callable[[], Awaitable[bytes]]
Beginning = Callable[[bytes], bytes | Rest]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """A unary method over bytes.

    ``fault`` turns what ``call`` raises into a status; ``None`` is a fault of ours. ``gone`` is
    told the answers that nobody took: their client had left before. ``begin`` is ``call`` for
    whoever makes a task only of what has to wait: it gives the answer, or how to get it.
    """

    call: Answer
    fault: Callable[[Exception], CallFailed | None]
    max_bytes: int
    gone: Callable[[bytes], None] | None = None
    begin: Beginning | None = None

    def failed(self, error: Exception) -> CallFailed:
        """What its caller is told of an error; one of ours is logged, and UNAVAILABLE."""
        failed = self.fault(error)
        if failed is None:
            logger.error("a call failed", exc_info=error)
            failed = CallFailed(Code.UNAVAILABLE, "the call failed")
        return failed
