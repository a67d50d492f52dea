"""Who may act: keys, accounts, scopes and subscriptions."""

from dataclasses import replace

import pytest

from billing.subscriptions import (
    AccountStatus,
    Principal,
    Subscription,
    SubscriptionStatus,
    judge_key,
    judge_subscription,
)

NOW_S = 1_760_000_000.0

SUBSCRIPTION = Subscription(
    profile="llm",
    plan="pro",
    status="active",
    units_limit=None,
    rps=None,
    burst=None,
    period_start_s=1_759_276_800,
    period_end_s=1_761_955_200,
)
PRINCIPAL = Principal(
    key_id="k",
    key_status="active",
    key_expires_s=None,
    scopes=frozenset(),
    account_id="a",
    account_status="active",
    tier="standard",
    subscriptions={"llm": SUBSCRIPTION},
)


def code_of_key(principal: Principal) -> str | None:
    """The code of the refusal of a key, if any."""
    refusal = judge_key(principal, NOW_S)
    return refusal.kind.code if refusal else None


def code_of_subscription(principal: Principal, route: str = "chat", profile: str = "llm") -> object:
    """The code of the refusal of a route and profile, if any."""
    refusal = judge_subscription(principal, route, profile)
    return refusal.kind.code if refusal else None


def test_an_active_key_passes() -> None:
    """Nothing stands against an active key of an active account."""
    assert code_of_key(PRINCIPAL) is None


def test_a_revoked_key_is_refused() -> None:
    """Revocation is final."""
    assert code_of_key(replace(PRINCIPAL, key_status="revoked")) == "revoked_key"


@pytest.mark.parametrize(
    ("expires_s", "code"),
    [(int(NOW_S) + 1, None), (int(NOW_S), "expired_key"), (0, "expired_key")],
)
def test_a_key_expires_at_its_second(expires_s: int, code: str | None) -> None:
    """A key is good until its expiry and no longer from that second on."""
    assert code_of_key(replace(PRINCIPAL, key_expires_s=expires_s)) == code


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_an_account_that_may_not_act(status: AccountStatus) -> None:
    """Keys of a suspended or closed account are refused alike."""
    assert code_of_key(replace(PRINCIPAL, account_status=status)) == "account_suspended"


def test_what_ended_the_key_is_told_first() -> None:
    """A revoked key of a suspended account says revoked: no lifted suspension would help."""
    ended = replace(PRINCIPAL, key_status="revoked", account_status="suspended", key_expires_s=0)
    assert code_of_key(ended) == "revoked_key"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("active", None),
        ("past_due", None),
        ("suspended", "subscription_suspended"),
        ("cancelled", "subscription_cancelled"),
    ],
)
def test_each_status_of_a_subscription(status: SubscriptionStatus, code: str | None) -> None:
    """Prepaid credits may be spent while a bill is open; suspended and cancelled stop."""
    changed = replace(PRINCIPAL, subscriptions={"llm": replace(SUBSCRIPTION, status=status)})
    assert code_of_subscription(changed) == code


def test_a_profile_without_a_subscription_is_refused() -> None:
    """A subscription to one profile opens no other."""
    assert code_of_subscription(PRINCIPAL, "ethereum", "rpc") == "no_subscription"


@pytest.mark.parametrize(
    ("scopes", "code"),
    [
        ((), None),
        (("chat",), None),
        (("llm",), None),
        (("ethereum", "llm"), None),
        (("ethereum",), "key_not_allowed"),
        (("chatty", "LLM"), "key_not_allowed"),
    ],
)
def test_scopes_name_routes_or_profiles(scopes: tuple[str, ...], code: str | None) -> None:
    """No scope means all; else the route or its profile has to be named exactly."""
    assert code_of_subscription(replace(PRINCIPAL, scopes=frozenset(scopes))) == code


def test_a_missing_scope_is_told_before_a_missing_subscription() -> None:
    """Subscribing would not help a key without the scope."""
    scoped = replace(PRINCIPAL, scopes=frozenset({"chat"}))
    assert code_of_subscription(scoped, "ethereum", "rpc") == "key_not_allowed"
