"""A :class:`ratelimit.decision.Decision` -> the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from envoyapi.core_v3_pb2 import HeaderValue
from envoyapi.ratelimit_v3_pb2 import RateLimitRequest as RequestMessage
from envoyapi.ratelimit_v3_pb2 import RateLimitResponse as ResponseMessage
from ratelimit.decision import Decision, Status
from ratelimit.units import Unit

__all__ = ["ResponseMessage", "ResponseShape", "to_json", "write"]

OK = ResponseMessage.OK
OVER_LIMIT = ResponseMessage.OVER_LIMIT
_UNITS = {
    Unit.SECOND: ResponseMessage.RateLimit.SECOND,
    Unit.MINUTE: ResponseMessage.RateLimit.MINUTE,
    Unit.HOUR: ResponseMessage.RateLimit.HOUR,
    Unit.DAY: ResponseMessage.RateLimit.DAY,
    Unit.WEEK: ResponseMessage.RateLimit.WEEK,
    Unit.MONTH: ResponseMessage.RateLimit.MONTH,
    Unit.YEAR: ResponseMessage.RateLimit.YEAR,
}
_REMAINING_MAX = 2**32 - 1


@dataclass(frozen=True)
class ResponseShape:
    """What goes into a response beside the statuses."""

    headers: tuple[str, str, str] | None = None  # names for limit, remaining, reset
    dynamic_metadata: bool = False


def write(decision: Decision, shape: ResponseShape, request: RequestMessage) -> ResponseMessage:
    """The message for a decision about this request."""
    response = ResponseMessage(overall_code=OVER_LIMIT if decision.over else OK)
    for status in decision.statuses:
        _write_status(response.statuses.add(), status)
    if shape.headers:
        _write_headers(response, decision, shape.headers)
    if shape.dynamic_metadata:
        response.dynamic_metadata.update(_metadata(decision, request))
    return response


def to_json(response: ResponseMessage) -> str:
    """Proto3 JSON, as the service's HTTP endpoint gives it."""
    return json_format.MessageToJson(response, indent=None)


def _write_status(message: ResponseMessage.DescriptorStatus, status: Status) -> None:
    message.code = OVER_LIMIT if status.over else OK
    message.limit_remaining = min(status.remaining, _REMAINING_MAX)
    limit = status.limit
    if limit is None:
        return
    current = message.current_limit
    current.requests_per_unit = limit.requests_per_unit
    current.unit = _UNITS[limit.unit]
    if status.name:
        current.name = status.name
    message.duration_until_reset.seconds = status.reset_s


def _write_headers(
    response: ResponseMessage, decision: Decision, names: tuple[str, str, str]
) -> None:
    nearest = decision.nearest
    if nearest is None or nearest.limit is None:
        return
    numbers = (nearest.limit.requests_per_unit, nearest.remaining, nearest.reset_s)
    for name, number in zip(names, numbers, strict=True):
        response.response_headers_to_add.append(HeaderValue(key=name, value=str(number)))


def _metadata(decision: Decision, request: RequestMessage) -> Mapping[str, Any]:
    """What was asked, and the metadata of the rules whose limits were kept; where two have the same
    field, the first one's stays."""
    descriptors = []
    for descriptor in request.descriptors:
        said: dict[str, Any] = {"entries": [f"{e.key}={e.value}" for e in descriptor.entries]}
        if descriptor.HasField("limit"):
            said["limit"] = str(descriptor.limit).strip()
        if descriptor.HasField("hits_addend"):
            said["hitsAddend"] = descriptor.hits_addend.value
        descriptors.append(said)
    told: dict[str, Any] = {"domain": request.domain, "descriptors": descriptors}
    if request.hits_addend:
        told["hitsAddend"] = request.hits_addend
    merged: dict[str, Any] = {}
    for status in decision.statuses:
        if status.metadata and not status.over:
            _merge(merged, status.metadata)
    if merged:
        told["metadata"] = merged
    return told


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        known = into.get(key)
        if key not in into:
            into[key] = dict(value) if isinstance(value, dict) else value
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
