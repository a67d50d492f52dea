"""What a worker may admit by itself while the hot copy is away (posture ``allowance``).

Per account: a share of the balance that it last saw, and never more than a fixed amount. With W
workers and a share of 1/W or less they cannot together pass a balance that was seen by all of
them. What was admitted so is journaled like any other reservation, and the copies of those
accounts are dropped when the hot copy is back, so that they are built anew with it.
"""

from __future__ import annotations

from collections import OrderedDict

from billing.reservations import CREDITS, Admitted, Hold, Short


class Allowance:
    """``share`` divides the last known balance, ``most_nanos`` bounds what is left of it.

    ``max_accounts`` bounds the memory of balances: the accounts seen longest ago are forgotten
    first, and an account without a known balance has no allowance.
    """

    def __init__(
        self, share: int = 8, most_nanos: int = 10**9, max_accounts: int = 100_000
    ) -> None:
        assert share >= 1, "a share is a divisor"
        self._share = share
        self._most_nanos = most_nanos
        self._max_accounts = max_accounts
        self._known: OrderedDict[str, int] = OrderedDict()
        self._taken: dict[str, int] = {}

    def saw(self, account_id: str, available_nanos: int) -> None:
        """Remember the balance that the hot copy told last."""
        self._known[account_id] = available_nanos
        if len(self._known) > self._max_accounts:
            self._known.popitem(last=False)

    def take(self, hold: Hold) -> Admitted | Short:
        """Admit from the allowance, or say how much of it is left."""
        known = max(self._known.get(hold.account_id, 0), 0)
        bound = min(known // self._share, self._most_nanos)
        left = bound - self._taken.get(hold.account_id, 0) - hold.amount_nanos
        if left < 0:
            return Short(CREDITS, left + hold.amount_nanos, hold.amount_nanos)
        self.note(hold)
        return Admitted(left, local=True)

    def note(self, hold: Hold) -> None:
        """Count an amount that was admitted without the hot copy."""
        taken = self._taken.get(hold.account_id, 0)
        self._taken[hold.account_id] = taken + hold.amount_nanos

    def admitted_from(self) -> tuple[str, ...]:
        """Accounts that were admitted without the hot copy."""
        return tuple(self._taken)

    def forget(self, account_ids: tuple[str, ...]) -> None:
        """Their copies are being built anew: what was taken counts there from now on."""
        for account_id in account_ids:
            self._taken.pop(account_id, None)
