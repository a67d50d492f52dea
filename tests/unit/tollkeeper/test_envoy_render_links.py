"""Envoy's ways from its clients, to us and to a collector: TLS, and traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.errors import ConfigError
from tests.unit.tollkeeper.example import EXAMPLE, default_settings, example_config
from tests.unit.tollkeeper.test_envoy_render import clusters, manager, rendered
from tollkeeper.config import load_config
from tollkeeper.envoy_render import render_bootstrap
from tollkeeper.envoy_render.clusters import SYSTEM_CA_FILE
from tollkeeper.envoy_render.vocabulary import Rendered
from tollkeeper.settings import Settings, load_settings

PAIR = {"certificate": "/tls/a.pem", "key": "/tls/a.key"}


def test_clients_need_tls_where_the_gateway_has_it() -> None:
    """TLS 1.2 or newer, both protocols, and a bound on the handshake; in clear by default."""
    assert "transport_socket" not in chain(default_settings())
    found = chain(load_settings(gateway_tls=PAIR, gateway_tls_dir="/sds"))
    context = found["transport_socket"]["typed_config"]
    common = context["common_tls_context"]
    assert found["transport_socket_connect_timeout"] == "10s"
    assert common["tls_params"] == {"tls_minimum_protocol_version": "TLSv1_2"}
    assert common["alpn_protocols"] == ["h2", "http/1.1"]
    (certificate,) = common["tls_certificate_sds_secret_configs"]
    source = certificate["sds_config"]["path_config_source"]
    assert source == {"path": "/sds/tls_certificate.json"}
    assert "require_client_certificate" not in context
    assert "validation_context_sds_secret_config" not in common


def test_clients_need_a_certificate_where_their_authority_is_set() -> None:
    """The authority comes the same way as the certificate; the folder is home's by default."""
    settings = load_settings(gateway_tls={**PAIR, "client_ca": "/ca.pem"}, home="/var/home")
    context = chain(settings)["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is True
    secret = context["common_tls_context"]["validation_context_sds_secret_config"]
    path = secret["sds_config"]["path_config_source"]["path"]
    assert path == "/var/home/gateway-tls/validation_context.json"


def chain(settings: Settings) -> Rendered:
    """The filter chain that clients meet."""
    (listener,) = render_bootstrap(example_config(), settings)["static_resources"]["listeners"]
    (found,) = listener["filter_chains"]
    return dict(found)


def test_clusters_have_tls_where_their_listener_has_it() -> None:
    """Envoy's own certificate, the authority and the name; other clusters stay in clear."""
    listener = {"certificate": "/tls/a.pem", "key": "/tls/a.key"}
    envoy = {"ca": "/ca.pem", "certificate": "/e.pem", "key": "/e.key", "server_name": "t.internal"}
    settings = load_settings(authz_tls=listener, envoy_tls=envoy)
    found = clusters(render_bootstrap(example_config(), settings))
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
        render_bootstrap(example_config(), settings)


def test_an_upstream_may_ask_for_a_certificate(tmp_path: Path) -> None:
    """Both files reach its cluster; one of them alone is refused."""
    path, admin = tmp_path / "tollkeeper.yaml", "    url: http://127.0.0.1:8080\n"
    text = EXAMPLE.read_text()
    assert admin in text
    files = "    certificate_file: envoy.pem\n    key_file: /tls/envoy.key\n"
    path.write_text(text.replace(admin, admin.replace("http:", "https:") + files))
    found = clusters(render_bootstrap(load_config(path, default_settings()), default_settings()))
    typed_config = found["upstream_admin"]["transport_socket"]["typed_config"]
    assert typed_config["common_tls_context"]["tls_certificates"] == [
        {
            "certificate_chain": {"filename": str(tmp_path / "envoy.pem")},
            "private_key": {"filename": "/tls/envoy.key"},
        }
    ]
    path.write_text(text.replace(admin, admin + "    key_file: /tls/envoy.key\n"))
    with pytest.raises(ConfigError, match="belong together"):
        load_config(path, default_settings())


def test_traces_are_rendered_where_they_are_asked_for() -> None:
    """A tracer and the collector's cluster with an endpoint; without one there is neither."""
    assert "tracing" not in manager(rendered())
    assert "tollkeeper_otlp" not in clusters(rendered())
    settings = load_settings(otlp_endpoint="https://collector:4317", trace_percent=5)
    found = render_bootstrap(example_config(), settings)
    tracing = manager(found)["tracing"]
    assert tracing["provider"]["name"] == "envoy.tracers.opentelemetry"
    assert tracing["random_sampling"] == {"value": 5}
    collector = clusters(found)["tollkeeper_otlp"]
    assert collector["transport_socket"]["typed_config"]["sni"] == "collector"
    assert trust_in(collector) == (SYSTEM_CA_FILE, "DNS", "collector")


def test_a_collector_may_have_an_authority_of_its_own() -> None:
    """Its certificate is for the endpoint's host, or for the name that is set; Envoy shows one of
    its own where that is set."""
    tls = {"ca": "/otlp/ca.pem", "certificate": "/e.pem", "key": "/e.key"}
    settings = load_settings(otlp_endpoint="https://10.0.0.5:4317", otlp_tls=tls)
    collector = clusters(render_bootstrap(example_config(), settings))["tollkeeper_otlp"]
    assert trust_in(collector) == ("/otlp/ca.pem", "IP_ADDRESS", "10.0.0.5")
    context = collector["transport_socket"]["typed_config"]
    assert "sni" not in context
    common = context["common_tls_context"]
    (pair,) = common["tls_certificates"]
    assert pair["certificate_chain"] == {"filename": "/e.pem"}
    named = load_settings(
        otlp_endpoint="https://10.0.0.5:4317", otlp_tls=tls | {"server_name": "otlp.internal"}
    )
    collector = clusters(render_bootstrap(example_config(), named))["tollkeeper_otlp"]
    assert trust_in(collector) == ("/otlp/ca.pem", "DNS", "otlp.internal")
    assert collector["transport_socket"]["typed_config"]["sni"] == "otlp.internal"


def trust_in(cluster: Rendered) -> tuple[str, str, str]:
    """Whose certificates Envoy believes, and for which name."""
    common = cluster["transport_socket"]["typed_config"]["common_tls_context"]
    trusted = common["validation_context"]
    (name,) = trusted["match_typed_subject_alt_names"]
    return trusted["trusted_ca"]["filename"], name["san_type"], name["matcher"]["exact"]
