"""Values -> the wire."""

from __future__ import annotations

import json

from envoyapi.ratelimit_v3_pb2 import RateLimitRequest, RateLimitResponse
from ratelimit.decision import NO_LIMIT, UNLIMITED, Decision, Status
from ratelimit.limits import Limit
from ratelimit.response import ResponseShape, to_json, write
from ratelimit.units import Unit

REQUEST = RateLimitRequest(
    domain="d",
    hits_addend=2,
    descriptors=[
        {"entries": [{"key": "a", "value": "1"}], "hits_addend": {"value": 3}},
        {"entries": [{"key": "b"}], "limit": {"requests_per_unit": 9, "unit": 1}},
    ],
)
STATUS = Status(
    over=True, limit=Limit(5, Unit.WEEK), name="n", remaining=0, until_reset_us=1_500_000
)


def test_statuses() -> None:
    """Code, current limit with its name, what remains and whole seconds until the reset."""
    decision = Decision(True, [STATUS, NO_LIMIT, UNLIMITED])
    response = write(decision, ResponseShape(), REQUEST)
    assert response.overall_code == RateLimitResponse.OVER_LIMIT
    first, second, third = response.statuses
    assert first.code == RateLimitResponse.OVER_LIMIT
    assert first.current_limit.unit == RateLimitResponse.RateLimit.WEEK
    assert (first.current_limit.requests_per_unit, first.current_limit.name) == (5, "n")
    assert (first.duration_until_reset.seconds, first.duration_until_reset.nanos) == (2, 0)
    assert second.code == RateLimitResponse.OK
    assert not second.HasField("current_limit")
    assert not second.HasField("duration_until_reset")
    assert third.limit_remaining == 2**32 - 1
    assert not response.response_headers_to_add
    assert not response.HasField("dynamic_metadata")


def test_headers() -> None:
    """Limit, remaining and reset of the nearest limit, under the names of the settings."""
    shape = ResponseShape(headers=("L", "R", "S"))
    response = write(Decision(True, [NO_LIMIT, STATUS]), shape, REQUEST)
    headers = [(header.key, header.value) for header in response.response_headers_to_add]
    assert headers == [("L", "5"), ("R", "0"), ("S", "2")]
    assert not write(Decision(False, [NO_LIMIT]), shape, REQUEST).response_headers_to_add


def test_dynamic_metadata() -> None:
    """What was asked, and the metadata of the limits that were kept; the first one's field
    stays.
    """
    limit = Limit(5, Unit.DAY)
    kept = Status(limit=limit, metadata={"tier": "gold", "deep": {"a": 1}})
    also = Status(limit=limit, metadata={"tier": "tin", "deep": {"b": 2}})
    broken = Status(over=True, limit=limit, metadata={"broken": True})
    shape = ResponseShape(dynamic_metadata=True)
    response = write(Decision(True, [kept, also, broken]), shape, REQUEST)
    told = json.loads(to_json(response))["dynamicMetadata"]
    assert told["domain"] == "d"
    assert told["hitsAddend"] == 2
    assert told["descriptors"][0] == {"entries": ["a=1"], "hitsAddend": 3}
    assert told["descriptors"][1]["entries"] == ["b="]
    assert "requests_per_unit: 9" in told["descriptors"][1]["limit"]
    assert told["metadata"] == {"tier": "gold", "deep": {"a": 1, "b": 2}}
