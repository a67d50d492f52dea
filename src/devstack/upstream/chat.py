"""Chat completions by rule, so that whoever knows the request knows the usage.

- ``prompt_tokens``: the words (between white space) of all text in all messages, plus 4 a message.
- ``completion_tokens``: 16 for each choice (``x-example-tokens`` says another number), or
  ``max_completion_tokens`` or ``max_tokens`` where that is less; times ``n``.
- ``prompt_tokens_details.cached_tokens``: 0, or what ``x-example-cached-tokens`` says.
- cost header of ``/reported/``: 150 nano-USD a prompt token and 600 a completion token.

A stream has one chunk for each completion token of each choice, then one chunk with the reason of
the end for each choice, then one with the usage, then ``[DONE]``. The usage is there unless
``stream_options.include_usage`` is false.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from devstack.upstream.behaviour import Behaviour

TOKENS_A_MESSAGE = 4
COMPLETION_TOKENS = 16
NANOS_A_PROMPT_TOKEN = 150
NANOS_A_COMPLETION_TOKEN = 600
MAX_CHOICES = 128
COST_HEADER = "x-litellm-response-cost"
CREATED_S = 1_767_225_600
"""The same moment in every answer: nothing here depends on a clock."""

_BROKEN_USAGE: dict[str, Any] = {
    "negative": {"prompt_tokens": -7, "completion_tokens": -5, "total_tokens": -12},
    "text": {"prompt_tokens": "seven", "completion_tokens": "five", "total_tokens": "twelve"},
}


class BadRequest(ValueError):
    """A request that the protocol does not allow; answered with 400."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer: what was asked, and what it counts."""

    model: str
    choices: int
    tokens: int
    finish_reason: str
    prompt_tokens: int
    usage: Any
    padding: str
    stream: bool
    stream_usage: bool

    @property
    def completion_tokens(self) -> int:
        return self.choices * self.tokens

    def cost_text(self, behaviour: Behaviour) -> str:
        """The cost header's text, in USD with nine decimals; empty to leave it out."""
        if behaviour.cost:
            return "" if behaviour.cost == "none" else behaviour.cost
        nanos = self.prompt_tokens * NANOS_A_PROMPT_TOKEN
        nanos += self.completion_tokens * NANOS_A_COMPLETION_TOKEN
        return f"{nanos // 10**9}.{nanos % 10**9:09d}"


def complete(asked: object, behaviour: Behaviour) -> Completion:
    """Work out the answer to a request's JSON; raises :class:`BadRequest`."""
    if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list):
        raise BadRequest("messages is missing")
    choices = _number(asked, "n", 1, most=MAX_CHOICES)
    wanted = COMPLETION_TOKENS if behaviour.tokens is None else behaviour.tokens
    limit = _number(asked, "max_completion_tokens", _number(asked, "max_tokens", wanted))
    tokens = min(wanted, limit)
    prompt_tokens = sum(TOKENS_A_MESSAGE + _words(message) for message in asked["messages"])
    options = asked.get("stream_options") or {}
    return Completion(
        model=str(asked.get("model", "")),
        choices=choices,
        tokens=tokens,
        finish_reason="stop" if tokens == wanted else "length",
        prompt_tokens=prompt_tokens,
        usage=_usage(prompt_tokens, choices * tokens, behaviour),
        padding="." * behaviour.bytes,
        stream=asked.get("stream") is True,
        stream_usage=not isinstance(options, dict) or options.get("include_usage") is not False,
    )


def whole_answer(completion: Completion) -> dict[str, Any]:
    """The answer as one JSON object."""
    content = " ".join(_word(i) for i in range(completion.tokens)) + completion.padding
    message = {"role": "assistant", "content": content}
    answer = _frame(completion, "chat.completion") | {
        "choices": [
            {"index": i, "message": message, "finish_reason": completion.finish_reason}
            for i in range(completion.choices)
        ]
    }
    return answer if completion.usage is None else answer | {"usage": completion.usage}


def chunks(completion: Completion) -> Iterator[bytes]:
    """The answer as events of a stream."""
    frame = _frame(completion, "chat.completion.chunk")
    for token in range(completion.tokens):
        for choice in range(completion.choices):
            delta: dict[str, str] = {"content": _word(token) + " "}
            if token == 0:
                delta = {"role": "assistant", "content": _word(token) + completion.padding + " "}
            yield _event(frame | {"choices": [_delta(choice, delta, None)]})
    for choice in range(completion.choices):
        yield _event(frame | {"choices": [_delta(choice, {}, completion.finish_reason)]})
    if completion.usage is not None and completion.stream_usage:
        yield _event(frame | {"choices": [], "usage": completion.usage})
    yield b"data: [DONE]\n\n"


def _delta(choice: int, delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    return {"index": choice, "delta": delta, "finish_reason": finish_reason}


def _frame(completion: Completion, kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-example",
        "object": kind,
        "created": CREATED_S,
        "model": completion.model,
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _word(index: int) -> str:
    return f"word{index}"


def _words(message: object) -> int:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return len(content.split())
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return sum(len(text.split()) for text in texts if isinstance(text, str))


def _usage(prompt: int, completion: int, behaviour: Behaviour) -> Any:
    if behaviour.usage == "none":
        return None
    if behaviour.usage in _BROKEN_USAGE:
        return _BROKEN_USAGE[behaviour.usage]
    if behaviour.usage:
        return _given_usage(behaviour.usage)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": behaviour.cached_tokens},
    }


def _given_usage(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest("x-example-usage is none, negative, text or JSON") from error


def _number(asked: dict[str, Any], name: str, default: int, most: int = 1_000_000) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise BadRequest(f"{name} must be a whole number from 1 to {most}")
    return value
