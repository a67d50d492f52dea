"""The wire -> :mod:`ratelimit.descriptors`. Nothing but this module reads a request's messages."""

from __future__ import annotations

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from envoyapi.ratelimit_descriptor_v3_pb2 import RateLimitDescriptor
from envoyapi.ratelimit_v3_pb2 import RateLimitRequest as RequestMessage
from ratelimit.descriptors import Descriptor, LimitRequest, Override
from ratelimit.errors import InvalidRequest
from ratelimit.limits import HITS_MAX
from ratelimit.units import Unit

__all__ = ["RequestMessage", "parse", "parse_json", "read"]

# Envoy's enum has no week yet; envoyproxy/ratelimit takes its own number for it.
_UNITS = {
    1: Unit.SECOND,
    2: Unit.MINUTE,
    3: Unit.HOUR,
    4: Unit.DAY,
    5: Unit.MONTH,
    6: Unit.YEAR,
    7: Unit.WEEK,
}


def parse(body: bytes) -> RequestMessage:
    """A message from its bytes. Raises :class:`InvalidRequest`."""
    try:
        return RequestMessage.FromString(body)
    except DecodeError as error:
        raise InvalidRequest(f"not a RateLimitRequest: {error}") from error


def parse_json(body: bytes) -> RequestMessage:
    """A message from proto3 JSON. Raises :class:`InvalidRequest`."""
    message = RequestMessage()
    try:
        json_format.Parse(body, message, max_recursion_depth=20)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise InvalidRequest(f"not a RateLimitRequest in JSON: {lines[0][:200]}") from error
    return message


def read(message: RequestMessage) -> LimitRequest:
    """The values of a request. Raises :class:`InvalidRequest` for an override without a unit.

    A descriptor's own ``hits_addend`` wins and may be 0; the request's counts as 1 when it is 0.
    """
    hits = min(message.hits_addend or 1, HITS_MAX)
    return LimitRequest(message.domain, [_descriptor(each, hits) for each in message.descriptors])


def _descriptor(message: RateLimitDescriptor, hits: int) -> Descriptor:
    if message.HasField("hits_addend"):
        hits = min(message.hits_addend.value, HITS_MAX)
    entries = tuple([(entry.key, entry.value) for entry in message.entries])
    if not message.HasField("limit"):
        return Descriptor(entries, hits)
    unit = _UNITS.get(message.limit.unit)
    if unit is None:
        raise InvalidRequest(f"a limit override has the unit {message.limit.unit}")
    return Descriptor(entries, hits, Override(message.limit.requests_per_unit, unit))
