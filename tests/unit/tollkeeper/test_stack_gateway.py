"""How a person and a program call a stack's gateway."""

from __future__ import annotations

import pytest

from tollkeeper.settings import load_settings
from tollkeeper.stack.gateway import curl, gateway_url

PAIR = {"certificate": "/g.pem", "key": "/g.key"}
TRUST = {"ca": "/tls/our ca.pem"}
OWN = TRUST | {"certificate": "/c.pem", "key": "/c.key", "server_name": "api.example.test"}


def test_the_gateway_is_https_where_it_has_tls() -> None:
    """The address is the same, with or without."""
    clear = load_settings(gateway_listen="127.0.0.1:10000")
    assert gateway_url(clear) == "http://127.0.0.1:10000"
    encrypted = load_settings(gateway_listen="127.0.0.1:10000", gateway_tls=PAIR)
    assert gateway_url(encrypted) == "https://127.0.0.1:10000"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "curl -i http://127.0.0.1:10000/p"),
        ({"envoy_tls": TRUST}, "curl -i http://127.0.0.1:10000/p"),
        ({"gateway_tls": PAIR}, "curl -i https://127.0.0.1:10000/p"),
        (
            {"gateway_tls": PAIR, "probe_tls": TRUST},
            "curl -i --cacert '/tls/our ca.pem' https://127.0.0.1:10000/p",
        ),
        (
            {"gateway_tls": PAIR, "gateway_client_tls": OWN, "probe_tls": TRUST},
            (
                "curl -i --cacert '/tls/our ca.pem' --cert /c.pem --key /c.key "
                "--connect-to api.example.test:10000:127.0.0.1:10000 "
                "https://api.example.test:10000/p"
            ),
        ),
    ],
)
def test_the_line_to_try_brings_what_the_gateway_asks_for(
    settings: dict[str, object], line: str
) -> None:
    """Authority, certificate and name; nothing of it where the gateway is in clear."""
    assert curl(load_settings(gateway_listen="127.0.0.1:10000", **settings), "/p") == line
