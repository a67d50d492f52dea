"""Clusters: our three services, and the upstreams."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from billing.errors import ConfigError
from tollkeeper.addresses import Address
from tollkeeper.config.schema import Config, UpstreamModel
from tollkeeper.envoy_render.vocabulary import (
    ACCESSLOG_CLUSTER,
    AUTHZ_CLUSTER,
    OTLP_CLUSTER,
    RATELIMIT_CLUSTER,
    Rendered,
    address,
    extension,
    seconds,
    typed,
    upstream_cluster,
)
from tollkeeper.settings import Settings
from tollkeeper.tls_files import ClientTls, ListenerTls

_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_DEFAULT_PORTS = {"http": 80, "https": 443}

SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""Authorities of Debian, Ubuntu, Alpine, Arch and of Envoy's own image; ``ca_file`` overrides."""

MAX_CALLS = 100_000
"""Calls of ours under way at once: far more than connections; Envoy's default is 1 024."""

CONNECT_MS = 250
HEALTH_INTERVAL_MS = 100
"""How soon a dead service is noticed; with less than this entries were lost (contract tests)."""

HEALTH_TIMEOUT_MS = 200
BUSY_HEALTH_TIMEOUT_MS = 1_000
"""A worker that is busy answers late; taking it out would only make the others busier."""

_AT_ONCE: Rendered = {"update_merge_window": "0s"}
"""Envoy merges changes of health for up to a second by default. Until then its threads send checks
to a worker that is gone, again and again, and open streams to a sink whose entries are lost."""


def service_clusters(settings: Settings) -> list[Rendered]:
    """Authorization, rate limits, and the sink of the access log."""
    return [
        _service(AUTHZ_CLUSTER, settings.authz_addresses)
        | {"health_checks": [_health(BUSY_HEALTH_TIMEOUT_MS)]}
        | _encrypted(settings, settings.authz_tls),
        _service(RATELIMIT_CLUSTER, (settings.ratelimit_listen,))
        | {"health_checks": [_health(BUSY_HEALTH_TIMEOUT_MS)]}
        | _encrypted(settings, settings.ratelimit_tls),
        _sink(settings.accesslog_listen) | _encrypted(settings, settings.accesslog_tls),
    ]


def upstream_clusters(config: Config) -> list[Rendered]:
    """One cluster for each upstream, in the order of the file."""
    return [_upstream(name, upstream) for name, upstream in config.upstreams.items()]


def _sink(where: Address) -> Rendered:
    """Without a healthy sink no stream may be opened: what Envoy then keeps, it does not lose."""
    return _service(ACCESSLOG_CLUSTER, (where,)) | {
        "common_lb_config": _AT_ONCE | {"healthy_panic_threshold": {"value": 0}},
        "health_checks": [_health(HEALTH_TIMEOUT_MS)],
    }


def _service(name: str, where: Sequence[Address]) -> Rendered:
    return {
        "name": name,
        "type": "STATIC" if all(_is_literal(one) for one in where) else "STRICT_DNS",
        "connect_timeout": seconds(CONNECT_MS),
        "lb_policy": "LEAST_REQUEST",
        "common_lb_config": {**_AT_ONCE},
        "circuit_breakers": _breakers(MAX_CALLS),
        "typed_extension_protocol_options": {
            _PROTOCOL: typed(_PROTOCOL, {"explicit_http_config": {"http2_protocol_options": {}}})
        },
        "load_assignment": _endpoints(name, where),
    }


def _upstream(name: str, upstream: UpstreamModel) -> Rendered:
    parts = urlsplit(upstream.url)
    assert parts.hostname is not None, "checked when the file was read"
    where = Address(host=parts.hostname, port=parts.port or _DEFAULT_PORTS[parts.scheme])
    cluster = upstream_cluster(name)
    rendered: Rendered = {
        "name": cluster,
        "type": "STATIC" if _is_literal(where) else "STRICT_DNS",
        "connect_timeout": seconds(upstream.connect_timeout_ms),
        "per_connection_buffer_limit_bytes": 1 << 20,
        "circuit_breakers": _breakers(upstream.max_connections),
        "typed_extension_protocol_options": {_PROTOCOL: _protocol(upstream)},
        "load_assignment": _endpoints(cluster, (where,)),
    }
    if parts.scheme == "https":
        rendered["transport_socket"] = _tls(upstream, parts.hostname)
    return rendered


def _protocol(upstream: UpstreamModel) -> Rendered:
    chosen = "http2_protocol_options" if upstream.http2 else "http_protocol_options"
    fields: Rendered = {
        "common_http_protocol_options": {"idle_timeout": seconds(upstream.idle_timeout_s * 1000)},
        "explicit_http_config": {chosen: {}},
    }
    if urlsplit(upstream.url).scheme == "https":
        fields["upstream_http_protocol_options"] = {"auto_sni": True, "auto_san_validation": True}
    return typed(_PROTOCOL, fields)


def _tls(upstream: UpstreamModel, host: str) -> Rendered:
    authorities = str(upstream.ca_file) if upstream.ca_file is not None else SYSTEM_CA_FILE
    common: Rendered = {
        "validation_context": {"trusted_ca": {"filename": authorities}},
        "alpn_protocols": ["h2" if upstream.http2 else "http/1.1"],
        **_own_certificate(upstream.certificate_file, upstream.key_file),
    }
    fields = {"sni": host, "common_tls_context": common}
    return extension("envoy.transport_sockets.tls", _TLS, fields)


def collector_cluster(host: str, port: int, tls: ClientTls | None) -> Rendered:
    """Whoever collects traces, in clear without ``tls``."""
    found = _service(OTLP_CLUSTER, (Address(host=host, port=port),))
    return found if tls is None else found | _reached_by(tls)


def _encrypted(settings: Settings, listener: ListenerTls | None) -> Rendered:
    """How Envoy reaches one of our listeners: over TLS where that listener speaks it."""
    if listener is None:
        return {}
    if settings.envoy_tls is None:
        raise ConfigError("set TOLLKEEPER_ENVOY_TLS: a listener that Envoy has to reach has TLS")
    return _reached_by(settings.envoy_tls)


def _reached_by(client: ClientTls) -> Rendered:
    """TLS to a gRPC service, whose certificate has to be for the name, where there is one."""
    trusted: Rendered = {"trusted_ca": {"filename": str(client.ca)}}
    fields: Rendered = {}
    if client.server_name is not None:
        trusted["match_typed_subject_alt_names"] = [_alternative(client.server_name)]
        if not _is_ip(client.server_name):  # SNI knows names alone (RFC 6066, section 3)
            fields["sni"] = client.server_name
    fields["common_tls_context"] = {
        "validation_context": trusted,
        "alpn_protocols": ["h2"],
        **_own_certificate(client.certificate, client.key),
    }
    return {"transport_socket": extension("envoy.transport_sockets.tls", _TLS, fields)}


def _alternative(name: str) -> Rendered:
    """What a certificate has to be for; a wildcard of it matches a DNS name as well."""
    kind = "IP_ADDRESS" if _is_ip(name) else "DNS"
    return {"san_type": kind, "matcher": {"exact": name}}


def _own_certificate(certificate: Path | None, key: Path | None) -> Rendered:
    """Envoy's own, for those that ask for one."""
    if certificate is None:
        return {}
    pair = {
        "certificate_chain": {"filename": str(certificate)},
        "private_key": {"filename": str(key)},
    }
    return {"tls_certificates": [pair]}


def _is_literal(where: Address) -> bool:
    """Whether an address needs no name service: a Unix socket or an IP address."""
    return bool(where.path) or _is_ip(where.host)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _endpoints(cluster: str, where: Sequence[Address]) -> Rendered:
    endpoints = [{"endpoint": {"address": address(one)}} for one in where]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _breakers(most: int) -> Rendered:
    bounds = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(bounds, most)]}


def _health(timeout_ms: int) -> Rendered:
    interval = seconds(HEALTH_INTERVAL_MS)
    return {
        "timeout": seconds(timeout_ms),
        "interval": interval,
        "no_traffic_interval": interval,
        "unhealthy_interval": interval,
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        "grpc_health_check": {},
    }
