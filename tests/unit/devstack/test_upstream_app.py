"""The paths of the example upstream, its counts and its instructions."""

import json
from typing import Any

import pytest

from devstack.upstream.app import CHAT_PATH, PING_PATH, REPORTED_PATH, RPC_PATH, TOOL_PATH, Upstream
from devstack.upstream.wire import Reply, Request


def ask(
    upstream: Upstream, method: str, target: str, body: object = None, **headers: str
) -> tuple[int, Any, dict[str, str]]:
    """Status, JSON and headers of an answer that comes at once."""
    named = {f"x-example-{name.replace('_', '-')}": value for name, value in headers.items()}
    text = b"" if body is None else json.dumps(body).encode()
    reply = upstream(Request(method, target, named, text))
    assert isinstance(reply, Reply)
    return reply.status, json.loads(reply.body) if reply.body else None, dict(reply.headers)


def test_a_batch_is_answered_call_by_call() -> None:
    """Notifications are not answered, unknown methods are errors, and every call counts."""
    upstream = Upstream()
    batch = [{"id": 1, "method": "eth_chainId"}, {"method": "eth_call"}, {"id": 2, "method": "x"}]
    status, answers, _ = ask(upstream, "POST", RPC_PATH, batch)
    assert status == 200
    assert [(a["id"], a.get("result"), a.get("error", {}).get("code")) for a in answers] == [
        (1, "0x1", None),
        (2, None, -32601),
    ]
    assert upstream.seen.count(RPC_PATH).calls == 3


def test_notifications_alone_have_no_answer() -> None:
    """JSON-RPC says nothing to who asked for nothing."""
    status, answer, _ = ask(Upstream(), "POST", RPC_PATH, [{"method": "eth_chainId"}])
    assert (status, answer) == (204, None)


def test_a_tool_run_reports_what_its_body_asks_for() -> None:
    """CPU time and memory come back in headers, unless told otherwise."""
    upstream = Upstream()
    headers = ask(upstream, "POST", TOOL_PATH, {"cpu_ms": 1500, "memory_mib": 512})[2]
    assert headers == {"x-tool-cpu-ms": "1500", "x-tool-memory-mib": "512"}
    headers = ask(upstream, "POST", TOOL_PATH, {})[2]
    assert headers == {"x-tool-cpu-ms": "1000", "x-tool-memory-mib": "256"}
    assert ask(upstream, "POST", TOOL_PATH, {}, tool_report="none")[2] == {}
    assert ask(upstream, "POST", TOOL_PATH, {"cpu_ms": "1\r\nx: y"})[0] == 400


def test_only_the_reported_route_names_a_cost() -> None:
    """The same completion comes with and without the cost header."""
    upstream = Upstream()
    body: dict[str, object] = {"messages": []}
    assert ask(upstream, "POST", REPORTED_PATH, body)[2] == {
        "x-litellm-response-cost": "0.000009600"
    }
    assert ask(upstream, "POST", CHAT_PATH, body)[2] == {}


def test_answers_can_be_padded() -> None:
    """A test chooses how large an answer is, on every path that returns a body."""
    upstream = Upstream()
    call = {"id": 1, "method": "eth_chainId"}
    assert len(json.dumps(ask(upstream, "POST", RPC_PATH, call, bytes="5000")[1])) > 5000
    assert (
        len(json.dumps(ask(upstream, "POST", CHAT_PATH, {"messages": []}, bytes="5000")[1])) > 5000
    )
    assert len(json.dumps(ask(upstream, "POST", TOOL_PATH, {}, bytes="5000")[1])) > 5000


def test_failures_are_counted_apart() -> None:
    """What was told to fail, and what was wrong, is no answer."""
    upstream = Upstream()
    assert ask(upstream, "GET", PING_PATH, status="503")[0] == 503
    assert ask(upstream, "GET", PING_PATH, nonsense="1")[0] == 400
    assert ask(upstream, "GET", PING_PATH)[0] == 200
    count = upstream.seen.count(PING_PATH)
    assert (count.received, count.answered, count.failed) == (3, 1, 2)


def test_it_shows_what_it_saw() -> None:
    """The counts, and the target and headers of the last request of a path."""
    upstream = Upstream()
    upstream(Request("GET", f"{PING_PATH}?a=b", {"authorization": "Bearer sk"}, b""))
    seen = ask(upstream, "GET", "/_seen")[1]
    assert seen["routes"][PING_PATH]["answered"] == 1
    assert seen["last"][PING_PATH] == {
        "target": f"{PING_PATH}?a=b",
        "headers": {"authorization": "Bearer sk"},
    }
    ask(upstream, "POST", "/_reset")
    assert ask(upstream, "GET", "/_seen")[1] == {"routes": {}, "last": {}}


def test_it_notes_answers_that_ask_for_it() -> None:
    """Whole answers are told one by one with the ids that the gateway gave; others are not."""
    upstream = Upstream()
    ids = {"x-request-id": "r1", "x-tollkeeper-account": "a1"}
    for more in ({}, {"x-example-status": "500"}):
        noted = ids | {"x-example-note": "mine"} | more
        assert isinstance(upstream(Request("GET", PING_PATH, noted, b"")), Reply)
    upstream(Request("GET", PING_PATH, ids, b""))
    answers = ask(upstream, "GET", "/_noted")[1]
    assert [answer[:3] for answer in answers] == [["mine", "r1", "a1"]]


def test_instructions_can_be_given_in_advance() -> None:
    """The next so many answers of a path obey, the one after them does not."""
    upstream = Upstream()
    told = {"path": PING_PATH, "times": 2, "status": 500}
    assert ask(upstream, "POST", "/_behave", told)[0] == 200
    assert [ask(upstream, "GET", PING_PATH)[0] for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"status": 500},
        {"path": "/nowhere", "status": 500},
        {"path": PING_PATH, "times": 0},
        {"path": PING_PATH, "sing": True},
    ],
)
def test_a_bad_instruction_is_refused(told: object) -> None:
    """A mistake in a test is told, not ignored."""
    assert ask(Upstream(), "POST", "/_behave", told)[0] == 400


def test_other_paths_are_not_served_and_not_counted() -> None:
    """The counts are bounded by the paths that are served."""
    upstream = Upstream()
    assert ask(upstream, "GET", "/nowhere")[0] == 404
    assert ask(upstream, "GET", CHAT_PATH)[0] == 404
    assert ask(upstream, "GET", "/_seen")[1]["routes"] == {}
