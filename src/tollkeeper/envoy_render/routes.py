"""Routes: from a request's method and path to an upstream, and what each filter does there."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from tollkeeper.config.schema import Config, GatewayModel, RouteModel, UpstreamModel
from tollkeeper.envoy_render.authorization import authorization_of
from tollkeeper.envoy_render.lifting import lifting_of, reads_usage
from tollkeeper.envoy_render.limits import limits_of, token_limit_of
from tollkeeper.envoy_render.vocabulary import Rendered, seconds, upstream_cluster

CLIENT_KEY_HEADERS = ("authorization", "x-api-key")
_SHAPE_NAMESPACE = "tollkeeper"


def route_configuration(config: Config) -> Rendered:
    """All routes: exact paths first, then the longest prefix, so that no route hides another."""
    ordered = sorted(config.routes.items(), key=lambda item: _precedence(*item))
    routes = [_route(name, route, config) for name, route in ordered]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    return {"name": "gateway", "virtual_hosts": hosts}


def filters_of(name: str, route: RouteModel, gateway: GatewayModel) -> Rendered:
    """What the filters do on one route: its ``typed_per_filter_config``."""
    return authorization_of(name, route) | lifting_of(route, gateway) | token_limit_of(route)


def _precedence(name: str, route: RouteModel) -> tuple[bool, int, str, bool, str]:
    path = route.match.path or route.match.prefix or ""
    return (route.match.path is None, -len(path), path, route.match.method is None, name)


def _route(name: str, route: RouteModel, config: Config) -> Rendered:
    upstream = config.upstreams[route.upstream]
    return {
        "name": name,
        "match": _match(route),
        "metadata": {"filter_metadata": {_SHAPE_NAMESPACE: {"shape": route.shape}}},
        "route": _action(route, upstream),
        "request_headers_to_remove": list(_removed(route, upstream)),
        "typed_per_filter_config": filters_of(name, route, config.gateway),
    }


def _match(route: RouteModel) -> Rendered:
    wanted = route.match
    place = {"path": wanted.path} if wanted.path is not None else {"prefix": wanted.prefix}
    if wanted.method is None:
        return place
    method = {"name": ":method", "string_match": {"exact": wanted.method}}
    return place | {"headers": [method]}


def _action(route: RouteModel, upstream: UpstreamModel) -> Rendered:
    """No retries: a request that was paid for once is sent once."""
    action: Rendered = {
        "cluster": upstream_cluster(route.upstream),
        "timeout": seconds(route.timeout_s * 1000),
        "idle_timeout": seconds(route.idle_timeout_s * 1000),
        "host_rewrite_literal": urlsplit(upstream.url).netloc,
    }
    if route.rewrite is not None:
        action["prefix_rewrite"] = route.rewrite
    return action | limits_of(route)


def _removed(route: RouteModel, upstream: UpstreamModel) -> Iterator[str]:
    """Headers that no upstream may see, whatever authorization said.

    A client's key, unless the provider's credential stands in its header; on a customer's own
    upstream ``authorization`` may be meant for it. Where the answer is read it must not be
    compressed.
    """
    credential = upstream.credential.header if upstream.credential is not None else ""
    for header in CLIENT_KEY_HEADERS:
        for_upstream = header == "authorization" and upstream.owner == "customer"
        if header != credential and not for_upstream:
            yield header
    if reads_usage(route):
        yield "accept-encoding"
