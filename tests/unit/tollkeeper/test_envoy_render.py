"""Envoy's configuration as rendered: what must be in it, whatever Envoy thinks of the rest."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from ruamel.yaml import YAML

from accesslog.logline import Line
from accesslog.values import TICKET_KEY, TICKET_NAMESPACE, USAGE_FIELDS, USAGE_NAMESPACE
from billing.refusals import KINDS
from extauthz.ask import BAD_JSON
from extauthz.refusal_body import RPC_CODES
from extauthz.request import KEY_PARAMETER, LIFTED_NAMESPACE, ROUTE_EXTENSION
from tests.unit.tollkeeper.example import EXAMPLE, default_settings, example_config
from tollkeeper.config import Config, load_config
from tollkeeper.envoy_render import (
    bootstrap_text,
    lifting,
    render_bootstrap,
    render_filters,
    to_yaml,
    vocabulary,
)
from tollkeeper.envoy_render.local_replies import ROWS
from tollkeeper.settings import load_settings

ROOT = Path(__file__).parents[3]
MORE_ROUTES = """
routes:
  limited:
    match: {method: POST, path: /limited}
    upstream: example
    profile: llm
    meter: tokens
    tariff: chat
    token_limit: {}
  own:
    match: {prefix: /own/}
    upstream: plain
    profile: llm
    charged: false
    ratelimit: 'off'
  opened:
    match: {prefix: /own/open/}
    upstream: plain
    profile: llm
    meter: flat
    tariff: ping
    rewrite: /flat/
    failure: {authorization: open}
"""
PLAIN = "upstreams:\n  plain: {url: 'https://plain.example', owner: customer}\n"


@pytest.fixture
def more() -> Config:
    """The example with a token limit, a self-service route and one that fails open."""
    return _with_more_routes()


@cache
def _with_more_routes() -> Config:
    text = EXAMPLE.read_text().replace("routes:\n", MORE_ROUTES.lstrip("\n"), 1)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tollkeeper.yaml"
        path.write_text(text.replace("upstreams:\n", PLAIN, 1))
        return load_config(path, default_settings())


def rendered(config: Config | None = None, **settings: object) -> dict[str, Any]:
    """The bootstrap of the example, or of another configuration."""
    if not settings:
        return render_bootstrap(config or example_config(), default_settings())
    given = load_settings(**settings)
    return render_bootstrap(config or load_config(EXAMPLE, given), given)


def manager(bootstrap: dict[str, Any]) -> dict[str, Any]:
    (listener,) = bootstrap["static_resources"]["listeners"]
    found = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert isinstance(found, dict)
    return found


def routes(bootstrap: dict[str, Any]) -> dict[str, Any]:
    (host,) = manager(bootstrap)["route_config"]["virtual_hosts"]
    return {route["name"]: route for route in host["routes"]}


def clusters(bootstrap: dict[str, Any]) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in bootstrap["static_resources"]["clusters"]}


def chain(bootstrap: dict[str, Any]) -> list[str]:
    return [http_filter["name"] for http_filter in manager(bootstrap)["http_filters"]]


def texts(value: object) -> Iterator[str]:
    """Every text in a rendered piece."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    elif isinstance(value, str):
        yield value


def test_the_committed_bootstrap_is_current() -> None:
    """envoy/envoy.yaml is what the example renders to by default settings, byte for byte."""
    text = bootstrap_text(example_config(), default_settings())
    assert text == (ROOT / "envoy/envoy.yaml").read_text(), "run `tollkeeper envoy render`"


def test_the_text_says_what_was_rendered(more: Config) -> None:
    """A reader of YAML gets back the very values."""
    few = {name: more.routes[name] for name in ("limited", "own", "opened")}
    bootstrap = rendered(more.model_copy(update={"routes": few}))
    assert YAML(typ="safe", pure=True).load(to_yaml(bootstrap)) == bootstrap


def test_filters_stand_in_their_order(more: Config) -> None:
    """Bodies are read before the check, limits come after it, streams are read last."""
    assert chain(rendered()) == [
        "envoy.filters.http.buffer",
        "tollkeeper.answer_buffer",
        "envoy.filters.http.json_to_metadata",
        "envoy.filters.http.ext_authz",
        "tollkeeper.ext_authz_body",
        "envoy.filters.http.ratelimit",
        "tollkeeper.token_limit",
        "envoy.filters.http.sse_to_metadata",
        "envoy.filters.http.router",
    ]
    found = chain(rendered(more))
    assert found.index("tollkeeper.ext_authz_open") < found.index("envoy.filters.http.ratelimit")
    assert found.index("tollkeeper.token_limit") == found.index("envoy.filters.http.ratelimit") + 1


def test_the_doors_and_envoy_use_the_same_names() -> None:
    """Namespaces, keys and fields are those that extauthz and accesslog read."""
    assert vocabulary.ROUTE_EXTENSION == ROUTE_EXTENSION
    assert vocabulary.REQUEST_NAMESPACE == LIFTED_NAMESPACE
    assert vocabulary.USAGE_NAMESPACE == USAGE_NAMESPACE
    assert vocabulary.TICKET_NAMESPACE == TICKET_NAMESPACE
    assert lifting.BAD_JSON == BAD_JSON
    used = {name for name, _ in lifting._USED}
    assert used - {"total_tokens"} <= USAGE_FIELDS
    assert any(f"{TICKET_NAMESPACE}:{TICKET_KEY}" in text for text in texts(manager(rendered())))


def test_every_route_is_checked_and_says_its_name(more: Config) -> None:
    """No route passes unchecked, and each carries its name."""
    for name, route in routes(rendered(more)).items():
        filters = route["typed_per_filter_config"]
        names = [found for found in filters if "ext_authz" in found]
        checks = [filters[n]["check_settings"] for n in names if "check_settings" in filters[n]]
        assert [check["context_extensions"] for check in checks] == [{ROUTE_EXTENSION: name}]


def test_only_json_rpc_sends_its_body_to_the_check() -> None:
    """The body crosses gRPC where a batch has to be seen, whole or not at all."""
    for name, route in routes(rendered()).items():
        filters = route["typed_per_filter_config"]
        plain, packed = filters[vocabulary.EXT_AUTHZ], filters.get(vocabulary.BODY_EXT_AUTHZ)
        if name != "ethereum":
            assert (plain["check_settings"].keys(), packed) == ({"context_extensions"}, None)
            continue
        assert plain["disabled"] is True
        check = packed["check_settings"]
        assert check["with_request_body"] == {"max_request_bytes": 1 << 20, "pack_as_bytes": True}


def test_a_route_fails_open_only_where_it_says_so(more: Config) -> None:
    """The open check is off for all routes but one, where the closed one is off."""
    bootstrap = rendered(more)
    (opened,) = [f for f in manager(bootstrap)["http_filters"] if f["name"].endswith("_open")]
    assert opened["disabled"] is True
    assert opened["typed_config"]["failure_mode_allow"] is True
    enabled = {
        name
        for name, route in routes(bootstrap).items()
        if vocabulary.OPEN_EXT_AUTHZ in route["typed_per_filter_config"]
    }
    assert enabled == {"opened"}
    (closed,) = [f for f in manager(bootstrap)["http_filters"] if f["name"] == vocabulary.EXT_AUTHZ]
    assert "failure_mode_allow" not in closed["typed_config"]
    assert "disabled" not in closed


def test_no_route_hides_another(more: Config) -> None:
    """Exact paths stand first, then the longest prefix."""
    names = list(routes(rendered(more)))
    assert names.index("opened") < names.index("own")


def test_clients_keys_and_compression_end_here() -> None:
    """No upstream sees a client's x-api-key; where usage is read, nothing is compressed."""
    removed = {name: r["request_headers_to_remove"] for name, r in routes(rendered()).items()}
    assert removed == {
        "chat": ["x-api-key", "accept-encoding"],
        "reported": ["x-api-key", "accept-encoding"],
        "ethereum": ["x-api-key"],
        "tool": ["x-api-key"],
        "ping": ["x-api-key"],
        "account": ["authorization", "x-api-key"],
    }


def test_headers_of_ours_are_taken_from_clients_first() -> None:
    """They are gone before any filter sees the request."""
    (early,) = manager(rendered())["early_header_mutation_extensions"]
    prefixes = [
        m["remove_on_match"]["key_matcher"]["prefix"] for m in early["typed_config"]["mutations"]
    ]
    assert prefixes == ["x-tollkeeper-", "x-credits-"]


def test_a_request_that_was_paid_once_is_sent_once(more: Config) -> None:
    """No route has a retry policy; a check is repeated only where no worker has seen it."""
    bootstrap = rendered(more)
    assert [r["name"] for r in routes(bootstrap).values() if "retry_policy" in r["route"]] == []
    (check,) = [f for f in manager(bootstrap)["http_filters"] if f["name"] == vocabulary.EXT_AUTHZ]
    policy = check["typed_config"]["grpc_service"]["retry_policy"]
    assert policy["retry_on"] == "connect-failure,refused-stream"


def test_limits_are_rendered_where_a_route_has_them(more: Config) -> None:
    """Requests per second by override; tokens taken before as quoted, put right at the end."""
    found = routes(rendered(more))
    (limit,) = found["chat"]["route"]["rate_limits"]
    keys = [action["metadata"]["descriptor_key"] for action in limit["actions"]]
    assert keys == ["account", "profile", "burst"]
    assert limit["limit"]["dynamic_metadata"]["metadata_key"]["path"] == [{"key": "limit"}]
    assert "rate_limits" not in found["own"]["route"]
    tokens = found["limited"]["typed_per_filter_config"]["tollkeeper.token_limit"]
    takes, counts = tokens["rate_limits"]
    quoted = "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:quoted_units)%"
    assert takes["hits_addend"] == {"format": quoted}
    entries = [action["metadata"] for action in counts["actions"]]
    assert [entry["descriptor_key"] for entry in entries] == ["account", "quoted"]
    assert entries[1]["metadata_key"]["path"] == [{"key": "quoted_units"}]
    assert counts["apply_on_stream_done"] is True
    assert "['tollkeeper.usage']['total_tokens']" in counts["hits_addend"]["format"]
    assert "tollkeeper.token_limit" not in found["ping"]["typed_per_filter_config"]


def test_the_sink_gets_no_entry_that_it_could_lose() -> None:
    """Active health checks, no panic, and room for what waits (the findings of the lab)."""
    sink = clusters(rendered())["tollkeeper_accesslog"]
    assert sink["common_lb_config"] == {
        "healthy_panic_threshold": {"value": 0},
        "update_merge_window": "0s",
    }
    assert sink["health_checks"][0]["interval"] == "0.1s"
    stream, _ = manager(rendered())["access_log"]
    assert stream["typed_config"]["common_config"]["buffer_size_bytes"] == 64 << 20
    assert manager(rendered())["access_log_options"] == {"access_log_flush_interval": "5s"}


@pytest.mark.parametrize("name", ["tollkeeper_authz", "tollkeeper_ratelimit"])
def test_a_service_that_dies_or_comes_back_counts_at_once(name: str) -> None:
    """Changes of health are not merged; nor is a check cut short before its own timeout."""
    assert clusters(rendered())[name]["common_lb_config"] == {"update_merge_window": "0s"}
    (check,) = (
        one["typed_config"]["grpc_service"]
        for one in manager(rendered())["http_filters"]
        if one["name"] == "envoy.filters.http.ext_authz"
    )
    assert check["retry_policy"]["retry_back_off"]["max_interval"] == check["timeout"]


def test_the_file_holds_what_replay_reads() -> None:
    """Every key that replay knows is written, and the headers that say usage."""
    stream, file = manager(rendered())["access_log"]
    line = file["typed_config"]["log_format"]["json_format"]
    assert set(Line.__struct_fields__) <= set(line)
    headers = ["x-litellm-response-cost", "x-tool-cpu-ms", "x-tool-memory-mib"]
    assert sorted(line["response_headers"]) == headers
    assert stream["typed_config"]["additional_response_headers_to_log"] == headers


def test_no_log_holds_a_query() -> None:
    """The file has paths without query; the stream no refused request, whose query has the key."""
    stream, file = manager(rendered())["access_log"]
    line = file["typed_config"]["log_format"]["json_format"]
    assert line["path"] == "%PATH(NQ:ORIG_OR_PATH)%"
    assert not any(KEY_PARAMETER in text or "QUERY" in text for text in texts(line))
    with_ticket, served = stream["filter"]["or_filter"]["filters"]
    assert with_ticket["metadata_filter"]["match_if_key_not_found"] is False
    assert served["extension_filter"]["typed_config"]["expression"].endswith("'via_upstream'")


def test_envoys_own_answers_have_our_shape() -> None:
    """Each row is a mapper for JSON and one for JSON-RPC; what we refused is left as it is."""
    ours, *mappers = manager(rendered())["local_reply_config"]["mappers"]
    assert list(ours) == ["filter"]
    bodies = [mapper["body_format_override"]["json_format"] for mapper in mappers]
    assert len(bodies) == 2 * len(ROWS)
    plain = [body for body in bodies if "jsonrpc" not in body]
    keys = {"code", "message", "reason", "action", "url", "request_id"}
    assert all(keys <= set(body["error"]) for body in plain)
    for body in (body for body in bodies if "jsonrpc" in body):
        assert body["id"] is None
        assert keys - {"message"} <= set(body["error"]["data"])


def test_the_contracts_codes_are_answered_alike_by_both() -> None:
    """A code of the table has its status and its JSON-RPC number, whoever answers."""
    shared = [row for row in ROWS if row.kind.code in KINDS]
    assert [row.kind.code for row in shared] == [
        "rate_limited",
        "authorization_unavailable",
        "body_too_large",
    ]
    assert [row.rpc_code for row in shared] == [RPC_CODES[r.kind.http_status] for r in shared]


def test_a_link_may_hold_a_percent_sign(tmp_path: Path) -> None:
    """What would begin an operator of Envoy's formats is escaped."""
    path = tmp_path / "tollkeeper.yaml"
    path.write_text(EXAMPLE.read_text().replace("test/credits", "test/a%20b"))
    mappers = manager(rendered(load_config(path, default_settings())))["local_reply_config"][
        "mappers"
    ]
    assert "https://billing.example.test/a%%20b" in set(texts(mappers))


def test_workers_are_endpoints_of_one_cluster() -> None:
    """Each worker of authorization, on a port or on a socket, is an endpoint."""
    bootstrap = rendered(authz_listen="unix:/run/a.sock", authz_workers=2)
    (group,) = clusters(bootstrap)["tollkeeper_authz"]["load_assignment"]["endpoints"]
    paths = [e["endpoint"]["address"]["pipe"]["path"] for e in group["lb_endpoints"]]
    assert paths == ["/run/a.sock.0", "/run/a.sock.1"]


def test_an_https_upstream_is_verified(more: Config) -> None:
    """Its name is asked for, sent, and compared with its certificate."""
    cluster = clusters(rendered(more))["upstream_plain"]
    assert cluster["type"] == "STRICT_DNS"
    context = cluster["transport_socket"]["typed_config"]
    assert context["sni"] == "plain.example"
    assert "trusted_ca" in context["common_tls_context"]["validation_context"]
    (options,) = cluster["typed_extension_protocol_options"].values()
    assert options["upstream_http_protocol_options"]["auto_san_validation"] is True


def test_ports_and_paths_come_from_the_settings() -> None:
    """Two stacks beside each other differ in their settings alone."""
    bootstrap = rendered(
        gateway_listen="127.0.0.1:7001",
        envoy_admin_listen="127.0.0.1:7002",
        accesslog_listen="127.0.0.1:7003",
        upstream_urls={"example": "http://127.0.0.1:7004"},
        envoy_access_log_file="/run/log.json",
    )
    found = to_yaml(bootstrap)
    assert all(f"port_value: {port}" in found for port in (7001, 7002, 7003, 7004))
    assert "path: /run/log.json" in found


def test_the_filters_alone_are_those_of_the_bootstrap(more: Config) -> None:
    """Who has an Envoy already gets the same filters, logs, replies and clusters."""
    settings = default_settings()
    parts, whole = render_filters(more, settings), render_bootstrap(more, settings)
    for name in ("http_filters", "access_log", "local_reply_config"):
        assert parts[name] == manager(whole)[name]
    assert all(cluster in whole["static_resources"]["clusters"] for cluster in parts["clusters"])
    for name, route in routes(whole).items():
        assert parts["routes"][name]["typed_per_filter_config"] == route["typed_per_filter_config"]
        assert parts["routes"][name]["route"].items() <= route["route"].items()


@pytest.mark.parametrize(
    "value",
    [
        {"a": "on", "yes": "y", "b": "1.5", "c": "", "d": "a: b", "e": "%REQ(X)%", "f": "1s"},
        {"a": [], "b": {}, "c": None, "d": True, "e": -1, "f": "null", "@g": "é\n\"'"},
        {"a": [{"b": [1, {"c": "d"}], "e": {"f": []}}, "g", ["h", ["i"]]]},
    ],
)
def test_text_is_read_back_as_it_was(value: object) -> None:
    """Whatever a value looks like, a reader of YAML takes it for what it is."""
    assert YAML(typ="safe", pure=True).load(to_yaml(value)) == value
