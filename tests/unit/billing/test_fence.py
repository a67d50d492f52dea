"""How long a worker may use what it holds, by its heartbeats."""

from __future__ import annotations

import pytest

from billing.fence import TRUST_S, Fence
from billing.stores.postgres_workers import FRESH


def test_a_worker_stops_before_others_stop_waiting_for_it() -> None:
    """The one bound is below the other, by more than a call takes."""
    assert FRESH.total_seconds() > TRUST_S + 0.25


def test_without_a_heartbeat_nothing_may_be_used() -> None:
    """Neither at the start of the clock nor later."""
    fence = Fence()
    assert not fence.covers(0.0, 0.0)
    assert not fence.covers(5.0, 5.0)


@pytest.mark.parametrize(("now_s", "covered"), [(10.0, True), (10.99, True), (11.0, False)])
def test_a_heartbeat_covers_a_second_from_its_sending(now_s: float, covered: bool) -> None:
    """To the bound, and no longer."""
    fence = Fence()
    fence.confirm(10.0)
    assert fence.covers(10.0, now_s) is covered


def test_heartbeats_without_a_gap_keep_what_was_had() -> None:
    """Each covers a second more, and what was had since the first is still good."""
    fence = Fence()
    for sent_s in (10.0, 10.5, 11.0, 11.99):
        fence.confirm(sent_s)
    assert fence.covers(10.0, 12.98)
    assert not fence.covers(10.0, 12.99)
    assert not fence.covers(9.99, 12.0)


@pytest.mark.parametrize("sent_s", [11.0, 15.0])
def test_after_a_gap_only_what_was_had_since_counts(sent_s: float) -> None:
    """A copy may have been built without this worker in the meantime."""
    fence = Fence()
    fence.confirm(10.0)
    fence.confirm(sent_s)
    assert not fence.covers(10.99, sent_s)
    assert fence.covers(sent_s, sent_s)
    assert not fence.covers(sent_s, sent_s + 1)


def test_an_old_heartbeat_takes_nothing_back() -> None:
    """One that is heard late covers less, and changes nothing."""
    fence = Fence()
    fence.confirm(10.0)
    fence.confirm(10.8)
    fence.confirm(10.5)
    assert fence.covers(10.0, 11.7)
