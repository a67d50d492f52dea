"""What a worker may admit by itself."""

from __future__ import annotations

from billing.allowance import Allowance
from billing.reservations import CREDITS, Admitted, Hold, Short


def _hold(amount_nanos: int, account: str = "a") -> Hold:
    return Hold("r", account, amount_nanos, expires_s=100)


def test_a_share_of_the_last_known_balance_and_never_more_than_the_bound() -> None:
    """Of 800 nanos an eighth may be taken; of 80 000 no more than the fixed 500."""
    allowance = Allowance(share=8, most_nanos=500)
    allowance.saw("a", 800)
    assert allowance.take(_hold(60)) == Admitted(40, local=True)
    assert allowance.take(_hold(41)) == Short(CREDITS, 40, 41)
    allowance.saw("b", 80_000)
    assert allowance.take(_hold(500, "b")) == Admitted(0, local=True)


def test_an_account_that_was_never_seen_has_none() -> None:
    """Nothing is admitted for an account whose balance nobody knows, or which is in debt."""
    allowance = Allowance()
    assert allowance.take(_hold(1)) == Short(CREDITS, 0, 1)
    allowance.saw("a", -5)
    assert allowance.take(_hold(1)) == Short(CREDITS, 0, 1)


def test_what_was_taken_is_owed_until_it_is_forgotten() -> None:
    """The accounts that were admitted from are named until their copies are being rebuilt."""
    allowance = Allowance(share=1)
    allowance.saw("a", 10)
    allowance.take(_hold(4))
    assert allowance.admitted_from() == ("a",)
    allowance.forget(("a",))
    assert allowance.admitted_from() == ()
    assert allowance.take(_hold(10)) == Admitted(0, local=True)


def test_the_balances_seen_longest_ago_are_forgotten_first() -> None:
    """Its memory is bounded by accounts."""
    allowance = Allowance(share=1, max_accounts=2)
    for account in ("a", "b", "c"):
        allowance.saw(account, 10)
    assert isinstance(allowance.take(_hold(1, "a")), Short)
    assert isinstance(allowance.take(_hold(1, "c")), Admitted)
