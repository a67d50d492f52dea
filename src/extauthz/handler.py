"""One check, from bytes to bytes, whatever carries them.

``grpc.aio`` (:mod:`extauthz.server`) and the other transports serve the same handler. Faults
are caught here, once: a check that cannot be decided ends as :class:`CheckFailed` with a status
that makes Envoy apply the failure mode of its configuration.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Literal

from billing.keys import hash_key
from billing.refusals import Refusal
from extauthz.authorize import authorize
from extauthz.counts import ALLOWED, UNKNOWN_ROUTE, CheckCounts
from extauthz.decision import Allowed, Refused
from extauthz.door import Door
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


class _Undecided(Exception):
    """A fault while one request was decided: whose it was, for the log."""

    def __init__(self, request_id: str, facts: Facts) -> None:
        super().__init__(request_id)
        self.request_id = request_id
        self.facts = facts


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
        counts = self._counts
        if counts.in_flight >= self._limits.max_in_flight:
            counts.faults["overloaded"] += 1
            raise CheckFailed("UNAVAILABLE", "too many checks at once")
        counts.in_flight += 1
        try:
            return await self._answer(wire)
        except NotACheck as error:
            counts.faults["not_a_check"] += 1
            raise CheckFailed("INVALID_ARGUMENT", "not a CheckRequest") from error
        except _Undecided as error:
            counts.faults["fault"] += 1
            self._log(error.__cause__, error)
            raise CheckFailed("UNAVAILABLE", "the check failed") from error.__cause__
        except Exception as error:
            counts.faults["fault"] += 1
            self._log(error)
            raise CheckFailed("UNAVAILABLE", "the check failed") from error
        finally:
            counts.in_flight -= 1

    async def _answer(self, wire: bytes) -> bytes:
        began_s = self._clock_s()
        door = self._door
        facts = read_check(wire)
        route = door.catalog.routes.get(facts.route)
        request_id = door.new_id()
        try:
            answer = await authorize(door, facts, request_id)
        except Exception as fault:
            raise _Undecided(request_id, facts) from fault
        name = UNKNOWN_ROUTE if route is None else route.name
        if isinstance(answer, Allowed):
            written, code = write_allowed(answer), ALLOWED
        else:
            shape = "json" if route is None else route.shape
            refused = Refused(request_id, answer, shape, facts)
            written, code = write_refused(refused, door.catalog.action_url), answer.kind.code
        self._counts.decided(name, code, self._clock_s() - began_s)
        return written

    def _log(self, fault: BaseException | None, of: _Undecided | None = None) -> None:
        now_s = self._clock_s()
        if now_s >= self._loud_from_s:
            self._loud_from_s = now_s + QUIET_S
            about = {} if of is None else self._whose(of.request_id, of.facts)
            logger.error("a check failed", exc_info=fault, extra=about)

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
