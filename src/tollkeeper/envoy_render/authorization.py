"""The check: which routes ask, what they send along, and what happens when nobody answers.

``failure_mode_allow`` belongs to a filter, not to a route. Where a route wants to fail open, a
second filter stands beside the first, off for all other routes; both keep the answer in the same
metadata.
"""

from __future__ import annotations

from tollkeeper.config.schema import Config, GatewayModel, RouteModel
from tollkeeper.envoy_render.vocabulary import (
    AUTHZ_CLUSTER,
    EXT_AUTHZ,
    OPEN_EXT_AUTHZ,
    REQUEST_NAMESPACE,
    ROUTE_EXTENSION,
    Rendered,
    extension,
    grpc_service,
    typed,
)

_FILTER = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_SAFE_TO_REPEAT = "connect-failure,refused-stream"
"""Faults after which no worker has seen the check: a repeated one never reserves twice."""

_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

_KEY_FILTER = "tollkeeper.drop_query_key"
_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"


def authorization_filters(config: Config) -> list[Rendered]:
    """The check; where a route fails open, the second check, and the end of the client's key."""
    closed = extension(EXT_AUTHZ, _FILTER, _settings(config.gateway))
    if not any(fails_open(route) for route in config.routes.values()):
        return [closed]
    opened = _settings(config.gateway) | {"failure_mode_allow": True}
    open_filter = extension(OPEN_EXT_AUTHZ, _FILTER, opened)
    dropping = {"mutations": {"query_parameter_mutations": [{"remove": "api_key"}]}}
    drop = extension(_KEY_FILTER, _MUTATION, dropping)
    return [closed, {**open_filter, "disabled": True}, {**drop, "disabled": True}]


def authorization_of(name: str, route: RouteModel) -> Rendered:
    """The check of one route, as its ``typed_per_filter_config``."""
    settings: Rendered = {"context_extensions": {ROUTE_EXTENSION: name}}
    if route.shape == "jsonrpc":
        settings["with_request_body"] = {
            "max_request_bytes": route.max_body_bytes,
            "pack_as_bytes": True,
        }
    check = typed(f"{_FILTER}PerRoute", {"check_settings": settings})
    if not fails_open(route):
        return {EXT_AUTHZ: check}
    return {
        EXT_AUTHZ: typed(f"{_FILTER}PerRoute", {"disabled": True}),
        OPEN_EXT_AUTHZ: check,
        _KEY_FILTER: typed("envoy.config.route.v3.FilterConfig", {"config": {}}),
    }


def fails_open(route: RouteModel) -> bool:
    """Whether requests pass unchecked while no authorization worker answers."""
    return route.failure.authorization == "open"


def _settings(gateway: GatewayModel) -> Rendered:
    service = grpc_service(AUTHZ_CLUSTER, gateway.authz_timeout_ms)
    return {
        "transport_api_version": "V3",
        "grpc_service": service | {"retry_policy": _retry_policy()},
        "metadata_context_namespaces": [REQUEST_NAMESPACE],
        "status_on_error": {"code": "ServiceUnavailable"},
    }


def _retry_policy() -> Rendered:
    """Ask another worker at once; the dead one looks least busy and would be chosen again."""
    return {
        "retry_on": _SAFE_TO_REPEAT,
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_host_predicate": [
            extension("envoy.retry_host_predicates.previous_hosts", _PREVIOUS_HOSTS)
        ],
        "host_selection_retry_max_attempts": 5,
    }
