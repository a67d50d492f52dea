"""Envoy's two access logs: the stream that is settled, and the file that can be replayed.

Both hold the same facts. Neither holds a key: the file writes the path without its query, and the
stream leaves out what was refused before the query lost its ``api_key``.
"""

from __future__ import annotations

from accesslog.settings import JudgeSettings
from tollkeeper.config.schema import GatewayModel
from tollkeeper.envoy_render.vocabulary import (
    ACCESSLOG_CLUSTER,
    TICKET_NAMESPACE,
    USAGE_NAMESPACE,
    Rendered,
    extension,
    seconds,
    typed,
)
from tollkeeper.settings import Settings

_STREAM = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_EXPRESSION = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"

_DIGITS = "%REQ(:METHOD):0%"
"""Nothing: a text cut to no length. A number alone becomes a JSON number, and Envoy writes 200000
as 2e+05 because that is shorter; with a text behind it, a number is the text of its digits."""

_LINE = {
    "access_log_type": "%ACCESS_LOG_TYPE%",
    "account": f"%DYNAMIC_METADATA({TICKET_NAMESPACE}:account)%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "duration_ms": f"%DURATION%{_DIGITS}",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "request_bytes": f"%BYTES_RECEIVED%{_DIGITS}",
    "request_id": "%STREAM_ID%",
    "response_bytes": f"%BYTES_SENT%{_DIGITS}",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "route": "%ROUTE_NAME%",
    "start_time": "%START_TIME(%s.%6f)%",
    "ticket": f"%DYNAMIC_METADATA({TICKET_NAMESPACE}:ticket)%",
    "time_to_first_byte_ms": f"%RESPONSE_DURATION%{_DIGITS}",
    "usage": f"%DYNAMIC_METADATA({USAGE_NAMESPACE})%",
}
"""One line of the file, without the response headers; ``accesslog.logline`` reads it back."""


def access_logs(gateway: GatewayModel, settings: Settings) -> list[Rendered]:
    """The stream to the sink and the JSON file, as a connection manager's ``access_log``."""
    headers = sorted(JudgeSettings().usage_headers)
    return [
        {"name": "tollkeeper.stream", "filter": _settled(), **_stream(gateway, headers)},
        {"name": "tollkeeper.file", "filter": _ended(), **_file(settings, headers)},
    ]


def expression(cel: str) -> Rendered:
    """A filter over what Envoy knows of a request, in its expression language."""
    name = "envoy.access_loggers.extension_filters.cel"
    return {"extension_filter": extension(name, _EXPRESSION, {"expression": cel})}


def _stream(gateway: GatewayModel, headers: list[str]) -> Rendered:
    common = {
        "log_name": "tollkeeper",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": ACCESSLOG_CLUSTER}},
        "buffer_flush_interval": seconds(gateway.access_log_flush_ms),
        "buffer_size_bytes": gateway.access_log_buffer_bytes,
    }
    fields = {"common_config": common, "additional_response_headers_to_log": headers}
    return {"typed_config": typed(_STREAM, fields)}


def _file(settings: Settings, headers: list[str]) -> Rendered:
    line = _LINE | {"response_headers": {name: f"%RESP({name.upper()})%" for name in headers}}
    fields = {
        "path": str(settings.envoy_access_log_file),
        "log_format": {"json_format": line, "json_format_options": {"sort_properties": True}},
    }
    return {"typed_config": typed(_FILE, fields)}


def _settled() -> Rendered:
    """Entries with a ticket, and those that reached an upstream without one, to be noticed."""
    ticket = {
        "filter": TICKET_NAMESPACE,
        "path": [{"key": "ticket"}],
        "value": {"present_match": True},
    }
    with_ticket = {"metadata_filter": {"matcher": ticket, "match_if_key_not_found": False}}
    served = expression("response.code_details == 'via_upstream'")
    return {"or_filter": {"filters": [with_ticket, served]}}


def _ended() -> Rendered:
    return {"log_type_filter": {"types": ["DownstreamEnd"]}}
