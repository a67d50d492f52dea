"""What the scripts are given, and what they keep, is read back as it was."""

from struct import pack, unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.lease_calls import LeaseCall, Step
from billing.money import MAX_NANOS
from billing.rate import Rate
from billing.reservations import MAX_COUNTED, Budget, Hold, Used, parse_record
from billing.stores.hot_layout import (
    MOST_BUDGETS,
    read_copy,
    read_record,
    write_hold,
    write_lease_call,
    write_record,
)

numbers = st.integers(0, MAX_COUNTED)
names = st.text(st.characters(exclude_characters="|~\0", exclude_categories=["Cs"]), min_size=1)
holds = st.builds(
    Hold,
    reservation_id=st.uuids().map(str),
    account_id=st.just("account"),
    amount_nanos=st.integers(0, MAX_NANOS),
    expires_s=numbers,
    budgets=st.lists(st.builds(Budget, names, numbers, numbers, numbers), max_size=5).map(tuple),
    rate=st.none() | st.builds(Rate, names, numbers, numbers, numbers),
)


@given(holds)
def test_a_record_is_read_as_it_was_written(hold: Hold) -> None:
    """Amounts up to the largest, any budgets, any names that a record can have."""
    text = hold.record()
    assert read_record(write_record(parse_record(text))) == text


@given(holds)
def test_a_request_contains_the_record_that_is_kept(hold: Hold) -> None:
    """The script cuts it out, and a copy that is loaded holds the very same."""
    record = write_record(parse_record(hold.record()))
    rate = b"" if hold.rate is None else hold.rate.name.encode()
    start = 1 + len(f"#{hold.reservation_id}\0") + len(rate) + 1
    written = write_hold(hold)
    assert written[start : len(written) - 8 * (len(hold.budgets) + 3)] == record


def test_a_request_of_more_budgets_than_a_byte_counts_is_an_error() -> None:
    """It is not cut short."""
    budget = Budget("units:llm", 0, 1, 1)
    assert write_hold(Hold("r", "a", 0, 0, (budget,) * MOST_BUDGETS))
    with pytest.raises(IndexError):
        write_hold(Hold("r", "a", 0, 0, (budget,) * (MOST_BUDGETS + 1)))


@given(
    st.builds(
        LeaseCall,
        lease_id=st.uuids().map(str),
        number=numbers,
        step=st.sampled_from(Step),
        wanted=numbers,
        hold=holds,
        expires_s=numbers,
        draws=st.lists(holds, max_size=3),
        turns=numbers,
        until_us=numbers,
    )
)
def test_a_call_about_a_lease_is_read_as_it_was_written(call: LeaseCall) -> None:
    """Texts, then numbers, then of each draw its field and the record that is kept of it."""
    written, budgets = write_lease_call(call), call.hold.budgets
    assert written[0] == len(budgets)
    field, rate_name, listed, rest = written[1:].split(b"\0", 3)
    name, interval_us, burst, now_us = call.hold.rate or ("", 0, 0, 0)
    names = "|".join(budget.name for budget in budgets)
    texts = [f"%{call.lease_id}", name, names]
    assert [field, rate_name, listed] == [text.encode() for text in texts]
    counted = 11 + 3 * len(budgets)
    assert unpack(f"<{counted}q", rest[: 8 * counted]) == (
        *(call.number, call.step, call.wanted, call.hold.amount_nanos, call.expires_s),
        *(len(call.draws), call.turns, interval_us, burst, now_us, call.until_us),
        *[budget.window_s for budget in budgets],
        *[budget.amount for budget in budgets],
        *[budget.limit for budget in budgets],
    )
    draws = [
        f"#{draw.reservation_id}\0".encode() + write_record(parse_record(draw.record()))
        for draw in call.draws
    ]
    assert rest[8 * counted :] == b"".join(draws)


def fields(**changed: bytes) -> dict[bytes, bytes]:
    """A copy that counts a budget and a rate."""
    found = {
        "v": b"-7",
        "e": b"-1",
        "p": b"-5",
        "o": b"9",
        "n": b"3",
        "a": b"1",
        "b": b"|units:llm|rate:llm",
        "c": pack("<6d", 100, 7, 2, 10**15, 0, 0),
        "#r": write_record(parse_record("3|8|units:llm~100~2")),
    }
    return {name.encode(): value for name, value in (found | changed).items()}


def test_a_copy_is_read() -> None:
    """Rates stand among the budgets and are none."""
    truth = read_copy("account", fields())
    assert truth is not None
    assert (truth.posted_nanos, truth.overdraft_nanos, truth.version) == (-5, 9, 3)
    assert truth.used == [Used("units:llm", 100, 7)]
    assert truth.pending == [("r", "3|8|units:llm~100~2")]


def test_what_is_left_of_leases_is_read() -> None:
    """They stand beside the reservations and are none."""
    kept = pack("<q", 3) + write_record(parse_record("50|8|units:llm~100~4|flight:llm~0~2"))
    truth = read_copy(
        "account", fields() | {b"%l": kept, b"%m": pack("<q", 1) + b"\x000\0\0" + pack("<q", 9)}
    )
    assert truth is not None
    assert truth.leases == [("l", "50|8|units:llm~100~4|flight:llm~0~2"), ("m", "0|9")]
    assert truth.pending == [("r", "3|8|units:llm~100~2")]


@pytest.mark.parametrize(
    "found",
    [
        {},
        {b"l": b"token"},
        {b"e": b"7", b"p": b"1", b"o": b"0", b"v": b"3", b"a": b"1", b"r:x": b"1|2"},
        fields(v=b"0"),
        fields(v=b"12"),
    ],
)
def test_what_is_no_copy_of_this_layout_is_not_read(found: dict[bytes, bytes]) -> None:
    """Nothing, a right to load, a copy of the layout before, and one that is void."""
    assert read_copy("account", found) is None
