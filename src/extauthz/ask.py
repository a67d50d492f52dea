"""What a request asks for, as the meter of its route wants to be told."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

from billing.catalog import Route
from billing.meters.values import Ask
from billing.refusals import Refusal, refuse
from extauthz.facts import Facts
from extauthz.jsonrpc import read_calls

BAD_JSON = "bad_json"
"""Set by Envoy's configuration (``on_error``) when a body is no JSON, or not called JSON."""


NOTHING_ASKED = Ask()
WITHOUT_USAGE = refuse(
    "bad_request_body",
    "a stream must ask for its usage: stream_options.include_usage must be true",
    field="stream_options.include_usage",
)
"""A stream without usage could only be charged by a guess."""


def read_ask(route: Route, facts: Facts) -> Ask | Refusal:
    """Read what the meter needs; ``body_too_large`` and ``bad_request_body`` are found here."""
    if facts.body_bytes > route.max_body_bytes or facts.body_is_partial:
        limit = route.max_body_bytes
        return refuse("body_too_large", f"a body may have {limit} bytes", limit_bytes=limit)
    if route.meter == "compute_units" or (route.shape == "jsonrpc" and route.needs_body):
        calls = read_calls(facts.body, route.max_calls)
        if isinstance(calls, Refusal):
            return calls
        return Ask(body_bytes=facts.body_bytes, calls=calls)
    if route.meter == "tokens":
        return _read_completion(route, facts)
    if route.meter == "duration":
        return Ask(body_bytes=facts.body_bytes, requested=facts.lifted)
    return NOTHING_ASKED  # the other meters quote the same whatever is asked


def _read_completion(route: Route, facts: Facts) -> Ask | Refusal:
    lifted = facts.lifted
    if BAD_JSON in lifted:
        return refuse("bad_request_body", "the body must be application/json", field="body")
    stream = lifted.get("stream") is True
    if stream and route.stream_usage == "require" and lifted.get("include_usage") is not True:
        return WITHOUT_USAGE
    return Ask(
        body_bytes=facts.body_bytes,
        model=lifted.get("model"),
        max_output_tokens=_most_output(lifted),
        choices=lifted.get("n"),
        stream=stream,
    )


def _most_output(lifted: Mapping[str, object]) -> object:
    """The output that a client allows: two names of the same bound, of which upstreams obey either.

    With both, the larger one is reckoned with. One that is no number goes to the meter as it is,
    which refuses it.
    """
    older, newer = lifted.get("max_tokens"), lifted.get("max_completion_tokens")
    if older is None or newer is None:
        return older if newer is None else newer
    if not isinstance(older, Real) or not isinstance(newer, Real):
        return older if isinstance(newer, Real) else newer
    return max(older, newer)
