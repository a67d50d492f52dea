"""Why a request is refused: values, never exceptions (contract, section 7).

The table below is the whole vocabulary. ``message`` speaks to the person who reads the answer,
``action`` says what would help; the numbers that matter travel in ``Refusal.numbers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class RefusalKind:
    """One row of the table: the code, its HTTP status, the sentence, and what to do about it."""

    code: str
    http_status: int
    message: str
    action: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused request: a kind of the table, why in particular, and the numbers that matter.

    ``numbers`` holds integers (nano-USD end in ``_nanos``) or short strings; ``retry_after_s`` is
    set only where waiting helps.
    """

    kind: RefusalKind
    reason: str = ""
    numbers: Mapping[str, int | str] = field(default_factory=dict)
    retry_after_s: int | None = None


_ROWS = (
    (
        "missing_key",
        401,
        "No API key was sent.",
        "Send your key as 'Authorization: Bearer tk_...'.",
    ),
    ("malformed_key", 401, "The API key has a wrong form.", "Copy the whole key again."),
    ("unknown_key", 401, "No such API key exists.", "Check the key, or create a new one."),
    ("revoked_key", 401, "This API key was revoked.", "Create a new key."),
    ("expired_key", 401, "This API key has expired.", "Rotate the key."),
    (
        "insufficient_credits",
        402,
        "The balance does not cover this request.",
        "Top up the account.",
    ),
    (
        "quota_exceeded",
        402,
        "The quota of the period is used up.",
        "Wait for reset or change plan.",
    ),
    (
        "spend_cap_reached",
        402,
        "The spend cap is reached.",
        "Raise the cap, or wait for its reset.",
    ),
    (
        "request_too_expensive",
        402,
        "One request may not cost this much.",
        "Ask for less, for example with a smaller max_tokens.",
    ),
    ("no_subscription", 403, "The account has no subscription for this.", "Subscribe to a plan."),
    ("subscription_suspended", 403, "The subscription is suspended.", "Settle what is open."),
    ("subscription_cancelled", 403, "The subscription was cancelled.", "Subscribe again."),
    ("account_suspended", 403, "The account is suspended.", "Contact the operator."),
    ("key_not_allowed", 403, "This key may not use this route.", "Use a key with the scope."),
    ("body_too_large", 413, "The request is too large.", "Send less in one request."),
    ("bad_request_body", 400, "The request cannot be priced.", "Correct the body."),
    ("unknown_model", 400, "No price is known for this model.", "Use a model of the price list."),
    ("unknown_route", 403, "This route is not known to the gateway.", "Check the address."),
    ("rate_limited", 429, "Too many requests.", "Slow down."),
    ("too_many_in_flight", 429, "Too many requests at once.", "Wait for one to end."),
    (
        "authorization_unavailable",
        503,
        "Authorization cannot be decided right now.",
        "Try again shortly.",
    ),
)

KINDS: Mapping[str, RefusalKind] = MappingProxyType({row[0]: RefusalKind(*row) for row in _ROWS})


def refuse(
    code: str, reason: str = "", *, retry_after_s: int | None = None, **numbers: int | str
) -> Refusal:
    """Make a refusal of one of the codes of the table; an unknown code is a programming error."""
    return Refusal(KINDS[code], reason, numbers, retry_after_s)
