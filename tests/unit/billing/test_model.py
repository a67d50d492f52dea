"""The model of money over the stores in memory; tests/contract runs it over Postgres and Redis."""

import itertools

from hypothesis import settings

from billing.stores.memory import MemoryHotStore
from tests.contract.ledger_bench import MemoryLedgerBench
from tests.model.money_machine import check_money


class MemoryInstallation:
    """Everything in one process, where no time passes."""

    def __init__(self) -> None:
        tokens = (f"token-{number}" for number in itertools.count())
        self._hot = MemoryHotStore(lambda: 0.0, lambda: next(tokens))
        self.workers = [self._hot, self._hot]
        self.ledger = MemoryLedgerBench()

    async def flush(self) -> None:
        self._hot.flush()

    async def close(self) -> None:
        self._hot.flush()


async def install() -> MemoryInstallation:
    """A new installation."""
    return MemoryInstallation()


def test_money_stays_exact_in_memory() -> None:
    """Whatever happens, in any order, ledger and hot copy are what plain integers say."""
    check_money(install, settings(max_examples=8, stateful_step_count=40))
