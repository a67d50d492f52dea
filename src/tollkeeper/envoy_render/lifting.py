"""Envoy reads the bodies: what a request asks for, and what its answer says it used.

No body crosses gRPC except on JSON-RPC routes: ``json_to_metadata`` has no selectors into arrays,
so a batch has to be seen whole. Types are kept as they came, so that a negative count or a text in
the place of a number reaches the meter, which refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tollkeeper.config.schema import GatewayModel, RouteModel
from tollkeeper.envoy_render.vocabulary import (
    ANSWER_BUFFER,
    BUFFER,
    JSON_TO_METADATA,
    REQUEST_NAMESPACE,
    SSE_TO_METADATA,
    USAGE_NAMESPACE,
    Rendered,
    extension,
    typed,
)

BAD_JSON = "bad_json"
"""Set to true where a body is no JSON; told in the place of everything else."""

_JSON_FILTER = "envoy.extensions.filters.http.json_to_metadata.v3.JsonToMetadata"
_BUFFER_FILTER = "envoy.extensions.filters.http.buffer.v3.Buffer"
_SSE_FILTER = "envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata"
_JSON_PARSER = "envoy.extensions.content_parsers.json.v3.JsonContentParser"
_ENABLED = "envoy.config.route.v3.FilterConfig"

_COMPLETION = (
    ("model", ("model",)),
    ("max_tokens", ("max_tokens",)),
    ("max_completion_tokens", ("max_completion_tokens",)),
    ("n", ("n",)),
    ("stream", ("stream",)),
    ("include_usage", ("stream_options", "include_usage")),
)
_RUN = tuple((name, (name,)) for name in ("cpu_s", "memory_mib", "duration_s"))
_ASKED = {"tokens": _COMPLETION, "reported": _COMPLETION, "duration": _RUN}
"""What is lifted out of a request's JSON, by meter: name in the metadata, path in the body."""

_USED = (
    ("input_tokens", ("usage", "prompt_tokens")),
    ("cached_tokens", ("usage", "prompt_tokens_details", "cached_tokens")),
    ("output_tokens", ("usage", "completion_tokens")),
    ("total_tokens", ("usage", "total_tokens")),
    ("model", ("model",)),
)
"""What is lifted out of an answer, whole or the last event of a stream that holds it."""

_COUNTS_TOKENS = frozenset({"tokens", "reported"})
_JSON_TYPES = r"(?i)application/([a-z0-9.+-]+\+)?json\s*(;.*)?"


def reads_request(route: RouteModel) -> bool:
    """Whether the request's JSON is read before the check."""
    return route.meter in _ASKED


def reads_usage(route: RouteModel) -> bool:
    """Whether the answer's usage is read."""
    return route.meter in _COUNTS_TOKENS


def lifting_filters_before() -> list[Rendered]:
    """The filters that read bodies whole; off, until a route says what to read."""
    bound = {"max_request_bytes": 1024}
    buffers = [extension(name, _BUFFER_FILTER, bound) for name in (BUFFER, ANSWER_BUFFER)]
    return [_off(one) for one in (*buffers, extension(JSON_TO_METADATA, _JSON_FILTER))]


def lifting_filter_after(gateway: GatewayModel) -> Rendered:
    """The filter that reads streams event by event; off, until a route enables it."""
    rules = [{"rule": _used(name, path)} for name, path in _USED]
    parser = extension("envoy.content_parsers.json", _JSON_PARSER, {"rules": rules})
    reading = {"content_parser": parser, "max_event_size": gateway.sse_max_event_bytes}
    return _off(extension(SSE_TO_METADATA, _SSE_FILTER, {"response_rules": reading}))


def lifting_of(route: RouteModel, gateway: GatewayModel) -> Rendered:
    """What is read on one route, as its ``typed_per_filter_config``.

    The first buffer bounds the request. Envoy then holds the answer to the same bound, so a second
    one, which begins when the request is whole, sets another for the answer.
    """
    found: Rendered = {}
    if reads_request(route):
        found[BUFFER] = _bounded(route.max_body_bytes)
    if reads_usage(route):
        found[ANSWER_BUFFER] = _bounded(max(route.max_body_bytes, gateway.response_buffer_bytes))
    reading = _request_rules(route) | _response_rules(route)
    if reading:
        found[JSON_TO_METADATA] = typed(_JSON_FILTER, reading)
    if reads_usage(route):
        found[SSE_TO_METADATA] = typed(_ENABLED, {"config": {}})
    return found


def _bounded(size_bytes: int) -> Rendered:
    return typed(f"{_BUFFER_FILTER}PerRoute", {"buffer": {"max_request_bytes": size_bytes}})


def _request_rules(route: RouteModel) -> Rendered:
    """Bodies of any content type are read: a client must not choose that nothing is seen."""
    if route.meter not in _ASKED:
        return {}
    rules = [_asked(name, path) for name, path in _ASKED[route.meter]]
    rules[0]["on_error"] = {"key": BAD_JSON, "value": True}
    return {
        "request_rules": {
            "rules": rules,
            "allow_content_types_regex": {"regex": ".*"},
            "allow_empty_content_type": True,
        }
    }


def _response_rules(route: RouteModel) -> Rendered:
    """Only JSON is read whole; a stream must never wait for its own end."""
    if not reads_usage(route):
        return {}
    rules = [_used(name, path) for name, path in _USED]
    return {"response_rules": {"rules": rules, "allow_content_types_regex": {"regex": _JSON_TYPES}}}


def _asked(name: str, path: Sequence[str]) -> Rendered:
    return _rule(path, {"metadata_namespace": REQUEST_NAMESPACE, "key": name})


def _used(name: str, path: Sequence[str]) -> Rendered:
    return _rule(path, {"metadata_namespace": USAGE_NAMESPACE, "key": name})


def _rule(path: Sequence[str], on_present: Rendered) -> Rendered:
    return {"selectors": [{"key": part} for part in path], "on_present": on_present}


def _off(http_filter: Rendered) -> Rendered:
    return {"name": http_filter["name"], "disabled": True, **http_filter}
