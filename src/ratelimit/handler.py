"""The service without a transport: bytes or messages in, bytes or messages out.

gRPC, the HTTP endpoint and a server that Envoy hosts are each a thin shell around this.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ratelimit import request as wire_in
from ratelimit import response as wire_out
from ratelimit.errors import InvalidRequest, StoreUnavailable
from ratelimit.limiter import Limiter
from ratelimit.metrics import Metrics
from ratelimit.request import RequestMessage
from ratelimit.response import ResponseMessage, ResponseShape

_log = logging.getLogger(__name__)


class Handler:
    """Answers requests; counts what was wrong with the others."""

    def __init__(
        self,
        limiter: Limiter,
        shape: ResponseShape,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter = limiter
        self._shape = shape
        self._metrics = metrics
        self._monotonic = monotonic

    async def should_rate_limit(self, body: bytes) -> bytes:
        """The service's one method, over bytes. Raises what :meth:`answer` raises."""
        try:
            message = wire_in.parse(body)
        except InvalidRequest:
            self._metrics.invalid["not_a_message"] += 1
            raise
        response = await self.answer(message)
        return response.SerializeToString()

    async def answer(self, message: RequestMessage) -> ResponseMessage:
        """The response to a request.

        Raises :class:`InvalidRequest` for the caller's fault, and :class:`StoreUnavailable` for
        ours, whatever it is: an answer that Envoy would take for "yes" must not come of a fault.
        """
        began_s = self._monotonic()
        try:
            decision = await self._limiter.decide(wire_in.read(message))
            response = wire_out.write(decision, self._shape, message)
        except InvalidRequest:
            self._metrics.invalid["bad_request"] += 1
            raise
        except StoreUnavailable:
            self._metrics.answers["UNAVAILABLE"] += 1
            raise
        except Exception as error:
            self._metrics.answers["UNAVAILABLE"] += 1
            _log.exception("a request could not be answered")
            raise StoreUnavailable("internal") from error
        self._metrics.answered(self._monotonic() - began_s)
        return response
