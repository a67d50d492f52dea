"""The story of a request."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ratelimit.algorithms import Group, Reading
from ratelimit.descriptors import Override
from ratelimit.errors import InvalidRequest
from ratelimit.rule_files import load_texts
from ratelimit.settings_values import RateLimitSettings
from ratelimit.stores.memory import MemoryStore
from ratelimit.units import Unit
from tests.unit.ratelimit.building import T0_US, built, one

RULES = """
domain: d
descriptors:
  - {key: five, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: three, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: shade, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: quota, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: quota2, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 4}}
  - key: bucket
    rate_limit: {unit: second, requests_per_unit: 2, algorithm: token_bucket, burst: 3}
    descriptors:
      - {key: burst, parameter: burst}
      - {key: quoted, parameter: quoted_hits}
"""
STRICT = RULES.replace("domain: d", "domain: d\nall_or_nothing: true")


class Watched(MemoryStore):
    """Says which groups it was asked."""

    def __init__(self) -> None:
        super().__init__(1000)
        self.groups: list[Group] = []

    async def draw(self, group: Group) -> Sequence[Reading]:
        """Remember the group and answer it."""
        self.groups.append(group)
        return await super().draw(group)


async def test_a_request_needs_a_domain_and_descriptors() -> None:
    """Without either, or with far too many, it is refused as wrong."""
    service = built(RULES)
    with pytest.raises(InvalidRequest, match="domain must not be empty"):
        await service.ask("", one("five=1"))
    with pytest.raises(InvalidRequest, match="descriptor list must not be empty"):
        await service.ask("d")
    with pytest.raises(InvalidRequest, match="more than 1000"):
        await service.ask("d", *[one("five=1")] * 1001)


async def test_what_nobody_limits_is_ok() -> None:
    """An unknown domain and a descriptor without a rule pass, without a limit in their status."""
    service = built(RULES)
    for domain, descriptor in (("other", one("five=1")), ("d", one("six=1")), ("d", one())):
        answer = await service.ask(domain, descriptor)
        assert not answer.over
        assert answer.statuses[0].limit is None
    assert service.metrics.events["domain_not_found"] == 1


async def test_statuses_say_what_is_left_and_until_when() -> None:
    """Remaining counts down; the window's end comes nearer."""
    service = built(RULES)
    service.clock.pass_s(20)
    for remaining in (4, 3, 2, 1, 0, 0):
        (status,) = (await service.ask("d", one("five=1"))).statuses
        assert (status.remaining, status.reset_s) == (remaining, 40)
    assert status.over


async def test_hits_addend() -> None:
    """More hits at once count as many; none asks only; too many are over and still counted."""
    service = built(RULES)
    assert await service.codes("d", one("five=1", hits=3)) == "."
    assert await service.codes("d", one("five=1", hits=0), times=9) == "." * 9
    assert await service.codes("d", one("five=1", hits=3)) == "x"
    assert await service.codes("d", one("five=1", hits=1)) == "x"
    assert await service.codes("d", one("five=2", hits=2**64 - 1)) == "x"


async def test_an_override_takes_the_place_of_the_rule() -> None:
    """Its number and unit hold; rule flags such as shadow mode do not apply to it."""
    service = built(RULES)
    seven = Override(2, Unit.DAY)
    assert await service.codes("d", one("five=1", override=seven), times=3) == "..x"
    assert await service.codes("d", one("shade=1", override=seven), times=3) == "..x"
    assert await service.codes("d", one("nobody=1", override=seven), times=3) == "..x"
    assert await service.codes("other", one("five=1", override=seven), times=3) == "..."
    (status,) = (await service.ask("d", one("five=1", override=seven))).statuses
    assert status.limit is not None
    assert (status.limit.requests_per_unit, status.limit.unit) == (2, Unit.DAY)


async def test_a_burst_comes_with_the_request() -> None:
    """The override's rate with the burst that the request names; a wrong one is the rule's."""
    service = built(RULES)
    rate = Override(1, Unit.SECOND)
    assert await service.codes("d", one("bucket=a", "burst=5", override=rate), times=6) == ".....x"
    for wrong in ("-1", "many", "", "9" * 40, "٣"):
        asked = one(f"bucket={wrong}", f"burst={wrong}")
        assert await service.codes("d", asked, times=4) == "...x", wrong
    assert service.metrics.events["parameter_not_a_number"] > 0


async def test_a_quote_is_put_right_by_what_was_really_used() -> None:
    """The difference between the true number and the quote is given back or drawn, never
    refused.
    """
    service = built(RULES)
    assert await service.codes("d", one("bucket=a", hits=3)) == "."
    assert await service.codes("d", one("bucket=a", hits=1)) == "x"
    assert await service.codes("d", one("bucket=a", "quoted=3", hits=1)) == "."
    assert await service.codes("d", one("bucket=a", hits=2)) == "."
    assert await service.codes("d", one("bucket=a", "quoted=2", hits=6)) == "."
    service.clock.pass_s(2)
    assert await service.codes("d", one("bucket=a", hits=1)) == "x"
    service.clock.pass_s(1)
    assert await service.codes("d", one("bucket=a", hits=1)) == "."


async def test_corrections_from_within() -> None:
    """Settlement gives back and draws through the limiter itself, in the window of the draw."""
    service = built(RULES)
    assert await service.codes("d", one("five=1", hits=5)) == "."
    assert await service.codes("d", one("five=1")) == "x"
    await service.limiter.correct("d", [one("five=1")], -3)
    assert await service.codes("d", one("five=1"), times=3) == "..x"
    drawn_us = service.clock()
    service.clock.pass_s(60)
    assert await service.codes("d", one("five=1", hits=5)) == "."
    await service.limiter.correct("d", [one("five=1")], -3, drawn_us)
    assert await service.codes("d", one("five=1")) == "x"
    await service.limiter.correct("d", [one("three=1")], 4)
    assert await service.codes("d", one("three=1", hits=0)) == "x"
    await service.limiter.correct("unknown", [one("five=1")], 4)
    await service.limiter.correct("d", [one("nobody=1")], 4)


async def test_by_default_descriptors_count_each_for_itself() -> None:
    """As in envoyproxy/ratelimit, one that is over does not keep the other from counting."""
    service = built(RULES)
    assert await service.codes("d", one("five=1"), one("three=1"), times=4) == "...x"
    (status,) = (await service.ask("d", one("five=1", hits=0))).statuses
    assert status.remaining == 1


@pytest.mark.parametrize("by", ["file", "setting"])
async def test_all_or_nothing(by: str) -> None:
    """When one is over nothing is consumed, whether the file or the setting says so."""
    whole = RateLimitSettings(all_or_nothing=True)
    service = built(STRICT) if by == "file" else built(RULES, settings=whole)
    assert await service.codes("d", one("five=1"), one("three=1"), times=6) == "...xxx"
    (status,) = (await service.ask("d", one("five=1", hits=0))).statuses
    assert status.remaining == 2
    assert await service.codes("d", one("five=1"), times=3) == "..x"


async def test_shadow_mode_of_a_rule() -> None:
    """The request passes; what would have been refused is counted."""
    service = built(RULES)
    assert await service.codes("d", one("shade=1"), times=5) == "....."
    counts = service.metrics.rule("d", "shade")
    assert (counts.total, counts.over_limit, counts.shadow_mode) == (5, 4, 4)
    assert await service.codes("d", one("shade=1"), one("five=1"), times=6) == ".....x"


async def test_global_shadow_mode() -> None:
    """The overall code is always OK; the statuses say what would have been."""
    service = built(RULES, settings=RateLimitSettings(shadow_mode=True))
    assert await service.codes("d", one("three=1"), times=5) == "....."
    answer = await service.ask("d", one("three=1"))
    assert answer.statuses[0].over
    assert service.metrics.events["global_shadow_mode"] == 3


async def test_quota_mode() -> None:
    """A request is refused only when all of its quotas are used up."""
    service = built(RULES)
    assert await service.codes("d", one("quota=1"), one("quota2=1"), times=5) == "....x"
    assert await service.codes("d", one("quota=2"), times=3) == "..x"


async def test_global_quota_mode() -> None:
    """Every limit is a quota then; one that does not apply is never used up."""
    service = built(RULES, settings=RateLimitSettings(quota_mode=True))
    assert await service.codes("d", one("three=1"), one("five=1"), times=6) == ".....x"
    assert await service.codes("d", one("three=2"), one("nobody=1"), times=6) == "......"


async def test_global_quota_mode_with_all_or_nothing() -> None:
    """Where a quota cannot be used up the request counts although another one is."""
    whole = RateLimitSettings(quota_mode=True, all_or_nothing=True)
    service = built(RULES, settings=whole)
    assert await service.codes("d", one("three=1"), one("nobody=1"), times=6) == "......"
    assert await service.codes("d", one("three=1"), one("five=1"), times=6) == ".....x"


async def test_a_flood_costs_no_call() -> None:
    """Once a counter is known to be over, the store is not asked until it may have changed."""
    store = Watched()
    service = built(RULES, store=store)
    assert await service.codes("d", one("three=1"), times=1000) == "..." + "x" * 997
    assert len(store.groups) == 4
    counts = service.metrics.rule("d", "three")
    assert (counts.total, counts.over_limit, counts.over_limit_cached) == (1000, 997, 996)
    service.clock.pass_s(1)
    assert await service.codes("d", one("three=1"), times=10) == "x" * 10
    assert len(store.groups) == 5
    service.clock.pass_s(59)
    assert await service.codes("d", one("three=1")) == "."


async def test_what_is_known_leaves_the_rest_to_be_asked() -> None:
    """Of two descriptors only the unknown one goes to the store, and is counted."""
    store = Watched()
    service = built(RULES, store=store)
    await service.codes("d", one("three=1"), times=4)
    store.groups.clear()
    assert await service.codes("d", one("three=1"), one("five=1"), times=2) == "xx"
    assert [len(group.draws) for group in store.groups] == [1, 1]
    (status,) = (await service.ask("d", one("five=1", hits=0))).statuses
    assert status.remaining == 3


async def test_what_is_known_and_all_or_nothing() -> None:
    """The rest is only looked at then, and nothing of it consumed."""
    service = built(STRICT)
    await service.codes("d", one("three=1"), times=5)
    for _ in range(3):
        answer = await service.ask("d", one("three=1"), one("five=1"))
        assert [status.over for status in answer.statuses] == [True, False]
        assert answer.statuses[1].remaining == 5


async def test_a_raised_limit_is_seen_at_once() -> None:
    """New rules forget who was over under the old ones."""
    service = built(RULES)
    assert await service.codes("d", one("three=1"), times=5) == "...xx"
    raised = RULES.replace("requests_per_unit: 3", "requests_per_unit: 30")
    service.limiter.take_rules(load_texts({"f.yaml": raised}))
    assert await service.codes("d", one("three=1")) == "."
    more = Override(50, Unit.MINUTE)
    few = Override(2, Unit.MINUTE)
    assert await service.codes("d", one("three=2", override=few), times=3) == "..x"
    assert await service.codes("d", one("three=2", override=more)) == "."


async def test_a_value_that_is_too_large_is_over() -> None:
    """It is refused without a call, where a rule applies to it, and passes where none does."""
    store = Watched()
    service = built(RULES, store=store)
    large = "x" * 1_000_000
    assert await service.codes("d", one(f"five={large}"), times=2) == "xx"
    assert await service.codes("d", one(f"five={'é' * 40_000}")) == "x"
    assert store.groups == []
    assert await service.codes("d", one(f"shade={large}"), times=2) == ".."
    assert await service.codes("d", one(f"nobody={large}")) == "."
    assert await service.codes("d", one(f"five={'x' * 60_000}"), times=6) == ".....x"
    assert service.metrics.events["descriptor_too_large"] == 5


async def test_what_is_remembered_of_descriptors_is_bounded() -> None:
    """The oldest is forgotten, a long one never kept; every answer is as if nothing were."""
    service = built(RULES, settings=RateLimitSettings(placements_max=2))
    for value in ("1", "2", "3", "1", "y" * 1000, "y" * 1000, "3"):
        await service.ask("d", one(f"five={value}"))
    assert service.metrics.events["placements_forgotten"] == 2
    for value, remaining in (("1", 2), ("2", 3), ("3", 2), ("y" * 1000, 2)):
        (status,) = (await service.ask("d", one(f"five={value}"))).statuses
        assert status.remaining == remaining


async def test_the_same_descriptor_twice_in_one_request() -> None:
    """It counts twice, and the second time sees the first."""
    service = built(RULES)
    answer = await service.ask("d", one("three=1"), one("three=1"))
    assert [status.remaining for status in answer.statuses] == [2, 1]
    assert await service.codes("d", one("three=1"), one("three=1")) == "x"


async def test_a_clock_that_steps_back_is_survived() -> None:
    """Minutes back and forth, every request is answered and no limit is passed within a window."""
    service = built(RULES)
    for step_s in (0, -300, 600, -86_400, 86_100):
        service.clock.pass_s(step_s)
        assert "x" in await service.codes("d", one("five=1"), times=6)
        assert "x" in await service.codes("d", one("bucket=1"), times=4)
    assert service.clock() == T0_US
