"""Envoy's ways to us and to a collector: TLS, and traces."""

from __future__ import annotations

import pytest

from billing.errors import ConfigError
from tests.unit.tollkeeper.test_envoy_render import EXAMPLE, clusters, manager, rendered
from tollkeeper.config import load_config
from tollkeeper.envoy_render import render_bootstrap
from tollkeeper.settings import load_settings


def test_clusters_have_tls_where_their_listener_has_it() -> None:
    """Envoy's own certificate, the authority and the name; other clusters stay in clear."""
    listener = {"certificate": "/tls/a.pem", "key": "/tls/a.key"}
    envoy = {"ca": "/ca.pem", "certificate": "/e.pem", "key": "/e.key", "server_name": "t.internal"}
    settings = load_settings(authz_tls=listener, envoy_tls=envoy)
    found = clusters(render_bootstrap(load_config(EXAMPLE, settings), settings))
    socket = found["tollkeeper_authz"]["transport_socket"]["typed_config"]
    common = socket["common_tls_context"]
    assert socket["sni"] == "t.internal"
    assert common["validation_context"]["trusted_ca"] == {"filename": "/ca.pem"}
    (name,) = common["validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "DNS", "matcher": {"exact": "t.internal"}}
    (pair,) = common["tls_certificates"]
    assert pair["private_key"] == {"filename": "/e.key"}
    assert "transport_socket" not in found["tollkeeper_ratelimit"]


def test_no_cluster_is_rendered_that_could_not_connect() -> None:
    """A listener with TLS, and an Envoy that is not told of it: refused with what to set."""
    settings = load_settings(accesslog_tls={"certificate": "/a.pem", "key": "/a.key"})
    with pytest.raises(ConfigError, match="TOLLKEEPER_ENVOY_TLS"):
        render_bootstrap(load_config(EXAMPLE, settings), settings)


def test_traces_are_rendered_where_they_are_asked_for() -> None:
    """A tracer and the collector's cluster with an endpoint; without one there is neither."""
    assert "tracing" not in manager(rendered())
    assert "tollkeeper_otlp" not in clusters(rendered())
    settings = load_settings(otlp_endpoint="https://collector:4317", trace_percent=5)
    found = render_bootstrap(load_config(EXAMPLE, settings), settings)
    tracing = manager(found)["tracing"]
    assert tracing["provider"]["name"] == "envoy.tracers.opentelemetry"
    assert tracing["random_sampling"] == {"value": 5}
    collector = clusters(found)["tollkeeper_otlp"]
    assert collector["transport_socket"]["typed_config"]["sni"] == "collector"
