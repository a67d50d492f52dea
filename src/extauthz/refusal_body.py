"""What a refused client reads: JSON, or JSON-RPC 2.0 where its route speaks it.

docs/refusals.md shows every code in both.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from billing.refusals import Refusal
from extauthz.decision import Refused
from extauthz.jsonrpc import NOT_JSON, reply_ids

RPC_NOT_JSON = -32700
RPC_CODES: Mapping[int, int] = {
    400: -32600,
    401: -32041,
    402: -32042,
    403: -32043,
    413: -32005,
    429: -32005,
    503: -32002,
}
"""JSON-RPC's error number by HTTP status.

-32600 is JSON-RPC's own "invalid request", and :data:`RPC_NOT_JSON` its "parse error"; -32002 and
-32005 are what Ethereum's nodes answer when something is unavailable or a limit exceeded
(EIP-1474); the others lie in the range that JSON-RPC leaves to servers.
"""

_json = msgspec.json.Encoder()


def write_body(refused: Refused, action_url: str) -> str:
    """The body of a refusal, in the shape of its route."""
    error = _error(refused.refusal, refused.request_id, action_url)
    if refused.shape == "json":
        return _json.encode({"error": error}).decode()
    return _rpc_body(refused, error).decode()


def _error(refusal: Refusal, request_id: str, action_url: str) -> dict[str, int | str]:
    kind = refusal.kind
    return {
        "code": kind.code,
        "message": kind.message,
        "reason": refusal.reason,
        "action": kind.action,
        "url": action_url,
        "request_id": request_id,
        **refusal.numbers,
    }


def _rpc_body(refused: Refused, error: dict[str, int | str]) -> bytes:
    """One answer for each call of the client, so that every one of them hears of the refusal.

    A batch gets an array with an answer for each id, as JSON-RPC wants it. Where that cannot be
    (the body is no JSON-RPC, an empty batch, notifications only), one answer with id ``null``.
    """
    refusal = refused.refusal
    number = RPC_NOT_JSON if refusal is NOT_JSON else RPC_CODES[refusal.kind.http_status]
    message = error.pop("message")
    answer = _json.encode({"code": number, "message": message, "data": error})
    ids = reply_ids(refused.facts.body)
    if isinstance(ids, bytes):
        return _rpc_answer(ids, answer)
    return b"[" + b",".join([_rpc_answer(one, answer) for one in ids]) + b"]"


def _rpc_answer(call_id: bytes, error: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + call_id + b',"error":' + error + b"}"
