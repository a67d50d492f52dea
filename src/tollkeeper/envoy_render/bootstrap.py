"""Envoy's whole bootstrap from ``tollkeeper.yaml``, and the part for those who have an Envoy."""

from __future__ import annotations

from tollkeeper.config.schema import Config
from tollkeeper.envoy_render.authorization import authorization_filters
from tollkeeper.envoy_render.clusters import service_clusters, upstream_clusters
from tollkeeper.envoy_render.downstream_tls import gateway_encryption
from tollkeeper.envoy_render.lifting import lifting_filter_after, lifting_filters_before
from tollkeeper.envoy_render.limits import limit_filters, limits_of
from tollkeeper.envoy_render.local_replies import local_reply_config
from tollkeeper.envoy_render.logs import access_logs
from tollkeeper.envoy_render.routes import filters_of, route_configuration
from tollkeeper.envoy_render.text import to_yaml
from tollkeeper.envoy_render.tracing import tracing_clusters, tracing_of
from tollkeeper.envoy_render.vocabulary import (
    ROUTER,
    Rendered,
    address,
    extension,
    seconds,
    typed,
)
from tollkeeper.settings import Settings

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_CONNECTIONS = "envoy.extensions.resource_monitors.downstream_connections.v3"

OUR_HEADER_PREFIXES = ("x-tollkeeper-", "x-credits-")
"""Headers that only we set: a client's are gone before anything looks at the request."""

HEADING = (
    "# Written by `tollkeeper envoy render` from tollkeeper.yaml. Change that file, not this one."
)

REQUEST_HEADERS_TIMEOUT_MS = 10_000
REQUEST_TIMEOUT_MS = 300_000
"""How long a client may take to send a request: its headers, and all of it."""

CLIENT_IDLE_MS = 300_000
MAX_STREAMS = 1_024
CONNECTION_BUFFER_BYTES = 1 << 20
"""What Envoy keeps for a client that reads slowly. Bodies that are read whole have other bounds."""

HTTP2_CONNECTION_WINDOW_BYTES = 16 << 20


def render_bootstrap(config: Config, settings: Settings) -> Rendered:
    """The bootstrap of a gateway that needs nothing else: plain values, in a stable order."""
    gateway = config.gateway
    return {
        "node": {"id": "tollkeeper-gateway", "cluster": "tollkeeper"},
        "admin": {"address": address(gateway.admin_listen)},
        "overload_manager": {
            "resource_monitors": [
                extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    f"{_CONNECTIONS}.DownstreamConnectionsConfig",
                    {"max_active_downstream_connections": gateway.max_connections},
                )
            ]
        },
        "static_resources": {
            "listeners": [_listener(config, settings)],
            "clusters": [
                *service_clusters(settings),
                *upstream_clusters(config),
                *tracing_clusters(settings),
            ],
        },
    }


def bootstrap_text(config: Config, settings: Settings) -> str:
    """The bootstrap as YAML, the same to the byte for the same configuration and settings."""
    return f"{HEADING}\n{to_yaml(render_bootstrap(config, settings))}"


def render_filters(config: Config, settings: Settings) -> Rendered:
    """What an Envoy that is there already needs: filters, logs, replies, clusters, and by route
    what its ``typed_per_filter_config`` and the ``rate_limits`` of its ``route`` must hold."""
    return {
        "http_filters": http_filters(config),
        "access_log": access_logs(config.gateway, settings),
        "local_reply_config": local_reply_config(config),
        "clusters": [*service_clusters(settings), *tracing_clusters(settings)],
        **tracing_of(settings),
        "routes": {
            name: {
                "typed_per_filter_config": filters_of(name, route, config.gateway),
                "route": limits_of(route),
            }
            for name, route in config.routes.items()
        },
    }


def http_filters(config: Config) -> list[Rendered]:
    """The chain; envoy/README.md says why it stands in this order."""
    router = {"suppress_envoy_headers": True}
    return [
        *lifting_filters_before(),
        *authorization_filters(config),
        *limit_filters(config),
        lifting_filter_after(config.gateway),
        extension(ROUTER, "envoy.extensions.filters.http.router.v3.Router", router),
    ]


def _listener(config: Config, settings: Settings) -> Rendered:
    manager = {"name": "gateway", "typed_config": typed(_MANAGER, _manager(config, settings))}
    return {
        "name": "gateway",
        "address": address(config.gateway.listen),
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "filter_chains": [{"filters": [manager], **gateway_encryption(settings)}],
    }


def _manager(config: Config, settings: Settings) -> Rendered:
    gateway = config.gateway
    interval = seconds(gateway.stream_log_interval_s * 1000)
    return {
        "stat_prefix": "gateway",
        "use_remote_address": True,
        "xff_num_trusted_hops": gateway.trusted_hops,
        "normalize_path": True,
        "merge_slashes": True,
        "request_headers_timeout": seconds(REQUEST_HEADERS_TIMEOUT_MS),
        "request_timeout": seconds(REQUEST_TIMEOUT_MS),
        "common_http_protocol_options": {"idle_timeout": seconds(CLIENT_IDLE_MS)},
        "http2_protocol_options": {
            "max_concurrent_streams": MAX_STREAMS,
            "initial_stream_window_size": CONNECTION_BUFFER_BYTES,
            "initial_connection_window_size": HTTP2_CONNECTION_WINDOW_BYTES,
        },
        "early_header_mutation_extensions": [_early_mutation()],
        "access_log": access_logs(gateway, settings),
        "access_log_options": {"access_log_flush_interval": interval},
        "local_reply_config": local_reply_config(config),
        "route_config": route_configuration(config),
        "http_filters": http_filters(config),
        **tracing_of(settings),
    }


def _early_mutation() -> Rendered:
    mutations = [
        {"remove_on_match": {"key_matcher": {"prefix": prefix, "ignore_case": True}}}
        for prefix in OUR_HEADER_PREFIXES
    ]
    name = "envoy.http.early_header_mutation.header_mutation"
    return extension(name, _EARLY, {"mutations": mutations})
