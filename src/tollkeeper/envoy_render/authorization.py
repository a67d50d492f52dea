"""The check: which routes ask, what they send along, and what happens when nobody answers.

Two things belong to a filter and not to a route: that requests pass while nobody answers
(``failure_mode_allow``), and that a body is sent, as bytes (``pack_as_bytes``; such a filter sends
every body that was read before it). So there is one filter for each kind of route in the file. The
plain one is on unless a route uses another; they all keep the answer in the same metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

from tollkeeper.config.schema import Config, GatewayModel, RouteModel
from tollkeeper.envoy_render.vocabulary import (
    AUTHZ_CLUSTER,
    BODY_EXT_AUTHZ,
    EXT_AUTHZ,
    OPEN_BODY_EXT_AUTHZ,
    OPEN_EXT_AUTHZ,
    REQUEST_NAMESPACE,
    ROUTE_EXTENSION,
    Rendered,
    extension,
    grpc_service,
    seconds,
    typed,
)

_FILTER = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_SAFE_TO_REPEAT = "connect-failure,refused-stream"
"""Faults after which no worker has seen the check: a repeated one never reserves twice."""

_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

DEFAULT_BODY_BYTES = 1 << 20
"""Of a filter that sends bodies; each of its routes has a bound of its own."""

_KEY_FILTER = "tollkeeper.drop_query_key"
_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


def _body(most_bytes: int) -> Rendered:
    return {"max_request_bytes": most_bytes, "pack_as_bytes": True}


_KINDS: Mapping[str, Rendered] = {
    EXT_AUTHZ: {},
    BODY_EXT_AUTHZ: {"with_request_body": _body(DEFAULT_BODY_BYTES)},
    OPEN_EXT_AUTHZ: {"failure_mode_allow": True},
    OPEN_BODY_EXT_AUTHZ: {
        "with_request_body": _body(DEFAULT_BODY_BYTES),
        "failure_mode_allow": True,
    },
}


def authorization_filters(config: Config) -> list[Rendered]:
    """The plain check, those of other kinds that routes use, and the end of the client's key."""
    routes = config.routes.values()
    filters = [extension(EXT_AUTHZ, _FILTER, _settings(config.gateway))]
    for name in sorted({_filter_of(route) for route in routes} - {EXT_AUTHZ}):
        settings = _settings(config.gateway) | _KINDS[name]
        filters.append({**extension(name, _FILTER, settings), "disabled": True})
    if any(fails_open(route) for route in routes):
        dropping = {"mutations": {"query_parameter_mutations": [{"remove": "api_key"}]}}
        filters.append({**extension(_KEY_FILTER, _MUTATION, dropping), "disabled": True})
    return filters


def authorization_of(name: str, route: RouteModel) -> Rendered:
    """The check of one route, as its ``typed_per_filter_config``."""
    settings: Rendered = {"context_extensions": {ROUTE_EXTENSION: name}}
    if route.shape == "jsonrpc":
        settings["with_request_body"] = _body(route.max_body_bytes)
    found: Rendered = {}
    if _filter_of(route) != EXT_AUTHZ:
        found[EXT_AUTHZ] = typed(f"{_FILTER}PerRoute", {"disabled": True})
    found[_filter_of(route)] = typed(f"{_FILTER}PerRoute", {"check_settings": settings})
    if fails_open(route):
        found[_KEY_FILTER] = typed("envoy.config.route.v3.FilterConfig", {"config": {}})
    return found


def fails_open(route: RouteModel) -> bool:
    """Whether requests pass unchecked while no authorization worker answers."""
    return route.failure.authorization == "open"


def _filter_of(route: RouteModel) -> str:
    if route.shape == "jsonrpc":
        return OPEN_BODY_EXT_AUTHZ if fails_open(route) else BODY_EXT_AUTHZ
    return OPEN_EXT_AUTHZ if fails_open(route) else EXT_AUTHZ


def _settings(gateway: GatewayModel) -> Rendered:
    service = grpc_service(AUTHZ_CLUSTER, gateway.authz_timeout_ms)
    return {
        "transport_api_version": "V3",
        "grpc_service": service | {"retry_policy": _retry_policy(gateway)},
        "metadata_context_namespaces": [REQUEST_NAMESPACE],
        "status_on_error": {"code": "ServiceUnavailable"},
    }


def _retry_policy(gateway: GatewayModel) -> Rendered:
    """Ask another worker at once; the dead one looks least busy and would be chosen again.

    Envoy takes ``max_interval`` for the time that each try of a gRPC call may last, too
    (https://github.com/envoyproxy/envoy/issues/38847), so it is no shorter than the check's own.
    """
    longest = seconds(gateway.authz_timeout_ms)
    return {
        "retry_on": _SAFE_TO_REPEAT,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": longest},
        "retry_host_predicate": [
            extension("envoy.retry_host_predicates.previous_hosts", _PREVIOUS_HOSTS)
        ],
        "host_selection_retry_max_attempts": 5,
    }
