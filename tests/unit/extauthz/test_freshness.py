"""Freshness against a slow model that remembers every event."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from billing.stores.protocol import Change
from extauthz.freshness import Freshness, Stamp
from extauthz.limits import DirectoryLimits
from tests.unit.extauthz.front_door import Clock

LIMITS = DirectoryLimits(max_age_s=30, stale_max_s=20, recheck_s=2, max_changed=3)
ACCOUNTS = ["a", "b", "c", "d", "e"]

events = st.one_of(
    st.tuples(st.just("wait"), st.integers(0, 25)),
    st.tuples(st.just("change"), st.sampled_from(ACCOUNTS)),
    st.tuples(st.just("lost"), st.sampled_from(["away", "back"])),
    st.tuples(st.just("read"), st.sampled_from(ACCOUNTS)),
    st.tuples(st.just("asked"), st.booleans()),
)


@dataclass
class Model:
    """Everything that happened, with its time."""

    happened: list[tuple[float, str, object]] = field(default_factory=list)

    def sure_until_s(self, read_s: float, index: int, listening: bool) -> float:
        """Until when the stream vouched for what was read at that place of the history."""
        if not listening:
            return read_s + LIMITS.recheck_s
        losses = [at for at, what, _ in self.happened[index:] if what == "lost"]
        return losses[0] if losses else float("inf")


@given(st.lists(events, max_size=40))
def test_nothing_wrong_is_served_and_nothing_stale_for_too_long(
    steps: list[tuple[str, object]],
) -> None:
    """Whatever happens: a told change is gone, a fresh entry was vouched for, and a stale one is at
    most ``stale_max_s`` past the moment at which the stream or Postgres fell silent."""
    clock, model = Clock(), Model()
    freshness = Freshness(LIMITS, clock)
    read: list[tuple[str, Stamp, int]] = []
    silent_s: float | None = None
    for what, detail in steps:
        if what == "wait":
            assert isinstance(detail, int)
            clock.forward(detail)
        elif what == "change":
            freshness.tell(Change("account", str(detail)))
        elif what == "lost":
            freshness.tell(Change("lost", detail=str(detail)))
        elif what == "read":
            read.append((str(detail), freshness.stamp(), len(model.happened)))
        elif detail:
            freshness.answered()
            silent_s = None
        else:
            freshness.unanswered()
            silent_s = clock.now_s if silent_s is None else silent_s
        model.happened.append((clock.now_s, what, detail))
        for account, stamp, index in read:
            since = model.happened[index:]
            belief = freshness.judge(stamp, account)
            if any(w == "change" and d == account for _, w, d in since):
                assert belief == "gone"
                continue
            sure_s = model.sure_until_s(stamp.read_s, index, stamp.listening)
            if belief == "fresh":
                assert clock.now_s < min(sure_s, stamp.read_s + LIMITS.max_age_s)
            if belief == "stale" and sure_s < float("inf"):
                assert clock.now_s < sure_s + LIMITS.stale_max_s
            elif belief == "stale" and silent_s is not None:
                since_s = max(silent_s, stamp.read_s + LIMITS.max_age_s)
                assert clock.now_s < since_s + LIMITS.stale_max_s


@given(st.lists(st.sampled_from(ACCOUNTS), max_size=3))
def test_other_accounts_stay_fresh(changed: list[str]) -> None:
    """Up to the bound, a change touches the entries of its own account only."""
    clock = Clock()
    freshness = Freshness(LIMITS, clock)
    freshness.tell(Change("lost", detail="back"))
    stamp = freshness.stamp()
    for account in changed:
        freshness.tell(Change("subscription", account))
    for account in ACCOUNTS:
        assert freshness.judge(stamp, account) == ("gone" if account in changed else "fresh")


def test_a_change_of_nobody_in_particular_is_one_of_everybody() -> None:
    """A change without an account leaves nothing to be believed."""
    freshness = Freshness(LIMITS, Clock())
    stamp = freshness.stamp()
    freshness.tell(Change("account"))
    assert freshness.judge(stamp, "a") == "gone"


def test_the_version_moves_with_every_event_that_matters() -> None:
    """Who judged an entry at a version need not judge it again before the version moves."""
    freshness = Freshness(LIMITS, Clock())
    versions = [freshness.version]
    for change in (Change("account", "a"), Change("lost"), Change("lost", detail="back")):
        freshness.tell(change)
        versions.append(freshness.version)
    assert versions == sorted(set(versions))
    freshness.tell(Change("balance", "a"))
    assert freshness.version == versions[-1]


def test_past_epochs_are_forgotten_when_nothing_of_them_can_be_served() -> None:
    """A stream that breaks a thousand times costs the memory of the last few breaks."""
    clock = Clock()
    freshness = Freshness(LIMITS, clock)
    for _ in range(1000):
        freshness.tell(Change("lost"))
        clock.forward(1)
    assert len(freshness._ends_s) <= LIMITS.stale_max_s + 1
