"""One check, from bytes to bytes, whatever carries them.

``grpc.aio`` (:mod:`extauthz.server`) and the other transports serve the same handler. Faults
are caught here, once: a check that cannot be decided ends as :class:`CheckFailed` with a status
that makes Envoy apply the failure mode of its configuration.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, NamedTuple

from billing.keys import hash_key
from billing.refusals import Refusal
from extauthz.authorize import decide, wait
from extauthz.counts import ALLOWED, UNKNOWN_ROUTE, CheckCounts
from extauthz.decision import Allowed, Draft, Refused, Unknown
from extauthz.door import Door, Offered
from extauthz.facts import Facts
from extauthz.limits import CheckLimits
from extauthz.request import NotACheck, read_check
from extauthz.response import write_allowed, write_refused

logger = logging.getLogger(__name__)

QUIET_S = 10.0
"""Faults come by the thousand; one in so many seconds is logged, all of them are counted."""

MAX_LOGGED_CHARS = 64
"""Of an id that a client may have chosen."""

FailureCode = Literal["INVALID_ARGUMENT", "UNAVAILABLE"]


class CheckFailed(Exception):
    """No decision. ``code`` is a gRPC status by name: never ``UNKNOWN``, which Envoy lets pass."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class _Check(NamedTuple):
    """One check: what was asked, by what it is decided, its id, and when it came."""

    facts: Facts
    offered: Offered
    request_id: str
    began_s: float


class CheckHandler:
    """Serves checks at one door. ``clock_s`` measures how long they take."""

    def __init__(
        self, door: Door, limits: CheckLimits, counts: CheckCounts, clock_s: Callable[[], float]
    ) -> None:
        self._door = door
        self._limits = limits
        self._counts = counts
        self._clock_s = clock_s
        self._loud_from_s = -math.inf

    async def check(self, wire: bytes) -> bytes:
        """A serialised ``CheckRequest`` in, a serialised ``CheckResponse`` out; or CheckFailed."""
        answer = self.begin(wire)
        return answer if isinstance(answer, bytes) else await answer()

    def begin(self, wire: bytes) -> bytes | Callable[[], Awaitable[bytes]]:
        """The answer, or where something has to be waited for, what gives it; or CheckFailed.

        Most checks wait for nothing, and so need no task.
        """
        counts = self._counts
        if counts.in_flight >= self._limits.max_in_flight:
            counts.faults["overloaded"] += 1
            raise CheckFailed("UNAVAILABLE", "too many checks at once")
        began_s = self._clock_s()
        try:
            facts = read_check(wire)
        except NotACheck as error:
            counts.faults["not_a_check"] += 1
            raise CheckFailed("INVALID_ARGUMENT", "not a CheckRequest") from error
        door = self._door
        check = _Check(facts, door.offered, door.new_id(), began_s)
        try:
            decided = decide(door, facts, check.offered, check.request_id)
            if isinstance(decided, Draft):
                admitted = door.reserver.draw(decided.hold, decided.row)
                if admitted is None:
                    return partial(self._wait, check, decided)
                decided = decided.allowed(admitted)
            elif isinstance(decided, Unknown):
                return partial(self._wait, check, decided)
            return self._answer(check, decided)
        except Exception as fault:
            raise self._failed(check, fault) from fault

    async def _wait(self, check: _Check, missing: Unknown | Draft) -> bytes:
        facts, offered, request_id, _ = check
        self._counts.in_flight += 1
        try:
            return self._answer(check, await wait(self._door, facts, offered, request_id, missing))
        except Exception as fault:
            raise self._failed(check, fault) from fault
        finally:
            self._counts.in_flight -= 1

    def _answer(self, check: _Check, decided: Allowed | Refusal) -> bytes:
        facts, (catalog, _), request_id, began_s = check
        route = catalog.routes.get(facts.route)
        name = UNKNOWN_ROUTE if route is None else route.name
        if isinstance(decided, Allowed):
            written, code = write_allowed(decided), ALLOWED
        else:
            shape = "json" if route is None else route.shape
            refused = Refused(request_id, decided, shape, facts)
            written, code = write_refused(refused, catalog.action_url), decided.kind.code
        self._counts.decided(name, code, self._clock_s() - began_s)
        return written

    def _failed(self, check: _Check, fault: Exception) -> CheckFailed:
        """A fault of ours: counted, logged with whose request it was."""
        self._counts.faults["fault"] += 1
        now_s = self._clock_s()
        if now_s >= self._loud_from_s:
            self._loud_from_s = now_s + QUIET_S
            about = self._whose(check.request_id, check.facts)
            logger.error("a check failed", exc_info=fault, extra=about)
        return CheckFailed("UNAVAILABLE", "the check failed")

    def _whose(self, request_id: str, facts: Facts) -> dict[str, str]:
        """What a log may say of a request: ids and names, never the key."""
        about = {
            "request_id": request_id,
            "gateway_request_id": facts.gateway_request_id[:MAX_LOGGED_CHARS],
            "route": facts.route,
        }
        caller = (
            None
            if isinstance(facts.key, Refusal)
            else self._door.directory.recall(hash_key(facts.key))
        )
        if caller is not None and not isinstance(caller, Refusal):
            about["account"] = caller.principal.account_id
        return about
