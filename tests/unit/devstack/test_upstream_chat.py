"""The rule by which the example upstream counts tokens."""

import json
from typing import Any

import pytest

from devstack.upstream.behaviour import PLAIN, BadBehaviour, from_headers, from_json
from devstack.upstream.chat import BadRequest, chunks, complete, whole_answer

HELLO = {"model": "m", "messages": [{"role": "user", "content": "one two  three"}]}


def asked(**more: Any) -> dict[str, Any]:
    return HELLO | more


def events(request: dict[str, Any], **headers: str) -> list[Any]:
    """The stream's events, parsed; the last is the text that ends it."""
    behaviour = from_headers({f"x-example-{k.replace('_', '-')}": v for k, v in headers.items()})
    texts = [chunk.decode() for chunk in chunks(complete(request, behaviour))]
    assert all(text.startswith("data: ") and text.endswith("\n\n") for text in texts)
    data = [text[len("data: ") : -2] for text in texts]
    return [json.loads(text) for text in data[:-1]] + data[-1:]


@pytest.mark.parametrize(
    ("request_body", "usage"),
    [
        (asked(), (7, 16)),
        (asked(max_tokens=5), (7, 5)),
        (asked(max_tokens=500), (7, 16)),
        (asked(max_tokens=5, max_completion_tokens=3), (7, 3)),
        (asked(n=3, max_tokens=5), (7, 15)),
        (asked(messages=[]), (0, 16)),
        (asked(messages=[{"content": "a b"}, {"content": ""}, {}]), (14, 16)),
        (asked(messages=[{"content": [{"text": "a b"}, {"type": "image_url"}]}]), (6, 16)),
    ],
)
def test_usage_follows_the_rule(request_body: dict[str, Any], usage: tuple[int, int]) -> None:
    """4 tokens a message, 1 a word; 16 tokens a choice, or what the request allows if less."""
    answer = whole_answer(complete(request_body, PLAIN))
    found = answer["usage"]
    assert (found["prompt_tokens"], found["completion_tokens"]) == usage
    assert found["total_tokens"] == sum(usage)
    words = [len(choice["message"]["content"].split()) for choice in answer["choices"]]
    assert sum(words) == found["completion_tokens"]


def test_a_stream_says_the_same_as_an_answer() -> None:
    """Chunks hold a token each, the last event the usage, and [DONE] ends it."""
    found = events(asked(n=2, max_tokens=3, stream=True))
    assert found[-1] == "[DONE]"
    assert found[-2]["usage"] == whole_answer(complete(asked(n=2, max_tokens=3), PLAIN))["usage"]
    deltas = [c["delta"] for event in found[:-1] for c in event["choices"]]
    assert sum("content" in delta for delta in deltas) == 6


def test_a_client_may_leave_the_usage_out_of_a_stream() -> None:
    """With include_usage false no event names usage."""
    found = events(asked(stream=True, stream_options={"include_usage": False}))
    assert not any("usage" in event for event in found[:-1])


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ("negative", {"prompt_tokens": -7, "completion_tokens": -5, "total_tokens": -12}),
        ('{"prompt_tokens": 1.5}', {"prompt_tokens": 1.5}),
        ("3", 3),
    ],
)
def test_usage_can_be_told(usage: str, expected: object) -> None:
    """A test chooses what is reported, in an answer and in a stream."""
    behaviour = from_headers({"x-example-usage": usage})
    assert whole_answer(complete(asked(), behaviour))["usage"] == expected
    assert events(asked(stream=True), usage=usage)[-2]["usage"] == expected


def test_usage_can_be_left_out() -> None:
    """With ``none`` neither answer nor stream names any."""
    behaviour = from_headers({"x-example-usage": "none"})
    assert "usage" not in whole_answer(complete(asked(), behaviour))
    assert not any("usage" in event for event in events(asked(stream=True), usage="none")[:-1])


def test_the_cost_header_is_exact() -> None:
    """150 nano-USD a prompt token and 600 a completion token, in USD with nine decimals."""
    assert complete(asked(max_tokens=5), PLAIN).cost_text(PLAIN) == "0.000004050"
    told = from_headers({"x-example-cost": "1e-7"})
    assert complete(asked(), told).cost_text(told) == "1e-7"
    silent = from_headers({"x-example-cost": "none"})
    assert complete(asked(), silent).cost_text(silent) == ""


@pytest.mark.parametrize(
    "body", [None, [], {}, {"messages": 1}, asked(n=0), asked(n=129), asked(max_tokens="5")]
)
def test_a_request_that_the_protocol_forbids_is_refused(body: object) -> None:
    """What OpenAI's API would refuse is refused here too."""
    with pytest.raises(BadRequest):
        complete(body, PLAIN)


@pytest.mark.parametrize(
    "headers",
    [{"x-example-nope": "1"}, {"x-example-status": "200"}, {"x-example-delay-ms": "-1"}],
)
def test_an_unknown_instruction_is_refused(headers: dict[str, str]) -> None:
    """A test with a mistake in it must not pass by chance."""
    with pytest.raises(BadBehaviour):
        from_headers(headers)


def test_headers_win_over_what_was_told_in_advance() -> None:
    """An instruction in the request counts more than one that waits for any request."""
    told = from_json({"status": 500, "delay_ms": 7})
    assert from_headers({"x-example-status": "404"}, told) == from_json(
        {"status": 404, "delay_ms": 7}
    )
    assert from_headers({"accept": "*/*"}, told) is told
