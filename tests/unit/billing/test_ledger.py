"""The ledger's values: the chart, transfers, the hash chain and settlements."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from billing.ledger import (
    CHART,
    GENESIS,
    LedgerCode,
    Settlement,
    Transfer,
    TransferKind,
    chain_hash,
    make_transfer,
)
from billing.money import MAX_NANOS

lines = st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), max_size=6)

SETTLEMENT = Settlement(
    reservation_id="00000000-0000-7000-8000-000000000001",
    account_id="00000000-0000-7000-8000-00000000000a",
    key_id="00000000-0000-7000-8000-00000000000b",
    profile="llm",
    route="chat",
    meter="tokens",
    model="m",
    price_version="v1",
    outcome="answered",
    status="billed",
    billed=True,
    units=3,
    price_nanos=50,
    provider_cost_nanos=20,
    held_nanos=60,
    quoted_nanos=60,
    record="60|99",
    formula="f",
    review="",
    facts="{}",
    admitted_us=1,
    completed_us=2,
    expires_s=99,
)


def test_the_chart_names_every_kind_but_corrections() -> None:
    """Every kind has its two sides; a correction names its own."""
    assert set(CHART) == set(get_args(TransferKind)) - {"correction"}
    for debit, credit in CHART.values():
        assert debit != credit
        assert {debit, credit} <= set(get_args(LedgerCode))


@pytest.mark.parametrize(
    ("kind", "sign"), [("topup", 1), ("refund", 1), ("charge", -1), ("expiry", -1), ("cost", 0)]
)
def test_what_a_kind_does_to_a_customers_credits(kind: TransferKind, sign: int) -> None:
    """Top-ups and refunds raise a balance, charges lower it, a provider's cost leaves it alone."""
    debit, credit = CHART[kind]
    assert (credit == "credits") - (debit == "credits") == sign


@pytest.mark.parametrize("amount", [0, -1, MAX_NANOS + 1])
def test_a_transfer_of_nothing_or_too_much_is_a_bug(amount: int) -> None:
    """Amounts are above zero and within bounds, so no row of the ledger can be empty or wrap."""
    with pytest.raises(AssertionError):
        make_transfer("a", "r", "charge", amount, 1)


@pytest.mark.parametrize("amount", [1, MAX_NANOS])
def test_a_transfer_follows_the_chart(amount: int) -> None:
    """A charge debits the customer's credits and credits the platform's revenue."""
    transfer = make_transfer("a", "r", "charge", amount, 5)
    assert transfer == Transfer("a", "r", "charge", "credits", "revenue", amount, 5)


@pytest.mark.parametrize("field", Transfer._fields)
def test_a_changed_field_changes_the_line(field: str) -> None:
    """The hash chain covers every field of a transfer."""
    transfer = make_transfer("a", "r", "charge", 10, 5)
    other: object = 11 if isinstance(getattr(transfer, field), int) else "other"
    assert transfer._replace(**{field: other}).line() != transfer.line()  # type: ignore[arg-type]


@given(lines, st.randoms(use_true_random=False))
def test_the_order_of_lines_does_not_matter(batch: list[bytes], random: object) -> None:
    """A batch has one hash however its rows come back from the database."""
    shuffled = list(batch)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert chain_hash(GENESIS, shuffled) == chain_hash(GENESIS, batch)


@given(lines, lines)
def test_other_lines_have_another_hash(one: list[bytes], other: list[bytes]) -> None:
    """A row that was added, removed, doubled or changed is found."""
    same = sorted(one) == sorted(other)
    assert (chain_hash(GENESIS, one) == chain_hash(GENESIS, other)) is same


def test_the_chain_hangs_together() -> None:
    """A batch's hash depends on all batches before it, an empty one included."""
    first = chain_hash(GENESIS, [b"a"])
    assert chain_hash(first, [b"b"]) != chain_hash(chain_hash(GENESIS, [b"x"]), [b"b"])
    assert chain_hash(first, []) != first


@pytest.mark.parametrize(
    "change",
    [
        {"reservation_id": "other"},
        {"account_id": "other"},
        {"outcome": "cut_short"},
        {"units": 4},
        {"price_nanos": 51},
        {"provider_cost_nanos": 21},
        {"provider_cost_nanos": None},
    ],
    ids="-".join,
)
def test_another_content_has_another_hash(change: dict[str, object]) -> None:
    """Whatever money or units depend on tells two entries of one reservation apart."""
    other = replace(SETTLEMENT, **change)
    assert other.content_hash() != SETTLEMENT.content_hash()


@pytest.mark.parametrize(
    "change", [{"completed_us": 9}, {"formula": "g"}, {"facts": '{"a":1}'}, {"expires_s": 100}]
)
def test_what_may_differ_between_two_deliveries(change: dict[str, object]) -> None:
    """The same answer, once from the stream and once from the file, is a duplicate, no conflict."""
    again = replace(SETTLEMENT, **change)
    assert again.content_hash() == SETTLEMENT.content_hash()


def test_no_cost_is_not_a_cost_of_zero() -> None:
    """An unknown provider's cost and a known cost of nothing are different contents."""
    unknown = replace(SETTLEMENT, provider_cost_nanos=None)
    nothing = replace(SETTLEMENT, provider_cost_nanos=0)
    assert unknown.content_hash() != nothing.content_hash()


@pytest.mark.parametrize(
    "change",
    [{"price_nanos": -1}, {"price_nanos": MAX_NANOS + 1}, {"billed": False}, {"units": -1}],
)
def test_an_impossible_settlement_is_a_bug(change: dict[str, object]) -> None:
    """No negative price, none beyond bounds, and no price for what is not billed."""
    with pytest.raises(AssertionError):
        replace(SETTLEMENT, **change)
