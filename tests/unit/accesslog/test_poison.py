"""Halving a batch down to the entries that cannot be settled, and knowing when it is not them."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from accesslog.backoff import Backoff
from accesslog.judge import Priced
from accesslog.metrics import AccessLogMetrics
from accesslog.notices import Notices
from accesslog.poison import Isolator
from accesslog.settings import SettleSettings
from billing.errors import InvalidInput, StoreUnavailable
from tests.unit.accesslog.door import make_entry


class Store:
    """Commits batches of entries named by their ticket; refuses those that it is told to."""

    def __init__(self, poison: set[str], fault: Exception | None = None) -> None:
        self.poison = poison
        self.fault = fault or InvalidInput("never")
        self.committed: list[str] = []
        self.calls = 0
        self.waits = 0
        self.heals_after: int | None = None

    async def commit(self, batch: Sequence[Priced]) -> None:
        self.calls += 1
        names = [priced.entry.ticket for priced in batch]
        if self.poison.intersection(names):
            raise self.fault
        self.committed += names

    async def wait(self, _seconds: float) -> None:
        self.waits += 1
        if self.heals_after is not None and self.waits >= self.heals_after:
            self.poison = set()

    async def settle(self, names: Sequence[str], settings: SettleSettings) -> list[str]:
        isolator = Isolator(
            settings=settings,
            backoff=Backoff(1, 1, self.wait, lambda: 1.0),
            metrics=AccessLogMetrics(CollectorRegistry()),
            notices=Notices(lambda _text: None, lambda: 0.0),
        )
        batch = [Priced(make_entry(name), None) for name in names]  # type: ignore[arg-type]
        poison = await isolator.settle(batch, self.commit)
        return [found.priced.entry.ticket for found in poison]


SETTINGS = SettleSettings(systemic_entries=4)


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=3))
async def test_exactly_the_poison_is_found(count: int, bad: set[int]) -> None:
    """Whatever few entries are bad, they come back and every other entry is committed once."""
    names = [str(n) for n in range(count)]
    poison = {str(n) for n in bad if n < count}
    store = Store(set(poison))
    assert sorted(await store.settle(names, SETTINGS)) == sorted(poison)
    assert sorted(store.committed) == sorted(set(names) - poison)
    assert store.waits == 0


async def test_one_bad_of_a_thousand_costs_few_transactions() -> None:
    """Halving finds one entry of 1 024 in 21 calls."""
    store = Store({"700"})
    assert await store.settle([str(n) for n in range(1024)], SETTINGS) == ["700"]
    assert store.calls == 21


async def test_when_nothing_can_be_settled_the_entries_are_kept() -> None:
    """A fault that meets every entry is the ledger's: all are tried again until it is repaired."""
    names = [str(n) for n in range(100)]
    store = Store(set(names), KeyError("a bug"))
    store.heals_after = 6
    assert await store.settle(names, SETTINGS) == []
    assert sorted(store.committed) == sorted(names)
    assert store.waits == 6


@pytest.mark.parametrize("count", [1, 3])
async def test_a_few_that_fail_for_an_unknown_reason_are_tried_again(count: int) -> None:
    """A small batch that fails whole is given time, in case the fault is not in its entries."""
    names = [str(n) for n in range(count)]
    healed = Store(set(names), RuntimeError("?"))
    healed.heals_after = 1
    assert await healed.settle(names, SETTINGS) == []
    hopeless = Store(set(names), RuntimeError("?"))
    assert await hopeless.settle(names, SETTINGS) == names
    assert hopeless.waits == SETTINGS.patience_tries - 1


async def test_what_can_never_succeed_is_not_tried_again() -> None:
    """An entry that the ledger calls invalid is poison at once, even when it is alone."""
    store = Store({"0"})
    assert await store.settle(["0"], SETTINGS) == ["0"]
    assert (store.calls, store.waits) == (1, 0)


async def test_a_store_that_does_not_answer_is_never_poison() -> None:
    """Unavailability is waited out on the same batch, without halving it."""
    store = Store({"0"}, StoreUnavailable("away"))
    store.heals_after = 5
    assert await store.settle(["0", "1"], SETTINGS) == []
    assert store.calls == 6
