"""The examples of envoyproxy/ratelimit's documentation: configurations of our own that say the
same, with the answers that its documentation states.
"""

from __future__ import annotations

import pytest

from ratelimit.decision import UNLIMITED_REMAINING
from ratelimit.metrics import Metrics
from ratelimit.units import Unit
from tests.unit.ratelimit.building import built, one


def labels(metrics: Metrics) -> set[str]:
    """The rules that counted anything, by their full names."""
    return {
        f"{domain}.{label}" for (domain, label), counts in metrics.per_rule() if counts.total > 0
    }


EXAMPLE_1 = """
domain: databases
descriptors:
  - {key: database, value: people, rate_limit: {unit: second, requests_per_unit: 500}}
  - {key: database, value: usual, rate_limit: {unit: second, requests_per_unit: 500}}
"""


@pytest.mark.parametrize("value", ["people", "usual"])
async def test_example_1_values_of_one_key_have_their_own_limits(value: str) -> None:
    """Each of the two values gets 500 per second, and a value that is not listed no limit."""
    service = built(EXAMPLE_1)
    assert await service.codes("databases", one(f"database={value}"), times=501) == "." * 500 + "x"
    (other,) = (await service.ask("databases", one("database=elsewhere"))).statuses
    assert other.limit is None
    assert not other.over


EXAMPLE_2 = """
domain: post
descriptors:
  - key: kind
    value: advertisement
    descriptors:
      - key: number
        rate_limit: {unit: day, requests_per_unit: 5}
  - key: number
    rate_limit: {unit: day, requests_per_unit: 100}
"""


async def test_example_2_each_number_has_its_own_count() -> None:
    """Five advertisements a day to each number; a hundred messages of any kind to each number."""
    service = built(EXAMPLE_2)
    for number in ("number=1", "number=2"):
        advertisement = one("kind=advertisement", number)
        assert await service.codes("post", advertisement, times=6) == ".....x"
        assert await service.codes("post", one(number), times=101) == "." * 100 + "x"


async def test_example_2_one_request_is_held_against_all_rules() -> None:
    """Two descriptors in one request are counted both; the answer is the OR of the two."""
    service = built(EXAMPLE_2)
    both = one("kind=advertisement", "number=1"), one("number=1")
    assert await service.codes("post", *both, times=6) == ".....x"
    answer = await service.ask("post", *both)
    assert [status.over for status in answer.statuses] == [True, False]
    assert answer.statuses[1].remaining == 100 - 7


EXAMPLE_3 = """
domain: edge
descriptors:
  - {key: address, rate_limit: {unit: second, requests_per_unit: 10}}
  - {key: address, value: 50.0.0.5, rate_limit: {unit: second, requests_per_unit: 0}}
"""


async def test_example_3_the_most_specific_rule_wins() -> None:
    """Any address gets ten per second; the one that is listed with 0 gets nothing."""
    service = built(EXAMPLE_3)
    assert await service.codes("edge", one("address=50.0.0.1"), times=11) == "." * 10 + "x"
    assert await service.codes("edge", one("address=50.0.0.5"), times=2) == "xx"


async def test_example_4_depth_must_agree() -> None:
    """Two entries do not match a rule of one level; they do match a rule of two."""
    flat = """
domain: depth
descriptors:
  - {key: outer, value: here, rate_limit: {requests_per_unit: 300, unit: second}}
"""
    nested = """
domain: depth
descriptors:
  - key: outer
    value: here
    descriptors:
      - {key: inner, rate_limit: {requests_per_unit: 300, unit: second}}
"""
    asked = one("outer=here", "inner=any")
    (status,) = (await built(flat).ask("depth", asked)).statuses
    assert status.limit is None
    (status,) = (await built(nested).ask("depth", asked)).statuses
    assert status.limit is not None
    assert status.limit.requests_per_unit == 300


EXAMPLE_5 = """
domain: inside
descriptors:
  - {key: directory, rate_limit: {unlimited: true}}
  - {key: cloud, rate_limit: {unit: minute, requests_per_unit: 100}}
"""


async def test_example_5_unlimited() -> None:
    """An unlimited descriptor is OK with the largest number remaining, and never asks the store."""
    service = built(EXAMPLE_5)
    for _ in range(200):
        answer = await service.ask("inside", one("directory=x"))
        assert not answer.over
        assert answer.statuses[0].remaining == UNLIMITED_REMAINING == 2**32 - 1
    assert await service.codes("inside", one("cloud=x"), times=101) == "." * 100 + "x"


EXAMPLE_6 = """
domain: shade
descriptors:
  - key: service
    descriptors:
      - key: user
        value: first
        rate_limit: {requests_per_unit: 10, unit: second}
        shadow_mode: true
      - key: user
        value: second
        rate_limit: {requests_per_unit: 20, unit: second}
"""


async def test_example_6_shadow_mode_never_refuses_but_counts() -> None:
    """The first user passes at any rate, with statistics of the breach; the second gets 20."""
    service = built(EXAMPLE_6)
    first, second = one("service=a", "user=first"), one("service=a", "user=second")
    assert await service.codes("shade", first, times=30) == "." * 30
    counts = service.metrics.rule("shade", "service.user_first")
    assert (counts.total, counts.over_limit, counts.shadow_mode) == (30, 20, 20)
    assert await service.codes("shade", second, times=21) == "." * 20 + "x"


EXAMPLE_7 = """
domain: swap
descriptors:
  - key: key_1
    value: value_1
    descriptors:
      - key: user
        value: me
        rate_limit: {name: strict, requests_per_unit: 5, unit: second}
  - key: key_2
    value: value_2
    descriptors:
      - key: user
        value: me
        rate_limit: {replaces: [{name: strict}], requests_per_unit: 10, unit: second}
"""


async def test_example_7_a_limit_replaces_another() -> None:
    """Alone each limit holds; together only the one that replaces, and the other is not counted."""
    service = built(EXAMPLE_7)
    strict, loose = one("key_1=value_1", "user=me"), one("key_2=value_2", "user=me")
    assert await service.codes("swap", strict, loose, times=11) == "." * 10 + "x"
    assert await service.codes("swap", strict, times=6) == ".....x"
    service.clock.pass_s(1)
    assert await service.codes("swap", loose, times=11) == "." * 10 + "x"
    answer = await service.ask("swap", strict, loose)
    assert answer.statuses[0].limit is None


EXAMPLE_8 = """
domain: detail
descriptors:
  - {key: key1, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 10}}
  - {key: key1, value: value1, rate_limit: {unit: minute, requests_per_unit: 20}}
"""


async def test_example_8_detailed_metrics_name_the_value() -> None:
    """Metrics are kept for each value that came, not for the key alone."""
    service = built(EXAMPLE_8)
    for value in ("some", "other", "value1"):
        times = 20 if value == "value1" else 10
        asked = one(f"key1={value}")
        assert await service.codes("detail", asked, times=times + 1) == "." * times + "x"
    assert labels(service.metrics) == {
        "detail.key1_some",
        "detail.key1_other",
        "detail.key1_value1",
    }


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("value*", ["value1", "value2", "valueXYZ", "value"], ["valu", "avalue"]),
        (
            "/api/*/action",
            ["/api/123/action", "/api/user-id/action"],
            ["/api/123/other", "/api/action"],
        ),
        (
            "/api/*/resource/*/action",
            ["/api/v1/resource/123/action", "/api/v2/resource/456/action"],
            ["/api/v1/action", "/api/v1/resource/action"],
        ),
    ],
)
async def test_example_9_wildcards(pattern: str, matching: list[str], others: list[str]) -> None:
    """A star at the end, in the middle or several times stands for anything or nothing."""
    service = built(f"""
domain: wild
descriptors:
  - {{key: key1, value: "{pattern}", rate_limit: {{unit: minute, requests_per_unit: 20}}}}
""")
    for value in matching:
        assert await service.codes("wild", one(f"key1={value}"), times=21) == "." * 20 + "x"
    for value in others:
        (status,) = (await service.ask("wild", one(f"key1={value}"))).statuses
        assert status.limit is None


EXAMPLE_10 = """
domain: values
descriptors:
  - key: route
    value_to_metric: true
    descriptors:
      - key: method
        value_to_metric: true
        descriptors:
          - {key: subject, rate_limit: {unit: minute, requests_per_unit: 60}}
  - key: user
    value_to_metric: true
    descriptors:
      - key: action
        value: read*
        value_to_metric: true
        descriptors:
          - {key: resource, rate_limit: {unit: minute, requests_per_unit: 100}}
"""


async def test_example_10_values_in_metrics() -> None:
    """The runtime values of the levels that ask for it stand in the metric, no others."""
    service = built(EXAMPLE_10)
    await service.ask("values", one("route=api", "method=GET", "subject=123"))
    await service.ask("values", one("route=web", "method=POST", "subject=456"))
    await service.ask("values", one("user=alice", "action=readfile", "resource=documents"))
    assert labels(service.metrics) == {
        "values.route_api.method_GET.subject",
        "values.route_web.method_POST.subject",
        "values.user_alice.action_readfile.resource",
    }


EXAMPLE_11 = """
domain: share
descriptors:
  - key: files
    value: files/*
    share_threshold: true
    rate_limit: {unit: hour, requests_per_unit: 10}
  - key: apart
    value: apart/*
    share_threshold: false
    rate_limit: {unit: hour, requests_per_unit: 10}
  - key: route
    value: api/*
    share_threshold: true
    value_to_metric: true
    descriptors:
      - {key: method, rate_limit: {unit: minute, requests_per_unit: 60}}
"""


async def test_example_11_a_shared_threshold() -> None:
    """Five and five of two files leave nothing for a third, where the pattern is shared."""
    service = built(EXAMPLE_11)
    assert await service.codes("share", one("files=files/a.pdf"), times=5) == "....."
    assert await service.codes("share", one("files=files/b.csv"), times=5) == "....."
    assert await service.codes("share", one("files=files/c.txt")) == "x"


async def test_example_11_thresholds_apart() -> None:
    """Otherwise one value's use leaves another's alone."""
    service = built(EXAMPLE_11)
    assert await service.codes("share", one("apart=apart/a.pdf"), times=11) == "." * 10 + "x"
    assert await service.codes("share", one("apart=apart/b.csv"), times=10) == "." * 10


async def test_example_11_the_metric_names_the_pattern() -> None:
    """Values that share a threshold show as their pattern. (Its documentation leaves the star out
    here; its code keeps it, and so do we.)"""
    service = built(EXAMPLE_11)
    await service.ask("share", one("route=api/v1", "method=GET"))
    assert labels(service.metrics) == {"share.route_api/*.method"}


async def test_the_json_example_of_two_descriptors() -> None:
    """One used up per minute and two per minute: OVER_LIMIT with one left of the second."""
    service = built("""
domain: dummy
descriptors:
  - {key: once, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: twice, rate_limit: {unit: minute, requests_per_unit: 2}}
""")
    await service.ask("dummy", one("once=a"))
    answer = await service.ask("dummy", one("once=a"), one("twice=a"))
    assert answer.over
    shown = [
        (status.over, status.limit and status.limit.unit, status.remaining)
        for status in answer.statuses
    ]
    assert shown == [(True, Unit.MINUTE, 0), (False, Unit.MINUTE, 1)]
