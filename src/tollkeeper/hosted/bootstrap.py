"""The configuration of the Envoy that hosts a worker: one listener, one filter, nothing else.

It has no admin interface, no upstreams and keeps no statistics; the worker's own metrics say what
there is to say.
"""

from __future__ import annotations

import json
from typing import Any

from tollkeeper.addresses import Address
from tollkeeper.envoy_render.vocabulary import Rendered, address, extension, typed

APP = "tollkeeper.hosted.app:app"
MAX_STREAMS = 1 << 15
"""Calls of one connection under way at once: more than any role takes, which then says so."""

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_MODULE = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"


def render_host(
    where: Address, module_path: str, app: str = APP, transport_socket: Rendered | None = None
) -> str:
    """The bootstrap as JSON; the listener is in clear without a transport socket."""
    encryption = {} if transport_socket is None else {"transport_socket": transport_socket}
    listener = {
        "name": "calls",
        "address": address(where),
        # An address that is taken is an error, not a share of its calls.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    extension(
                        "envoy.filters.network.http_connection_manager",
                        _MANAGER,
                        _manager(module_path, app),
                    )
                ],
                **encryption,
            }
        ],
    }
    return json.dumps(
        {
            "node": {"id": "worker", "cluster": "tollkeeper"},  # certificates are not read without
            "static_resources": {"listeners": [listener]},
            "stats_config": {"stats_matcher": {"reject_all": True}},
        }
    )


def _manager(module_path: str, app: str) -> dict[str, Any]:
    return {
        "stat_prefix": "calls",
        "codec_type": "HTTP2",
        "generate_request_id": False,
        "skip_xff_append": True,
        "server_header_transformation": "PASS_THROUGH",
        "request_timeout": "10s",
        "stream_idle_timeout": "60s",
        "http2_protocol_options": {
            "max_concurrent_streams": MAX_STREAMS,
            "initial_stream_window_size": 1 << 20,
            "initial_connection_window_size": 16 << 20,
        },
        "route_config": {"virtual_hosts": [{"name": "calls", "domains": ["*"]}]},
        "http_filters": [
            {
                "name": "pyvoy",
                "typed_config": typed(
                    _MODULE,
                    {
                        "dynamic_module_config": {"module": {"local": {"filename": module_path}}},
                        "filter_name": "pyvoy",
                        "terminal_filter": True,
                        "filter_config": typed(
                            "google.protobuf.StringValue", {"value": _pyvoy(app)}
                        ),
                    },
                ),
            }
        ],
    }


def _pyvoy(app: str) -> str:
    fields = {"app": app, "interface": "asgi", "root_path": "", "loop": "uvloop", "lifespan": True}
    return json.dumps(fields)
