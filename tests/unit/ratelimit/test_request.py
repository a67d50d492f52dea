"""The wire -> values."""

from __future__ import annotations

import pytest

from envoyapi.ratelimit_v3_pb2 import RateLimitRequest
from ratelimit.descriptors import Descriptor, LimitRequest, Override
from ratelimit.errors import InvalidRequest
from ratelimit.limits import HITS_MAX
from ratelimit.request import parse, parse_json, read
from ratelimit.units import Unit


def test_a_request_with_everything() -> None:
    """Domain, entries, override and both kinds of hits_addend."""
    message = RateLimitRequest(
        domain="d",
        hits_addend=7,
        descriptors=[
            {"entries": [{"key": "a", "value": "1"}, {"key": "b"}]},
            {"entries": [{"key": "c"}], "hits_addend": {"value": 0}},
            {"entries": [{"key": "c"}], "limit": {"requests_per_unit": 9, "unit": 5}},
        ],
    )
    assert read(message) == LimitRequest(
        "d",
        [
            Descriptor((("a", "1"), ("b", "")), 7),
            Descriptor((("c", ""),), 0),
            Descriptor((("c", ""),), 7, Override(9, Unit.MONTH)),
        ],
    )


def test_hits_default_to_one() -> None:
    """A request without hits_addend counts once."""
    assert read(RateLimitRequest(domain="d", descriptors=[{}])).descriptors[0].hits == 1


def test_hits_near_2_to_the_64_are_bounded() -> None:
    """They are more than any limit, which is all that matters."""
    message = RateLimitRequest(domain="d", descriptors=[{"hits_addend": {"value": 2**64 - 1}}])
    assert read(message).descriptors[0].hits == HITS_MAX


@pytest.mark.parametrize("number", range(1, 8))
def test_every_unit_of_an_override(number: int) -> None:
    """The seven that envoyproxy/ratelimit knows, by its numbers."""
    names = ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH", "YEAR", "WEEK"]
    limit = {"requests_per_unit": 1, "unit": number}
    message = RateLimitRequest(domain="d", descriptors=[{"limit": limit}])
    override = read(message).descriptors[0].override
    assert override is not None
    assert override.unit.name == names[number - 1]


@pytest.mark.parametrize("number", [0, 8, 99])
def test_an_override_without_a_known_unit_is_refused(number: int) -> None:
    """It says nothing that could be counted."""
    limit = {"requests_per_unit": 1, "unit": number}
    message = RateLimitRequest(domain="d", descriptors=[{"limit": limit}])
    with pytest.raises(InvalidRequest, match=f"unit {number}"):
        read(message)


def test_bytes_that_are_no_message() -> None:
    """They are the caller's fault, not ours."""
    for body in (b"\xff\xff\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28"):
        with pytest.raises(InvalidRequest):
            parse(body)
    assert parse(b"") == RateLimitRequest()


def test_json() -> None:
    """As people write it with curl."""
    body = b'{"domain": "d", "descriptors": [{"entries": [{"key": "a", "value": "b"}]}]}'
    assert read(parse_json(body)) == LimitRequest("d", [Descriptor((("a", "b"),))])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"domain": 3}',
        b'{"nothing": "known"}',
        b'{"hitsAddend": -1}',
        b'{"descriptors": [{"hitsAddend": "99999999999999999999999"}]}',
        b'{"domain": "\xff"}',
        b'{"domain": "\\ud800"}',
        b"[" * 100_000,
    ],
)
def test_json_that_is_no_request(body: bytes) -> None:
    """Refused with a sentence, whatever it is."""
    with pytest.raises(InvalidRequest, match="not a RateLimitRequest in JSON"):
        parse_json(body)
