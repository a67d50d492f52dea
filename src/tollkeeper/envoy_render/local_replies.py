"""Answers that Envoy makes itself, in the shape of ours: JSON, or JSON-RPC on its routes.

Envoy tells its own answers apart by their details. What authorization refused is left as it is,
for its body is ours already. Of the others the first row that matches decides; the last takes all.
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.refusals import KINDS, RefusalKind
from tollkeeper.config.schema import Config
from tollkeeper.envoy_render.logs import expression
from tollkeeper.envoy_render.vocabulary import TICKET_NAMESPACE, Rendered

RPC_LIMIT_EXCEEDED = -32005
RPC_UNAVAILABLE = -32002
RPC_INVALID_REQUEST = -32600
"""JSON-RPC's numbers, as authorization uses them too (EIP-1474)."""

_REFUSED_BY_US = "response.code_details == 'ext_authz_denied'"
_RESET = "%RESP(X-RATELIMIT-RESET)%"


@dataclass(frozen=True, slots=True)
class LocalReply:
    """One row: when it applies, what it says, and what stands beside the sentence.

    ``status`` replaces Envoy's own where that would mislead; 0 keeps it.
    """

    condition: str
    kind: RefusalKind
    rpc_code: int = RPC_UNAVAILABLE
    retry_after: str = ""
    status: int = 0
    numbers: tuple[tuple[str, str], ...] = ()


def _details(text: str) -> str:
    return f"response.code_details == '{text}'"


def _made_here(code: str, http_status: int, message: str, action: str) -> RefusalKind:
    """What only Envoy says; the contract's table is :mod:`billing.refusals`."""
    return RefusalKind(code, http_status, message, action)


ROWS = (
    LocalReply(
        _details("request_rate_limited"),
        KINDS["rate_limited"],
        RPC_LIMIT_EXCEEDED,
        _RESET,
        numbers=(("limit", f"%DYNAMIC_METADATA({TICKET_NAMESPACE}:limit)%"), ("reset_s", _RESET)),
    ),
    LocalReply(
        f"{_details('ext_authz_error')} || {_details('rate_limiter_error')}",
        KINDS["authorization_unavailable"],
        retry_after="1",
    ),
    LocalReply(_details("request_payload_too_large"), KINDS["body_too_large"], RPC_LIMIT_EXCEEDED),
    LocalReply(
        _details("route_not_found"),
        _made_here("no_such_route", 404, "Nothing is served here.", "Check method and path."),
    ),
    LocalReply(
        _details("response_payload_too_large"),
        _made_here("response_too_large", 502, "The answer is too large.", "Ask for less."),
        status=502,
    ),
    LocalReply(
        "response.code == 504",
        _made_here(
            "upstream_timeout", 504, "The upstream did not answer in time.", "Try again later."
        ),
    ),
    LocalReply(
        "response.code >= 500",
        _made_here(
            "upstream_unavailable", 503, "The upstream cannot be reached.", "Try again shortly."
        ),
    ),
    LocalReply(
        "response.code >= 400",
        _made_here("bad_request", 400, "The request cannot be served.", "Correct the request."),
        RPC_INVALID_REQUEST,
    ),
)


def local_reply_config(config: Config) -> Rendered:
    """The mapping of Envoy's own answers, as a connection manager's ``local_reply_config``."""
    rpc_routes = [name for name, route in config.routes.items() if route.shape == "jsonrpc"]
    mappers: list[Rendered] = [{"filter": expression(_REFUSED_BY_US)}]
    for row in ROWS:
        if rpc_routes:
            names = ", ".join(f"'{name}'" for name in sorted(rpc_routes))
            on_rpc = f"({row.condition}) && xds.route_name in [{names}]"
            mappers.append(_mapper(on_rpc, row, _rpc_body(row, config.action_url)))
        mappers.append(_mapper(row.condition, row, _json_body(row, config.action_url)))
    return {"mappers": mappers}


def _mapper(condition: str, row: LocalReply, body: Rendered) -> Rendered:
    headers = {"x-request-id": "%REQ(X-REQUEST-ID)%", "retry-after": row.retry_after}
    mapper: Rendered = {
        "filter": expression(condition),
        "body_format_override": {
            "json_format": body,
            "json_format_options": {"sort_properties": False},
            "content_type": "application/json",
        },
        "headers_to_add": [_header(name, value) for name, value in headers.items() if value],
    }
    return mapper | ({"status_code": row.status} if row.status else {})


def _header(name: str, value: str) -> Rendered:
    action = "OVERWRITE_IF_EXISTS_OR_ADD"
    return {"header": {"key": name, "value": value}, "append_action": action}


def _error(row: LocalReply, action_url: str) -> Rendered:
    return {
        "code": row.kind.code,
        "message": row.kind.message,
        "reason": "",
        "action": row.kind.action,
        "url": action_url.replace("%", "%%"),  # a lone % would begin an operator
        "request_id": "%REQ(X-REQUEST-ID)%",
        **dict(row.numbers),
    }


def _json_body(row: LocalReply, action_url: str) -> Rendered:
    return {"error": _error(row, action_url)}


def _rpc_body(row: LocalReply, action_url: str) -> Rendered:
    """The call's id is not known here, so it is ``null``, as JSON-RPC has it for such errors."""
    data = _error(row, action_url)
    message = data.pop("message")
    error = {"code": row.rpc_code, "message": message, "data": data}
    return {"jsonrpc": "2.0", "id": None, "error": error}
