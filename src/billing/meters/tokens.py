"""The meter of LLM requests: input, cached input and output tokens (docs/pricing.md).

Before the request nobody knows its tokens, so the quote goes by the size of the body. A token of
byte-level vocabularies stands for at least one byte, and JSON never makes text shorter, so a body
of B bytes holds at most B tokens; English text has about four bytes to a token; a request has at
least one. What a body only points to (images by URL, stored files) is not in its size: such a
request can use more than was quoted, and is billed in full.

Cached tokens are part of the input tokens, as OpenAI counts them. The request's model prices the
request, whatever name the answer carries: providers answer with dated names of the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from billing.errors import ConfigError
from billing.meters.amounts import (
    PPM,
    ExactAmount,
    check_markup,
    check_price,
    check_setting,
    check_sides,
    make_cost,
    make_quote,
)
from billing.meters.readings import Unreadable, asked_whole, read_whole, shown
from billing.meters.values import Ask, Cost, NoUsage, Quote, Usage
from billing.money import MAX_NANOS, ceil_div
from billing.refusals import Refusal, refuse

MTOK = 1_000_000
"""Prices are per million tokens."""

BYTES_PER_TOKEN = 4
MAX_CHOICES = 128
"""The largest ``n`` that OpenAI's API reference allows."""

MAX_TOKENS_SETTING = 2**40
UNKNOWN_INPUT = 0
"""In a ticket's basis: the length of the body was not known when the request was quoted."""

ESTIMATED_FROM_BYTES = "estimated_from_bytes"
"""``Cost.review`` of a stream that ended without usage: its tokens were counted from its bytes."""


class _Counts(NamedTuple):
    """Tokens of one request; ``cached`` is part of ``input``."""

    input: int
    cached: int
    output: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """One side's prices of a model, in nano-USD per million tokens.

    Cached input costs as much as other input when ``cached_input_nanos_per_mtok`` is ``None``.
    """

    input_nanos_per_mtok: int
    output_nanos_per_mtok: int
    cached_input_nanos_per_mtok: int | None = None

    def __post_init__(self) -> None:
        check_setting("input_nanos_per_mtok", self.input_nanos_per_mtok, 0, MAX_NANOS)
        check_setting("output_nanos_per_mtok", self.output_nanos_per_mtok, 0, MAX_NANOS)
        check_price("cached_input_nanos_per_mtok", self.cached_input_nanos_per_mtok)

    @property
    def cache_saves(self) -> bool:
        """Say whether cached input is not dearer than other input."""
        return self._cached() <= self.input_nanos_per_mtok

    def numerator(self, counts: _Counts) -> int:
        """The price of the tokens in millionths of a nano-USD, exact."""
        whole, cached, output = counts
        return (
            (whole - cached) * self.input_nanos_per_mtok
            + cached * self._cached()
            + output * self.output_nanos_per_mtok
        )

    def work(self, counts: _Counts) -> str:
        """The same, as a formula with its numbers."""
        whole, cached, output = counts
        return (
            f"({whole - cached} input x {self.input_nanos_per_mtok}"
            f" + {cached} cached x {self._cached()}"
            f" + {output} output x {self.output_nanos_per_mtok}) / {MTOK}"
        )

    def _cached(self) -> int:
        cached = self.cached_input_nanos_per_mtok
        return self.input_nanos_per_mtok if cached is None else cached


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPrice:
    """What one model costs, and how much it can be asked for.

    ``own`` are the book's prices, ``provider`` what the provider takes; at least one is needed.
    ``max_output_tokens`` bounds ``max_tokens`` and stands in for it when the client leaves it out.
    ``typical_output_tokens`` is the typical answer (500 tokens, about a page).
    ``max_input_tokens`` is the context window: it caps the quote of a large body and quotes a body
    of unknown length, which is refused without it.
    """

    max_output_tokens: int
    own: TokenRates | None = None
    provider: TokenRates | None = None
    typical_output_tokens: int = 500
    max_input_tokens: int | None = None

    def __post_init__(self) -> None:
        check_sides("a model", self.own, self.provider)
        check_setting("max_output_tokens", self.max_output_tokens, 1, MAX_TOKENS_SETTING)
        check_setting("typical_output_tokens", self.typical_output_tokens, 0, MAX_TOKENS_SETTING)
        if self.max_input_tokens is not None:
            check_setting("max_input_tokens", self.max_input_tokens, 1, MAX_TOKENS_SETTING)

    @property
    def priced_by(self) -> TokenRates:
        """The side that makes the price: its own where the book has one."""
        rates = self.own or self.provider
        assert rates is not None, "checked when the model was made"
        return rates


@dataclass(frozen=True, slots=True)
class TokenTariff:
    """Prices by model name, exactly as clients write it.

    ``markup_ppm`` applies to models without own prices. ``stream_bytes_per_token`` turns the bytes
    of a stream that was cut short into tokens: one event of a chat stream is about 200 bytes of
    JSON around one token.
    """

    models: Mapping[str, ModelPrice]
    markup_ppm: int = PPM
    stream_bytes_per_token: int = 200

    def __post_init__(self) -> None:
        if not self.models:
            raise ConfigError("a token tariff needs at least one model")
        check_markup(self.markup_ppm)
        check_setting("stream_bytes_per_token", self.stream_bytes_per_token, 1, 1 << 20)

    def quote(self, ask: Ask) -> Quote | Refusal:
        """Quote by model, size of the body, ``max_tokens`` and ``n``.

        Refuses ``unknown_model``, and ``bad_request_body`` for a model that is no text, a
        ``max_tokens`` or ``n`` out of bounds, or a body of unknown length where the model's context
        window is not known either.
        """
        price = self._price_of(ask.model)
        if isinstance(price, Refusal):
            return price
        choices = asked_whole("n", ask.choices, default=1, limit=MAX_CHOICES)
        if isinstance(choices, Refusal):
            return choices
        limit = price.max_output_tokens
        output = asked_whole("max_tokens", ask.max_output_tokens, default=limit, limit=limit)
        if isinstance(output, Refusal):
            return output
        most_input = _most_input(ask.body_bytes, price)
        if isinstance(most_input, Refusal):
            return most_input
        return self._quote(ask, price, most_input, output, choices)

    def cost(self, basis: Mapping[str, object], usage: Usage) -> Cost | NoUsage:
        """Price the tokens that the answer names; estimate those of a stream that was cut short.

        Counts that are negative, not whole numbers, or more cached than input are ``NoUsage``;
        so is a missing count, unless the client hung up (``usage.cut_short``).
        """
        name = basis.get("model")
        price = self.models.get(name) if isinstance(name, str) else None
        if price is None:
            return NoUsage("the ticket names no model of this tariff")
        counts = self._counts(basis, usage)
        if isinstance(counts, Unreadable):
            return NoUsage(counts.reason)
        estimated = usage.input_tokens is None or usage.output_tokens is None
        return make_cost(
            self._amount(price, counts),
            counts.input + counts.output,
            f"{name}: {price.priced_by.work(counts)}",
            ESTIMATED_FROM_BYTES if estimated else "",
        )

    def _price_of(self, model: object) -> ModelPrice | Refusal:
        if not isinstance(model, str):
            return refuse("bad_request_body", "model must be text", field="model")
        price = self.models.get(model)
        if price is None:
            name = shown(model)
            return refuse("unknown_model", f"no price for model '{name}'", model=name)
        return price

    def _quote(
        self, ask: Ask, price: ModelPrice, most_input: int, output: int, choices: int
    ) -> Quote | Refusal:
        estimate = _tokens_of(ask.body_bytes)
        typical_input = min(estimate or most_input, most_input)
        typical_output = min(price.typical_output_tokens, output) * choices
        basis = {
            "model": ask.model,
            "input": typical_input if estimate else UNKNOWN_INPUT,
            "max_output": output,
            "n": choices,
        }
        # At least one token of input and an empty answer; at most all that fits. Either may come
        # from the cache, and a price book may ask more for cached input than for other input.
        cache_saves = price.priced_by.cache_saves
        most = _Counts(most_input, 0 if cache_saves else most_input, output * choices)
        return make_quote(
            self._amount(price, _Counts(1, 1 if cache_saves else 0, 0)),
            self._amount(price, _Counts(typical_input, 0, typical_output)),
            self._amount(price, most),
            (1, typical_input + typical_output, most_input + output * choices),
            basis,
        )

    def _amount(self, price: ModelPrice, counts: _Counts) -> ExactAmount:
        own, provider = price.own, price.provider
        return ExactAmount(
            None if own is None else own.numerator(counts),
            None if provider is None else provider.numerator(counts),
            MTOK,
            self.markup_ppm,
        )

    def _counts(self, basis: Mapping[str, object], usage: Usage) -> _Counts | Unreadable:
        """The counts of the answer; one that is missing is estimated when the client hung up."""
        tokens: object = usage.input_tokens
        if tokens is None and usage.cut_short:
            tokens = basis.get("input") or _tokens_of(usage.request_bytes)
        input_tokens = read_whole("input tokens", tokens)
        output_tokens = (
            self._streamed(basis, usage.response_bytes)
            if usage.output_tokens is None and usage.cut_short
            else read_whole("output tokens", usage.output_tokens)
        )
        cached = 0 if usage.cached_tokens is None else usage.cached_tokens
        return _checked_counts(input_tokens, read_whole("cached tokens", cached), output_tokens)

    def _streamed(self, basis: Mapping[str, object], response_bytes: int) -> int | Unreadable:
        """Output tokens of a stream, from its bytes; never more than the request allowed."""
        max_output = read_whole("the ticket's max_output", basis.get("max_output"))
        choices = read_whole("the ticket's n", basis.get("n"))
        if isinstance(max_output, Unreadable):
            return max_output
        if isinstance(choices, Unreadable):
            return choices
        streamed = ceil_div(response_bytes, self.stream_bytes_per_token)
        return read_whole("output tokens", min(streamed, max_output * choices))


def _tokens_of(body_bytes: int) -> int:
    """A body's typical tokens; 0 when its length is not known."""
    return ceil_div(max(body_bytes, 0), BYTES_PER_TOKEN)


def _most_input(body_bytes: int, price: ModelPrice) -> int | Refusal:
    """The most tokens that the body can hold and the model takes."""
    window = price.max_input_tokens
    if body_bytes > 0:
        return body_bytes if window is None else min(body_bytes, window)
    if window is None:
        return refuse("bad_request_body", "the length of the body is not known", field="body")
    return window


def _checked_counts(
    whole: int | Unreadable, cached: int | Unreadable, output: int | Unreadable
) -> _Counts | Unreadable:
    if isinstance(whole, Unreadable):
        return whole
    if isinstance(cached, Unreadable):
        return cached
    if isinstance(output, Unreadable):
        return output
    if cached > whole:
        return Unreadable("more cached tokens than input tokens")
    return _Counts(whole, cached, output)
