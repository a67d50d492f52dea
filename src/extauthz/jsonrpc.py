"""JSON-RPC 2.0 bodies: which methods a request calls, and which ids its answer must name.

Only ``method`` and ``id`` are read; parameters are skipped, never built. The gateway must see the
method that the node will run, so a member that differs from ``method`` only by case is refused:
Go's decoder, which most nodes use, would take it for the method. Of a name that stands twice the
last one counts, there as here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from billing.refusals import Refusal, refuse

MAX_METHOD_CHARS = 128
MAX_ID_BYTES = 128
"""A longer id is answered as ``null``: nobody makes the gateway echo a book."""
MAX_ECHO_BYTES = 16_384
"""A refused batch that is larger is answered once, with id ``null``, not call by call."""

NOT_JSON = refuse("bad_request_body", "the body is not JSON", field="body")
MEMBERS = frozenset({"jsonrpc", "id", "method", "params"})

_batch = msgspec.json.Decoder(list[msgspec.Raw])
_call = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_FAULTS = (msgspec.DecodeError, UnicodeError, RecursionError)

Body = bytes | str


def read_calls(body: Body, max_calls: int) -> Mapping[str, int] | Refusal:
    """How often the body calls each method; notifications count, for they run like calls."""
    try:
        calls = _split(body)
    except _FAULTS:
        return NOT_JSON
    if not calls:
        return _bad("an empty batch calls nothing", "body")
    if len(calls) > max_calls:
        reason = f"a batch may hold at most {max_calls} calls"
        return refuse("body_too_large", reason, limit_calls=max_calls, calls=len(calls))
    counted: Counter[str] = Counter()
    for call in calls:
        method = _method(call)
        if isinstance(method, Refusal):
            return method
        counted[method] += 1
    return counted


def reply_ids(body: Body) -> list[bytes] | bytes:
    """The ids that a refusal has to name, as JSON text: a list for a batch, one for a call.

    Notifications are left out of a batch. What cannot be read, and a batch that is large or holds
    notifications only, is answered once, with ``null``.
    """
    if len(body) > MAX_ECHO_BYTES:
        return b"null"
    try:
        calls = _split(body)
        ids = [call["id"] for call in (_call.decode(raw) for raw in calls) if "id" in call]
    except _FAULTS:
        return b"null"
    echoed = [_echo(raw) for raw in ids]
    if _is_batch(body):
        return echoed or b"null"
    return echoed[0] if echoed else b"null"


def _split(body: Body) -> list[msgspec.Raw]:
    if _is_batch(body):
        return _batch.decode(body)
    return [msgspec.Raw(body)]


def _is_batch(body: Body) -> bool:
    return body.lstrip()[:1] in {b"[", "["}


def _method(call: msgspec.Raw) -> str | Refusal:
    try:
        members = _call.decode(call)
        method = _text.decode(members["method"])
    except msgspec.ValidationError:
        return _bad("a call is a JSON object whose method is text", "method")
    except KeyError:
        return _bad("a call names no method", "method")
    except _FAULTS:
        return NOT_JSON
    if not (members.keys() <= MEMBERS) and _has_twin(members):
        return _bad("a member of a call differs from 'method' only by case", "method")
    if not 0 < len(method) <= MAX_METHOD_CHARS:
        return _bad(f"a method has 1 to {MAX_METHOD_CHARS} characters", "method")
    return method


def _has_twin(members: Mapping[str, object]) -> bool:
    return any(name != "method" and name.casefold() == "method" for name in members)


def _echo(raw: msgspec.Raw) -> bytes:
    """An id as the client wrote it; only text, numbers and ``null`` are ids."""
    text = bytes(raw)
    if len(text) > MAX_ID_BYTES or text[:1] not in b'"-0123456789n':
        return b"null"
    try:
        text.decode()
    except UnicodeDecodeError:
        return b"null"
    return text


def _bad(reason: str, field: str) -> Refusal:
    return refuse("bad_request_body", reason, field=field)
