"""What the front door knows of a request, free of the wire."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from billing.refusals import Refusal


class Facts(msgspec.Struct, frozen=True):
    """One request, as Envoy told of it.

    ``route`` is the name that Envoy's configuration carries. ``key`` is the key's text, or why
    there is none; ``key_headers`` and ``key_in_query`` say where it stood. ``our_headers`` are the
    headers under our names that the client made up. ``body_bytes`` is the body's length (0: none,
    or not known), ``body`` its text where Envoy was told to send it, ``body_is_partial`` that it
    sent less than all. ``lifted`` is what Envoy read out of a JSON body: text, numbers and
    booleans. ``gateway_request_id`` is Envoy's own id of the request, for logs.
    """

    route: str
    key: str | Refusal
    key_headers: tuple[str, ...]
    key_in_query: bool
    our_headers: tuple[str, ...]
    body_bytes: int
    body: bytes | str
    body_is_partial: bool
    lifted: Mapping[str, object]
    gateway_request_id: str
