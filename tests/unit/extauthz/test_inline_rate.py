"""A route that limits its rate in the same step that holds its credits."""

from billing.catalog import Route
from billing.plans import Limits
from envoyapi.auth_v3_pb2 import CheckResponse
from tests.unit.extauthz.front_door import FrontDoor, envoy_check, make_catalog, make_front_door

INLINE = Route("ping", "up", "llm", "flat", "ping", inline_ratelimit=True)
SERVICE = Route("other", "up", "llm", "flat", "ping")


def door(**limits: int) -> FrontDoor:
    catalog = make_catalog([INLINE, SERVICE], Limits(**limits))
    return make_front_door(catalog)


def told(response: CheckResponse) -> dict[str, str]:
    """The headers about the rate that the client of an allowed request gets."""
    options = response.ok_response.response_headers_to_add
    headers = {option.header.key: option.header.value for option in options}
    return {name: value for name, value in headers.items() if name.startswith("x-ratelimit-")}


async def test_each_request_is_told_what_is_left_of_the_rate() -> None:
    """In the headers and in the form of Envoy's own filter."""
    front = door(requests_per_second=2, burst=2)
    key = front.customer(plan="bounded")
    first, second = [await front.check(envoy_check("ping", key)) for _ in range(2)]
    assert told(first) == {
        "x-ratelimit-limit": "2, 2;w=1",
        "x-ratelimit-remaining": "1",
        "x-ratelimit-reset": "1",
    }
    assert told(second)["x-ratelimit-remaining"] == "0"


async def test_one_too_many_is_refused_until_its_turn() -> None:
    """429 with Retry-After; nothing is held for it; after the wait it passes."""
    front = door(requests_per_second=1, burst=1)
    key = front.customer(plan="bounded")
    await front.check(envoy_check("ping", key))
    answer = await front.refusal(envoy_check("ping", key))
    assert (answer.status, answer.error["code"]) == (429, "rate_limited")
    assert (answer.headers["retry-after"], answer.headers["x-ratelimit-remaining"]) == ("1", "0")
    assert (answer.error["limit_per_second"], answer.error["burst"]) == (1, 1)
    assert len(front.reserver.rows) == 1
    front.clock.forward(1)
    assert (await front.check(envoy_check("ping", key))).HasField("ok_response")


async def test_without_a_named_burst_a_second_may_come_at_once() -> None:
    """As the rate-limit service has it."""
    front = door(requests_per_second=3)
    key = front.customer(plan="bounded")
    answers = [await front.check(envoy_check("ping", key)) for _ in range(4)]
    assert [answer.HasField("ok_response") for answer in answers] == [True] * 3 + [False]


async def test_a_route_of_the_service_is_not_limited_here() -> None:
    """Its limit travels in the metadata, and nobody is refused by the front door."""
    front = door(requests_per_second=1, burst=1)
    key = front.customer(plan="bounded")
    answers = [await front.check(envoy_check("other", key)) for _ in range(3)]
    assert all(answer.HasField("ok_response") and not told(answer) for answer in answers)
    assert answers[0].dynamic_metadata.fields["burst"].string_value == "1"


async def test_a_plan_without_a_rate_is_not_limited() -> None:
    """Nor told of limits."""
    front = door()
    key = front.customer(plan="bounded")
    answers = [await front.check(envoy_check("ping", key)) for _ in range(5)]
    assert all(answer.HasField("ok_response") and not told(answer) for answer in answers)
