"""The upstream of the benchmark: an Envoy that answers at once what the example upstream would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from devstack import Envoy, free_port

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_BUFFER = "envoy.extensions.filters.http.buffer.v3.Buffer"
_TYPES = "type.googleapis.com/"

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x" * 64}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 16, "total_tokens": 28},
}
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "/v1/chat/completions": (CHAT, {}),
    "/reported/v1/chat/completions": (CHAT, {"x-litellm-response-cost": "0.000012"}),
    "/rpc/ethereum": ({"jsonrpc": "2.0", "id": 1, "result": "0x10"}, {}),
    "/tools/run": ({"ok": True}, {"x-tool-cpu-ms": "120", "x-tool-memory-mib": "256"}),
    "/flat/ping": ({"pong": True}, {}),
}


def make_upstream(home: Path) -> tuple[Envoy, str]:
    """An Envoy that is not started yet, and its URL."""
    port, admin_port = free_port(), free_port()
    home.mkdir(parents=True, exist_ok=True)
    bootstrap = home / "upstream.json"
    bootstrap.write_text(json.dumps(_bootstrap(port, admin_port)))
    return Envoy(home, bootstrap, admin_port, name="upstream", concurrency=1), (
        f"http://127.0.0.1:{port}"
    )


def _bootstrap(port: int, admin_port: int) -> dict[str, Any]:
    manager = {
        "@type": _TYPES + _HCM,
        "stat_prefix": "upstream",
        "generate_request_id": False,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [_route(path, *answer) for path, answer in ANSWERS.items()],
                }
            ]
        },
        "http_filters": [
            # Answered before its body has come, a request would end its connection, and everybody
            # in front would connect anew for each.
            {
                "name": "envoy.filters.http.buffer",
                "typed_config": {"@type": _TYPES + _BUFFER, "max_request_bytes": 1 << 20},
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": _TYPES + _ROUTER}},
        ],
    }
    listener = {
        "name": "upstream",
        "address": _address(port),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "admin": {"address": _address(admin_port)},
        "static_resources": {"listeners": [listener]},
    }


def _route(path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    told = {"content-type": "application/json", **headers}
    return {
        "match": {"path": path},
        "direct_response": {"status": 200, "body": {"inline_string": json.dumps(body)}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}} for key, value in told.items()
        ],
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
