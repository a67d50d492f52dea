"""Refusals: the whole vocabulary, as clients were promised it."""

import pytest

from billing.refusals import KINDS, refuse

PROMISED = {
    401: {"missing_key", "malformed_key", "unknown_key", "revoked_key", "expired_key"},
    402: {
        "insufficient_credits",
        "quota_exceeded",
        "spend_cap_reached",
        "request_too_expensive",
    },
    403: {
        "no_subscription",
        "subscription_suspended",
        "subscription_cancelled",
        "account_suspended",
        "key_not_allowed",
    },
    413: {"body_too_large"},
    400: {"bad_request_body"},
    429: {"rate_limited", "too_many_in_flight"},
    503: {"authorization_unavailable"},
}


@pytest.mark.parametrize(
    ("status", "code"),
    [(status, code) for status, codes in PROMISED.items() for code in sorted(codes)],
)
def test_every_promised_code_has_its_status(status: int, code: str) -> None:
    """Clients branch on these codes; none may vanish or move to another status."""
    assert refuse(code).kind.http_status == status


def test_every_code_speaks_to_a_person() -> None:
    """Each row has a sentence, says what would help, and stands under its own code."""
    for code, kind in KINDS.items():
        assert kind.code == code
        assert kind.message.endswith(".")
        assert kind.action.endswith(".")
        assert 400 <= kind.http_status < 600


def test_an_unknown_code_is_a_bug() -> None:
    """A refusal outside of the vocabulary cannot be made."""
    with pytest.raises(KeyError):
        refuse("no_such_code")


def test_numbers_and_waiting_travel_with_the_refusal() -> None:
    """What matters to the client is kept beside the kind, for whoever writes the answer."""
    refusal = refuse("rate_limited", "per second", retry_after_s=1, limit=5)
    assert refusal.reason == "per second"
    assert refusal.retry_after_s == 1
    assert refusal.numbers == {"limit": 5}


def test_the_vocabulary_cannot_be_changed() -> None:
    """Nobody adds a code while the program runs."""
    with pytest.raises(TypeError):
        KINDS["new"] = KINDS["rate_limited"]  # type: ignore[index]
