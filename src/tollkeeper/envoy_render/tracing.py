"""Envoy's own traces, where an endpoint is set: each request is a span, and its check a child."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tollkeeper.envoy_render.clusters import SYSTEM_CA_FILE, collector_cluster
from tollkeeper.envoy_render.vocabulary import OTLP_CLUSTER, Rendered, extension, grpc_service
from tollkeeper.settings import Settings
from tollkeeper.tls_files import ClientTls

_TRACER = "envoy.config.trace.v3.OpenTelemetryConfig"
SERVICE_NAME = "tollkeeper-gateway"
EXPORT_TIMEOUT_MS = 1_000


def tracing_of(settings: Settings) -> Rendered:
    """The connection manager's ``tracing``, and nothing where no endpoint is set.

    A client's ``traceparent`` is followed; of the others ``trace_percent`` are kept.
    """
    if settings.otlp_endpoint is None:
        return {}
    service = grpc_service(OTLP_CLUSTER, EXPORT_TIMEOUT_MS)
    fields = {"grpc_service": service, "service_name": SERVICE_NAME}
    return {
        "tracing": {
            "provider": extension("envoy.tracers.opentelemetry", _TRACER, fields),
            "client_sampling": {"value": 0},
            "random_sampling": {"value": settings.trace_percent},
        }
    }


def tracing_clusters(settings: Settings) -> list[Rendered]:
    """The cluster of the collector, where one is set."""
    if settings.otlp_endpoint is None:
        return []
    parts = urlsplit(settings.otlp_endpoint)
    assert parts.hostname is not None, "checked when the setting was read"
    assert parts.port is not None, "checked when the setting was read"
    if parts.scheme == "http":
        return [collector_cluster(parts.hostname, parts.port, None)]
    trusted = settings.otlp_tls or ClientTls(ca=Path(SYSTEM_CA_FILE))
    known_as = trusted.server_name or parts.hostname
    tls = trusted.model_copy(update={"server_name": known_as})
    return [collector_cluster(parts.hostname, parts.port, tls)]
