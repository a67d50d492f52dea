"""Names that Envoy's configuration and our services agree on, and small pieces of its form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tollkeeper.addresses import Address

Rendered = dict[str, Any]
"""A piece of Envoy's configuration: mappings, lists, text, whole numbers and booleans."""

AUTHZ_CLUSTER = "tollkeeper_authz"
RATELIMIT_CLUSTER = "tollkeeper_ratelimit"
ACCESSLOG_CLUSTER = "tollkeeper_accesslog"
OTLP_CLUSTER = "tollkeeper_otlp"

BUFFER = "envoy.filters.http.buffer"
ANSWER_BUFFER = "tollkeeper.answer_buffer"
JSON_TO_METADATA = "envoy.filters.http.json_to_metadata"
EXT_AUTHZ = "envoy.filters.http.ext_authz"
BODY_EXT_AUTHZ = "tollkeeper.ext_authz_body"
OPEN_EXT_AUTHZ = "tollkeeper.ext_authz_open"
OPEN_BODY_EXT_AUTHZ = "tollkeeper.ext_authz_open_body"
RATELIMIT = "envoy.filters.http.ratelimit"
COUNTED_LIMIT = "tollkeeper.token_limit"
SSE_TO_METADATA = "envoy.filters.http.sse_to_metadata"
ROUTER = "envoy.filters.http.router"

ROUTE_EXTENSION = "tollkeeper.route"
"""The one thing that Envoy has to carry: the name of the route (contract, section 3)."""

TICKET_NAMESPACE = EXT_AUTHZ
"""Where Envoy keeps what a check answered, whatever the filter's own name."""

REQUEST_NAMESPACE = JSON_TO_METADATA
USAGE_NAMESPACE = "tollkeeper.usage"

_TYPES = "type.googleapis.com/"


def upstream_cluster(upstream: str) -> str:
    """The cluster of an upstream of ``tollkeeper.yaml``."""
    return f"upstream_{upstream}"


def typed(message: str, fields: Rendered | None = None) -> Rendered:
    """A message of Envoy's API with its type, as ``typed_config`` wants it."""
    return {"@type": _TYPES + message, **(fields or {})}


def extension(name: str, message: str, fields: Rendered | None = None) -> Rendered:
    """A named extension with its configuration."""
    return {"name": name, "typed_config": typed(message, fields)}


def seconds(milliseconds: int) -> str:
    """A duration as Envoy reads it: ``0.25s``."""
    whole, rest = divmod(milliseconds, 1000)
    return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + "s"


def address(where: Address) -> Rendered:
    """A TCP address or a Unix socket."""
    if where.path:
        return {"pipe": {"path": where.path}}
    return {"socket_address": {"address": where.host, "port_value": where.port}}


def metadata_key(namespace: str, path: Iterable[str]) -> Rendered:
    """Where a value stands in dynamic metadata."""
    return {"key": namespace, "path": [{"key": part} for part in path]}


def grpc_service(cluster: str, timeout_ms: int) -> Rendered:
    """How a filter calls one of our services."""
    return {"envoy_grpc": {"cluster_name": cluster}, "timeout": seconds(timeout_ms)}
