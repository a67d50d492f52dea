"""The model of money over the stores in memory; tests/contract runs it over Postgres and Redis."""

import itertools

from hypothesis import settings

from billing.lease_calls import PAUSE_MS
from billing.stores.memory import MemoryHotStore
from billing.stores.memory_hot import LOAD_RIGHT_S
from tests.contract.ledger_bench import MemoryLedgerBench
from tests.model.lease_walk import walk_leases
from tests.model.money_machine import check_money


class MemoryInstallation:
    """Everything in one process, where no time passes by itself."""

    def __init__(self) -> None:
        tokens = (f"token-{number}" for number in itertools.count())
        self._now_s = 0.0
        self._hot = MemoryHotStore(lambda: self._now_s, lambda: next(tokens))
        self.workers = [self._hot, self._hot]
        self.ledger = MemoryLedgerBench()

    async def flush(self) -> None:
        self._hot.flush()

    async def rest(self) -> None:
        self._now_s += max(LOAD_RIGHT_S, PAUSE_MS / 1000)

    async def close(self) -> None:
        self._hot.flush()


async def install() -> MemoryInstallation:
    """A new installation."""
    return MemoryInstallation()


def test_money_stays_exact_in_memory() -> None:
    """Whatever happens, in any order, ledger and hot copy are what plain integers say."""
    check_money(install, settings(max_examples=8, stateful_step_count=40))


def test_a_walk_through_all_that_leases_live_through() -> None:
    """Lost calls, early ends, call-backs, copies built behind them, silence and death, in order."""
    assert not walk_leases(install)
