"""The rendered configuration at work in a real Envoy: what reaches our services, and the client.

Messages are read with the product's own readers, so that both sides of each agreement are held."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from extauthz.refusal_body import RPC_CODES
from tests.contract.envoy_services import DENIAL, RESERVATION, TICKET, TOO_MANY, until
from tests.contract.envoy_stack import Stack, running_gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
RPC = "/rpc/ethereum"
MESSAGES = [{"role": "user", "content": "one two three"}]
KEY = "tk_secret"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One gateway for all tests of this module."""
    async with running_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def stack(gateway: Stack) -> Stack:
    """The gateway, with nothing recorded yet."""
    gateway.services.forget()
    gateway.upstream.seen.reset()
    return gateway


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "text/plain", ""])
async def test_the_check_sees_what_a_request_asks_for(stack: Stack, content_type: str) -> None:
    """Fields arrive with their types, whatever the client calls its body."""
    body = {
        "model": "gpt-4o-mini",
        "max_tokens": "many",
        "max_completion_tokens": -1,
        "n": 2.5,
        "stream": True,
        "stream_options": {"include_usage": False},
        "messages": MESSAGES,
    }
    await stack.post(CHAT, body, content_type=content_type, x_example_status="500")
    facts = stack.facts()
    assert facts.lifted == {
        "model": "gpt-4o-mini",
        "max_tokens": "many",
        "max_completion_tokens": -1,
        "n": 2.5,
        "stream": True,
        "include_usage": False,
    }
    assert (facts.route, len(facts.body), facts.body_bytes) == ("chat", 0, len(json.dumps(body)))


async def test_a_body_of_unknown_length_has_one_at_the_check(stack: Stack) -> None:
    """Chunks are counted before the check, which prices by length."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":"m",'
        yield b'"messages":[]}'

    await stack.client.post(CHAT, content=pieces())
    assert stack.facts().body_bytes == 27


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b'{"a":1}{'])
async def test_a_body_that_is_no_json_is_told(stack: Stack, body: bytes) -> None:
    """The check hears that the body could not be read, and nothing else."""
    await stack.post(CHAT, body)
    assert stack.facts().lifted == {"bad_json": True}


async def test_a_tools_bounds_reach_the_check(stack: Stack) -> None:
    """What a tool run asks for is lifted under the names that its meter knows."""
    await stack.post("/tools/run", {"cpu_s": 2, "memory_mib": 512, "duration_s": 30, "x": 1})
    assert stack.facts().lifted == {"cpu_s": 2, "memory_mib": 512, "duration_s": 30}


async def test_json_rpc_bodies_reach_the_check_whole(stack: Stack) -> None:
    """A batch is seen byte for byte."""
    body = json.dumps([{"id": i, "method": "eth_chainId"} for i in range(500)]).encode()
    assert (await stack.post(RPC, body)).status_code == 200
    assert stack.facts().body == body
    assert not stack.facts().body_is_partial


@pytest.mark.parametrize(("path", "rpc"), [(CHAT, False), (RPC, True)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_bound_is_refused_unseen(
    stack: Stack, path: str, rpc: bool, chunked: bool
) -> None:
    """413 in the shape of the route, and no check is asked."""
    body = b" " * ((1 << 20) + 1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    answer = await stack.client.post(path, content=pieces() if chunked else body)
    error = answer.json()["error"]
    assert answer.status_code == 413
    assert (error["data"] if rpc else error)["code"] == "body_too_large"
    assert stack.services.authorization.checks == []


async def test_a_client_cannot_speak_for_us_or_to_envoy(stack: Stack) -> None:
    """Headers of ours and of Envoy's do not pass, and the request's id is Envoy's own."""
    headers = {
        "x-tollkeeper-account": "someone",
        "X-Credits-Remaining": "9",
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "9",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-request-id": "mine",
        "x-example-status": "503",
    }
    await stack.client.get("/flat/ping", headers=headers)
    (check,) = stack.services.authorization.checks
    seen = check.attributes.request.http.headers
    assert not {name for name in headers if name.lower() in seen} - {
        "x-request-id",
        "x-example-status",
    }
    assert seen["x-request-id"] != "mine"
    assert stack.upstream.seen.count("/flat/ping").received == 1


async def test_the_upstream_gets_the_credential_and_never_the_key(stack: Stack) -> None:
    """Wherever a client put its key, the upstream sees the provider's credential instead."""
    answer = await stack.client.get(
        f"/flat/ping?api_key={KEY}&a=b",
        headers={"x-api-key": KEY, "authorization": f"Bearer {KEY}"},
    )
    assert answer.status_code == 200
    last = stack.upstream.seen.as_json()["last"]["/flat/ping"]
    assert last["headers"]["authorization"] == "Bearer sk-provider"
    assert last["target"] == "/flat/ping?a=b"
    assert KEY not in str(last)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("usage", "found"),
    [
        ("", {"input_tokens": 7, "cached_tokens": 3, "output_tokens": 16, "model": "m"}),
        ("negative", {"input_tokens": -7, "output_tokens": -5, "model": "m"}),
        ("text", {"input_tokens": "seven", "output_tokens": "five", "model": "m"}),
        ("none", {"model": "m"}),
        ('{"prompt_tokens": 200000, "completion_tokens": 1.5}', None),
    ],
)
async def test_usage_arrives_as_the_upstream_wrote_it(
    stack: Stack, stream: bool, usage: str, found: dict[str, object] | None
) -> None:
    """The same numbers, signs and texts, out of answers and streams, by stream and by file."""
    headers = {"x_example_usage": usage} if usage else {"x_example_cached_tokens": "3"}
    body = {"model": "m", "stream": stream, "messages": MESSAGES}
    await stack.post(CHAT, body, content_type="application/json", **headers)
    (entry,) = await stack.entries()
    assert entry.usage == (found or {"input_tokens": 200_000, "output_tokens": 1.5, "model": "m"})
    assert entry.ticket == TICKET
    assert await stack.line(entry.request_id) == entry


async def test_large_numbers_are_the_same_by_stream_and_by_file(stack: Stack) -> None:
    """Bytes and times that Envoy would write with an exponent keep their digits."""
    body = json.dumps({"messages": MESSAGES}).encode()
    body += b" " * (100_000 - len(body))
    await stack.post(CHAT, body, x_example_bytes="3000000", x_example_delay_ms="100")
    (entry,) = await stack.entries()
    assert (entry.request_bytes, entry.code) == (100_000, 200)
    assert entry.response_bytes > 3_000_000
    assert entry.duration_ms >= 100
    assert await stack.line(entry.request_id) == entry


async def test_headers_say_usage(stack: Stack) -> None:
    """Cost, CPU time and memory come out of the answer's headers."""
    await stack.post("/reported/v1/chat/completions", {"messages": []}, x_example_cost="1.5e-05")
    await stack.post("/tools/run", {"cpu_ms": 1500, "memory_mib": 512})
    reported, tool = await stack.entries(2)
    assert reported.usage["reported_cost"] == "1.5e-05"
    assert tool.usage == {"cpu_ms": "1500", "memory_mib": "512"}


async def test_answers_are_read_uncompressed(stack: Stack) -> None:
    """Where usage is read, the upstream is not told that it may compress."""
    await stack.post(CHAT, {"messages": []}, accept_encoding="gzip, br")
    assert "accept-encoding" not in stack.upstream.seen.as_json()["last"][CHAT]["headers"]


async def test_a_long_stream_is_heard_of_before_its_end(stack: Stack) -> None:
    """Periodic entries extend the reservation; the last one is the answer."""
    body = {"messages": MESSAGES, "stream": True}
    await stack.post(CHAT, body, x_example_tokens="3", x_example_chunk_delay_ms="500")
    await until(lambda: [e for e in stack.streamed() if not e.ongoing])
    *before, last = stack.streamed()
    assert before
    assert {entry.ongoing for entry in before} == {True}
    assert last.usage["output_tokens"] == 3


async def test_what_was_refused_is_in_no_stream_and_its_key_in_no_log(stack: Stack) -> None:
    """A refusal's body is the service's own, and nothing keeps the query that held the key."""
    target = f"{CHAT}?api_key={KEY}"
    denied = await stack.post(target, {"messages": []}, x_test_deny="402")
    assert (denied.status_code, denied.text) == (402, DENIAL)
    assert denied.headers["content-type"] == "application/json"
    assert (await stack.post(target, {"messages": []})).status_code == 200
    assert len(await stack.entries()) == 1
    assert not any(KEY.encode() in message for message in stack.services.access_log.messages)
    await stack.logged("ext_authz_denied")
    assert KEY not in stack.log.read_text()


@pytest.mark.parametrize(
    ("path", "told", "status", "code"),
    [
        (CHAT, "x_test_fail=1", 503, "authorization_unavailable"),
        (RPC, "x_test_fail=1", 503, "authorization_unavailable"),
        (CHAT, "x_test_limit=1", 429, "rate_limited"),
        (RPC, "x_test_limit=1", 429, "rate_limited"),
        (CHAT, "x_example_hang_up_after=0", 503, "upstream_unavailable"),
        (RPC, "x_example_hang_up_after=0", 503, "upstream_unavailable"),
        ("/nowhere", "x_test=1", 404, "no_such_route"),
    ],
)
async def test_envoys_own_answers_look_like_ours(
    stack: Stack, path: str, told: str, status: int, code: str
) -> None:
    """The code, the sentence and what to do, in JSON or JSON-RPC; Retry-After where it helps."""
    name, _, value = told.partition("=")
    body = {"id": 1, "method": "eth_chainId", "messages": []}
    answer = await stack.post(path, body, **{name: value})
    found = answer.json()
    error = found["error"] if path != RPC else found["error"]["data"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["url"] == "https://billing.example.test/credits"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    helps = code in {"rate_limited", "authorization_unavailable"}
    assert ("retry-after" in answer.headers) == helps
    if path == RPC:
        number = RPC_CODES[status]
        assert (found["jsonrpc"], found["id"], found["error"]["code"]) == ("2.0", None, number)


async def test_a_refused_rate_names_its_limit(stack: Stack) -> None:
    """The numbers that matter: the limit of the subscription, and when to come back."""
    answer = await stack.post(CHAT, {"messages": []}, x_test_limit="1")
    error = answer.json()["error"]
    assert error["limit"] == {"requests_per_unit": 1, "unit": "SECOND"}
    assert error["reset_s"] == answer.headers["retry-after"] == "7"
    assert answer.headers["x-request-id"] == RESERVATION
    (entry,) = await stack.entries()
    assert (entry.code, entry.attempts) == (429, 0)


async def test_the_rate_limiter_is_told_account_profile_burst_and_limit(stack: Stack) -> None:
    """The limit of the check's answer becomes the descriptor's override."""
    assert (await stack.post(CHAT, {"messages": []}, x_test_limit="50")).status_code == 200
    (request,) = stack.services.rate_limits.asked
    (descriptor,) = request.descriptors
    assert request.domain == "tollkeeper"
    assert [(e.key, e.value) for e in descriptor.entries] == [
        ("account", "account-1"),
        ("profile", "llm"),
        ("burst", "9"),
    ]
    assert descriptor.limit.requests_per_unit == 50


async def test_without_a_limit_nothing_is_limited(stack: Stack) -> None:
    """A plan without a rate limit costs no call of the service."""
    assert (await stack.post(CHAT, {"messages": []})).status_code == 200
    assert stack.services.rate_limits.asked == []


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_are_taken_before_and_put_right_after(stack: Stack, stream: bool) -> None:
    """The token limit is asked for the quote, and told the true number when the answer ends."""
    await stack.post("/limited", {"messages": MESSAGES, "stream": stream}, x_test_quoted="507")
    assert await taken(stack, 2) == [
        (507, [("account", "account-1")]),
        (23, [("account", "account-1"), ("quoted", "507")]),
    ]


async def test_a_failed_answer_gives_its_quote_back(stack: Stack) -> None:
    """An upstream that fails used no token: all that was taken is there again."""
    answer = await stack.post(
        "/limited", {"messages": MESSAGES}, x_test_quoted="507", x_example_status="500"
    )
    assert answer.status_code == 500
    _, back = await taken(stack, 2)
    assert back == (0, [("account", "account-1"), ("quoted", "507")])


@pytest.mark.parametrize("refused_by", ["token limit", "request limit"])
async def test_a_refused_request_gives_nothing_back(stack: Stack, refused_by: str) -> None:
    """Nothing was taken from it: neither by the limit that refused it, nor by the one behind."""
    own = refused_by == "token limit"
    quoted = str(TOO_MANY if own else 507)
    headers = {"x_test_quoted": quoted} | ({} if own else {"x_test_limit": "1"})
    refused = await stack.post("/limited", {"messages": MESSAGES}, **headers)
    assert refused.status_code == 429
    passed = await stack.post("/limited", {"messages": MESSAGES}, x_test_quoted="1")
    assert passed.status_code == 200
    await until(lambda: stack.services.rate_limits.asked[-1].descriptors[0].hits_addend.value == 23)
    asked = [r for r in stack.services.rate_limits.asked if r.domain == "tokens"]
    hits = [d.hits_addend.value for request in asked for d in request.descriptors]
    assert hits == ([TOO_MANY] if own else []) + [1, 23]


@pytest.mark.parametrize("used", [1, 200_000, 1_234_567])
async def test_large_numbers_of_tokens_arrive_whole(stack: Stack, used: int) -> None:
    """No number is rounded or written with an exponent on its way to the rate-limit service."""
    usage = {"prompt_tokens": 0, "completion_tokens": used, "total_tokens": used}
    headers = {"x_test_quoted": "1", "x_example_usage": json.dumps(usage)}
    await stack.post("/limited", {"messages": MESSAGES}, **headers)
    assert [hits for hits, _ in await taken(stack, 2)] == [1, used]


@pytest.mark.parametrize("usage", ["none", "negative", "text"])
async def test_an_answer_without_a_number_keeps_its_quote(stack: Stack, usage: str) -> None:
    """What nobody can read is not given back: only the quote was taken, and nothing comes after."""
    headers = {"x_test_quoted": "507", "x_example_usage": usage}
    await stack.post("/limited", {"messages": MESSAGES}, **headers)
    await stack.entries()
    assert [hits for hits, _ in await taken(stack, 1)] == [507]


async def taken(stack: Stack, calls: int) -> list[tuple[int, list[tuple[str, str]]]]:
    """What so many calls asked of the token limit: hits, and the entries of the descriptor."""
    await until(lambda: len(stack.services.rate_limits.asked) == calls)
    asked = stack.services.rate_limits.asked
    assert {request.domain for request in asked} == {"tokens"}
    return [
        (d.hits_addend.value, [(e.key, e.value) for e in d.entries])
        for request in asked
        for d in request.descriptors
    ]


async def test_only_an_open_route_passes_unchecked(stack: Stack) -> None:
    """While authorization fails, a route that says so goes on, without the client's key."""
    headers = {"x-test-fail": "1", "x-api-key": KEY, "authorization": f"Bearer {KEY}"}
    opened = await stack.client.get(f"/open/ping?api_key={KEY}&a=b", headers=headers)
    closed = await stack.client.get("/flat/ping", headers=headers)
    assert (opened.status_code, closed.status_code) == (200, 503)
    seen = stack.upstream.seen.as_json()
    assert seen["routes"]["/flat/ping"]["received"] == 1
    assert seen["last"]["/flat/ping"]["target"] == "/flat/ping?a=b"
    assert KEY not in str(seen)


async def test_an_answer_over_the_bound_is_refused(stack: Stack) -> None:
    """An answer that has to be read whole and does not fit is told as such."""
    limit = stack.config.gateway.response_buffer_bytes
    answer = await stack.post(CHAT, {"messages": []}, x_example_bytes=str(limit))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "response_too_large")


async def test_other_answers_may_be_of_any_size(stack: Stack) -> None:
    """What need not be read passes through, however large."""
    size = stack.config.gateway.response_buffer_bytes + 1
    answer = await stack.post(RPC, {"id": 1, "method": "eth_chainId"}, x_example_bytes=str(size))
    assert answer.status_code == 200
    assert len(answer.content) > size
