"""Packed principals come back as they were."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from billing.subscriptions import Principal, Subscription
from extauthz.freshness import Stamp
from extauthz.packing import pack, unpack
from tests.unit.extauthz.front_door import make_principal

numbers = st.integers(0, 2**53)
names = st.text(max_size=40)
ids = st.one_of(st.uuids().map(str), names, st.uuids().map(lambda u: str(u).upper()))
subscriptions = st.builds(
    Subscription,
    profile=names,
    plan=names,
    status=st.sampled_from(["active", "past_due", "suspended", "cancelled"]),
    units_limit=st.none() | numbers,
    rps=st.none() | numbers,
    burst=st.none() | numbers,
    period_start_s=numbers,
    period_end_s=numbers,
)
principals = st.builds(
    Principal,
    key_id=ids,
    key_status=st.sampled_from(["active", "revoked"]),
    key_expires_s=st.none() | numbers,
    scopes=st.frozensets(names, max_size=5),
    account_id=ids,
    account_status=st.sampled_from(["active", "suspended", "closed"]),
    tier=names,
    subscriptions=st.lists(subscriptions, max_size=4, unique_by=lambda s: s.profile).map(
        lambda found: {s.profile: s for s in found}
    ),
)
stamps = st.builds(Stamp, numbers, numbers, st.booleans(), st.floats(0, 1e9))


@given(principals, stamps)
def test_a_packed_principal_comes_back_whole(principal: Principal, stamp: Stamp) -> None:
    """Every field of the principal and of its stamp survives."""
    assert unpack(pack(principal, stamp)) == (principal, stamp)


def test_a_usual_principal_takes_few_bytes() -> None:
    """A key with three subscriptions stays below 200 bytes, so that a million of them fit."""
    assert len(pack(make_principal(1), Stamp(10**6, 100, True, 1e6))) < 200
