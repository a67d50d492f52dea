"""From Envoy's ``CheckRequest`` to :class:`extauthz.facts.Facts`: what the wire is taken for.

Envoy joins the values of a header that comes several times with a comma, and lower-cases its name.
Header and metadata names are those of Envoy's API and of our own rendering of its configuration.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from urllib.parse import unquote

from google.protobuf.message import DecodeError

from billing.keys import PREFIX
from billing.refusals import Refusal, refuse
from envoyapi.auth_v3_pb2 import AttributeContext, CheckRequest
from extauthz.facts import Facts

ROUTE_EXTENSION = "tollkeeper.route"
LIFTED_NAMESPACE = "envoy.filters.http.json_to_metadata"
KEY_PARAMETER = "api_key"
OUR_PREFIXES = ("x-tollkeeper-", "x-credits-")
# One scan of the message tells that none of them is there, as nearly always.
_OUR_NAMES = re.compile(rb"x-(?:tollkeeper|credits)-")
PARTIAL_BODY = "x-envoy-auth-partial-body"
MAX_LENGTH_DIGITS = 18

MISSING_KEY = refuse("missing_key")
TWO_KEYS = refuse("malformed_key", "two different keys were sent; send one")

_BEARER = "bearer "
_PARAMETER = f"{KEY_PARAMETER}="
_NOTHING: Mapping[str, object] = {}
_READ_KINDS = frozenset({"string_value", "number_value", "bool_value"})


class NotACheck(ValueError):
    """The bytes are no ``CheckRequest``."""


def read_check(wire: bytes) -> Facts:
    """Read a serialised ``CheckRequest``; raises :class:`NotACheck`."""
    try:
        attributes = CheckRequest.FromString(wire).attributes
    except DecodeError as error:
        raise NotACheck(str(error)) from error
    http = attributes.request.http
    headers = http.headers
    key, places = _read_key(headers, http.path)
    body = http.raw_body or http.body
    return Facts(
        route=attributes.context_extensions.get(ROUTE_EXTENSION, ""),
        key=key,
        key_headers=tuple([place for place in places if place != KEY_PARAMETER]),
        key_in_query=KEY_PARAMETER in places,
        our_headers=_forged(headers) if _OUR_NAMES.search(wire) else (),
        body_bytes=max(_content_length(headers), http.size, len(body)),
        body=body,
        body_is_partial=headers.get(PARTIAL_BODY) == "true",
        lifted=_lifted(attributes),
        gateway_request_id=headers.get("x-request-id", ""),
    )


def _forged(headers: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in headers if name.startswith(OUR_PREFIXES))


def _read_key(headers: Mapping[str, str], path: str) -> tuple[str | Refusal, Collection[str]]:
    """The one key that was sent, and where.

    With several texts, those in the form of our keys count: others may be meant for the upstream.
    """
    sent = _sent(headers, path)
    texts = set(sent.values())
    if len(texts) > 1:
        texts = {text for text in texts if text.startswith(PREFIX)} or texts
    if len(texts) > 1:
        return TWO_KEYS, ()
    key = texts.pop() if texts else ""
    if not key:
        return MISSING_KEY, ()
    return key, sent if len(sent) == 1 else [place for place in sent if sent[place] == key]


def _sent(headers: Mapping[str, str], path: str) -> dict[str, str]:
    """What was sent where a key belongs, by the place: a header's name or the parameter's."""
    found = {}
    authorization = headers.get("authorization")
    if authorization is not None and authorization[: len(_BEARER)].lower() == _BEARER:
        found["authorization"] = authorization[len(_BEARER) :].strip()
    api_key = headers.get("x-api-key")
    if api_key is not None:
        found["x-api-key"] = api_key.strip()
    if _PARAMETER in path:
        in_query = _query_key(path)
        if in_query is not None:
            found[KEY_PARAMETER] = in_query
    return found


def _query_key(path: str) -> str | None:
    """The parameter's value; several different ones are joined, and so are no key.

    Its name is compared as it was written, for so does Envoy when it removes it.
    """
    query = path.partition("?")[2].partition("#")[0]
    pairs = (pair.partition("=") for pair in query.split("&"))
    values = dict.fromkeys(unquote(value) for name, _, value in pairs if name == KEY_PARAMETER)
    return ",".join(values) if values else None


def _content_length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    digits = text.isascii() and text.isdecimal() and len(text) <= MAX_LENGTH_DIGITS
    return int(text) if digits else 0


def _lifted(attributes: AttributeContext) -> Mapping[str, object]:
    """What Envoy read out of the body; objects, lists and ``null`` are left out."""
    metadata = attributes.metadata_context.filter_metadata
    if LIFTED_NAMESPACE not in metadata:
        return _NOTHING
    lifted: dict[str, object] = {}
    for name, value in metadata[LIFTED_NAMESPACE].fields.items():
        kind = value.WhichOneof("kind")
        if kind in _READ_KINDS:
            lifted[name] = getattr(value, kind)
    return lifted
