"""The service without a transport."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from ratelimit.algorithms import Group, Reading
from ratelimit.errors import InvalidRequest, StoreUnavailable
from ratelimit.handler import Handler
from ratelimit.response import ResponseShape
from ratelimit.stores.memory import MemoryStore
from tests.unit.ratelimit.building import built

RULES = "domain: d\ndescriptors:\n  - {key: k, rate_limit: {unit: day, requests_per_unit: 1}}\n"
REQUEST = RateLimitRequest(domain="d", descriptors=[{"entries": [{"key": "k", "value": "v"}]}])


class Broken(MemoryStore):
    """A store with a mistake in it."""

    async def draw(self, group: Group) -> Sequence[Reading]:
        """Fail in a way that nobody foresaw."""
        raise ZeroDivisionError(f"{len(group.draws)} draws")


async def test_bytes_in_bytes_out() -> None:
    """For transports that do not know messages."""
    service = built(RULES)
    handler = Handler(service.limiter, ResponseShape(), service.metrics)
    for code in (RateLimitResponse.OK, RateLimitResponse.OVER_LIMIT):
        answer = await handler.should_rate_limit(REQUEST.SerializeToString())
        assert RateLimitResponse.FromString(answer).overall_code == code


async def test_a_wrong_request_is_the_callers_fault() -> None:
    """It is counted by what was wrong."""
    service = built(RULES)
    handler = Handler(service.limiter, ResponseShape(), service.metrics)
    with pytest.raises(InvalidRequest):
        await handler.should_rate_limit(b"\xff")
    with pytest.raises(InvalidRequest):
        await handler.answer(RateLimitRequest())
    assert service.metrics.invalid == {"not_a_message": 1, "bad_request": 1}


async def test_an_unforeseen_fault_is_unavailable(caplog: pytest.LogCaptureFixture) -> None:
    """Envoy must not take it for a yes; the log has the reason."""
    service = built(RULES, store=Broken(10))
    handler = Handler(service.limiter, ResponseShape(), service.metrics)
    with caplog.at_level(logging.ERROR), pytest.raises(StoreUnavailable, match="internal"):
        await handler.answer(REQUEST)
    assert "ZeroDivisionError" in caplog.text
    assert service.metrics.answers["UNAVAILABLE"] == 1
