"""TLS settings as variables say them."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.errors import ConfigError
from tollkeeper.settings import load_settings

PAIR = '{"certificate": "/tls/a.pem", "key": "/tls/a.key"}'


def test_a_listener_is_in_clear_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is a JSON object of paths."""
    assert load_settings().authz_tls is None
    monkeypatch.setenv("TOLLKEEPER_AUTHZ_TLS", PAIR)
    found = load_settings().authz_tls
    assert found is not None
    assert found.paths == (Path("/tls/a.pem"), Path("/tls/a.key"))
    assert load_settings(authz_tls=PAIR).authz_tls == found


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("AUTHZ_TLS", '{"certificate": "/a"}', r"AUTHZ_TLS\[key\]"),
        ("AUTHZ_TLS", '{"certificate": "/a", "key": "/b", "c": "/d"}', r"AUTHZ_TLS\[c\]"),
        ("AUTHZ_TLS", "/tls/a.pem", "write a JSON object of paths"),
        ("ENVOY_TLS", '{"ca": "/a", "key": "/b"}', "belong together"),
    ],
)
def test_what_cannot_be_used_is_told(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    """A role does not start in clear because of a typing error."""
    monkeypatch.setenv(f"TOLLKEEPER_{name}", value)
    with pytest.raises(ConfigError, match=told):
        load_settings()


def test_pages_follow_the_tls_of_their_listener() -> None:
    """Each listener's pages have their own scheme; whoever asks takes Envoy's files, or its
    own."""
    settings = load_settings(admin_tls=PAIR, envoy_tls='{"ca": "/tls/ca.pem"}')
    assert settings.page_url("admin", settings.admin_listen) == "https://127.0.0.1:8080"
    assert settings.page_url("metrics", "127.0.0.1:9102") == "http://127.0.0.1:9102"
    assert settings.pages_tls == settings.envoy_tls
    own = load_settings(probe_tls='{"ca": "/a"}', envoy_tls='{"ca": "/b"}')
    assert own.pages_tls == own.probe_tls
