"""Shares in short say what the record's text says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.reservations import BUDGET_KINDS, Budget, parse_record, write_shares
from billing.shares import DAY, DAY_S, FLIGHT, PERIOD, UNITS, UsualShares

NOON_S = 1_759_968_000 + DAY_S // 2


def test_every_kind_of_budget_has_its_place() -> None:
    """In the order of the kinds, each with its window and its amount."""
    usual = UsualShares(UNITS | PERIOD | DAY | FLIGHT, 1_759_276_800, 3)
    text = usual.write("llm", 7_000, NOON_S * 1_000_000 + 5)
    assert text == (
        "|units:llm~1759276800~3|period:llm~1759276800~7000|day:llm~1759968000~7000|flight:llm~0~1"
    )
    shares = parse_record("7000|1" + text).shares
    assert [share.name.partition(":")[0] for share in shares] == list(BUDGET_KINDS)


@given(
    st.integers(0, 15),
    st.integers(0, 2**40),
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53),
)
def test_any_choice_of_kinds_is_written_as_budgets_are(
    kinds: int, start_s: int, units: int, held_nanos: int, admitted_us: int
) -> None:
    """To the letter: what the hot copy has and what the ticket says are one text."""
    day_s = admitted_us // 1_000_000 // DAY_S * DAY_S
    offered = {
        UNITS: Budget("units:p", start_s, 0, units),
        PERIOD: Budget("period:p", start_s, 0, held_nanos),
        DAY: Budget("day:p", day_s, 0, held_nanos),
        FLIGHT: Budget("flight:p", 0, 0, 1),
    }
    budgets = [budget for kind, budget in offered.items() if kinds & kind]
    found = UsualShares(kinds, start_s, units).write("p", held_nanos, admitted_us)
    assert found == write_shares(budgets)


@pytest.mark.parametrize(
    ("admitted_us", "day_s"),
    [(0, 0), (86_399_999_999, 0), (86_400_000_000, 86_400), (86_400_000_001, 86_400)],
)
def test_a_day_begins_at_midnight(admitted_us: int, day_s: int) -> None:
    """UTC, to the microsecond."""
    assert UsualShares(DAY, 0, 0).write("p", 1, admitted_us) == f"|day:p~{day_s}~1"
