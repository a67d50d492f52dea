"""One walk through all that leases live through, for both workers: what the model of money does in
any order, so that no run leaves it out."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.model.money_machine import MoneyMachine
from tests.model.money_values import LIFETIME_S, NAMES, Ask, Installation
from tests.model.reference_ledger import DAY_S

ASKED = (
    Ask(NAMES[0], 1, None, 0, frozenset(), charging=False, reply_lost=False),
    Ask(NAMES[0], 0, None, 0, frozenset({"flight"}), charging=False, reply_lost=False),
    Ask(NAMES[1], 2, None, 0, frozenset({"units", "day"}), charging=False, reply_lost=False),
)

LEAST = {
    "drawn from a lease": 100,
    "lease: ended before it was told of": 6,
    "lease: lost reply": 8,
    "lease: lost late call": 8,
    "lease: a late call arrives": 8,
    "lease: called back": 3,
    "asked: short of what is leased": 6,
    "copy built behind a lease: asked": 24,
    "a worker dies with draws that nobody was told of": 6,
    "swept: something": 6,
}
"""How often these have to happen, for the walk to show anything."""


class LeaseWalk:
    """The steps, with everything looked at after each."""

    def __init__(self, model: MoneyMachine) -> None:
        self._model = model
        self._references = itertools.count(1_000)
        model.open_accounts()

    def walk(self) -> None:
        """All of it, by each worker and for each kind of request."""
        for lessee, asked in itertools.product((0, 1), ASKED):
            self._lose_calls(lessee, asked)
            self._share(lessee, asked)
            self._build(lessee, asked)
            self._outlive(lessee, asked)
            self._die(lessee, asked)

    def _lose_calls(self, lessee: int, asked: Ask) -> None:
        model = self._model
        for opening, loses in (("", "reply"), ("reply", "late call"), ("late call", "")):
            model.ask_often(lessee, asked, opening, loses)
            self._look()
            while model.late:
                model.arrive_late(0)
                self._look()
            self._start_anew(asked)

    def _share(self, lessee: int, asked: Ask) -> None:
        model = self._model
        model.end_early(lessee, asked, 30, True)
        self._look()
        model.ask_often(lessee, asked, "", "")
        self._look()
        self._start_anew(asked)
        for beyond in (0, 1):
            model.ask_for_what_is_leased(lessee, 1 - lessee, asked, beyond)
            self._look()
            self._start_anew(asked)

    def _build(self, lessee: int, asked: Ask) -> None:
        model = self._model
        for builder, cut_moments, heard_again in (
            (lessee, 0, False),
            (1 - lessee, 0, False),
            (1 - lessee, 8, False),
            (1 - lessee, 16, False),
            (1 - lessee, 16, True),
        ):
            model.build_behind_a_lease(lessee, builder, asked, cut_moments, heard_again)
            self._look()
            if model.workers[lessee].cut:
                model.cut_off(lessee, 0.0)
            self._start_anew(asked)

    def _outlive(self, lessee: int, asked: Ask) -> None:
        """A lease, and one that is not opened yet, when an epoch ends and when a day does."""
        model = self._model
        for _ in range(2):
            model.ask_often(lessee, asked, "", "")
            model.raise_epoch(True)
            model.tend_leases(lessee, 0.15, "")
            self._look()
            self._start_anew(asked)
            for _ in range(3):
                model.reserve_one(model.workers[lessee], asked, patient=True)
            model.raise_epoch(True)
            model.tend_leases(lessee, 0.06, "")
            self._look()
            self._start_anew(asked)
        model.ask_often(lessee, asked, "", "")
        model.wait(DAY_S)
        model.reserve_one(model.workers[1 - lessee], asked, patient=True)
        model.run(model.workers[lessee].leases.give_back())
        for _ in range(5):
            model.reserve_one(model.workers[1 - lessee], replace(asked, amount=60), patient=True)
        self._look()
        self._start_anew(asked)

    def _die(self, lessee: int, asked: Ask) -> None:
        model = self._model
        for journaled in (False, True):
            model.ask_often(lessee, asked, "", "")
            model.pass_time(LIFETIME_S // 2)
            model.ask_often(lessee, asked, "", "")
            model.die(lessee, asked, True, journaled)
            self._look()
            for wait_s in (LIFETIME_S // 2 + 32, LIFETIME_S + 31):
                model.sweep_strays(wait_s)
                self._look()
            self._start_anew(asked)

    def _start_anew(self, asked: Ask) -> None:
        """All that runs is over, nothing was called back, and there is money."""
        model = self._model
        for worker in (0, 1):
            model.journal(worker, 1)
            model.tend_leases(worker, 0.15, "")
        model.rest()
        model.expire(LIFETIME_S + 200)
        model.make_up()
        model.topup(asked.account, 1_000, str(next(self._references)))
        model.retell(asked.account)
        self._look()

    def _look(self) -> None:
        self._model.nothing_is_admitted_past_the_balance()
        self._model.the_ledger_is_what_it_has_to_be()
        self._model.the_hot_copies_are_what_they_have_to_be()


def walk_leases(install: Callable[[], Awaitable[Installation]]) -> set[str]:
    """Walk once over an installation that ``install`` makes; returns what hardly happened."""
    model = MoneyMachine(install)
    try:
        LeaseWalk(model).walk()
    finally:
        model.teardown()
    return {what for what, least in LEAST.items() if model.happened[what] < least}
