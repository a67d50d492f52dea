"""The story: every way through the front door, from the bytes of a check to those of its answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from billing.errors import StoreUnavailable
from billing.keys import hash_key
from billing.meters.compute_units import ComputeUnitTariff
from billing.plans import Limits
from billing.reservations import Admission, Hold, JournalRow, parse_record
from extauthz.limits import CheckLimits
from tests.unit.extauthz.front_door import (
    CREDIT,
    DAY_S,
    NOW_S,
    ROUTES,
    Unleased,
    envoy_check,
    make_catalog,
    make_front_door,
    make_key,
    make_principal,
)

ASKED = {"model": "small", "max_tokens": 100}


async def test_malformed_keys_cost_no_query() -> None:
    """A key in a wrong form is refused without asking the store."""
    door = make_front_door()
    for key in ("tk_", "x" * 41, "tk_" + "0" * 38, "\u00e4" * 41):
        answer = await door.refusal(envoy_check("ping", key))
        assert answer.error["code"] == "malformed_key"
    assert door.store.queries == 0


async def test_an_unknown_key_is_asked_for_once() -> None:
    """The second check of a key that does not exist is answered from memory."""
    door = make_front_door()
    for _ in range(3):
        answer = await door.refusal(envoy_check("ping", make_key(404)))
        assert answer.error["code"] == "unknown_key"
    assert door.store.queries == 1


async def test_an_allowed_check_holds_exactly_its_quote() -> None:
    """Ticket, journal row and hold agree, and the balance is less by the hold."""
    door = make_front_door()
    key = door.customer(balance_nanos=10 * CREDIT)
    response = await door.check(envoy_check("ping", key))
    ticket, (row,) = door.ticket(response), door.reserver.rows
    assert ticket.held_nanos == ticket.quoted_nanos == row.held_nanos == CREDIT
    assert (ticket.reservation_id, ticket.account_id, ticket.key_id) == row[:3]
    assert (row.route, row.profile, row.price_version) == ("ping", "llm", "2027-01")
    assert ticket.record() == row.record
    assert parse_record(ticket.record()).amount_nanos == CREDIT
    assert ticket.admitted_us == NOW_S * 1_000_000 == row.admitted_us
    assert row.expires_s == NOW_S + 600
    headers = {o.header.key: o.header.value for o in response.ok_response.response_headers_to_add}
    assert headers == {
        "x-request-id": ticket.reservation_id,
        "x-credits-reserved": "1.000000",
        "x-credits-remaining": "9.000000",
    }
    held = (await door.reserver.hot.read([ticket.account_id]))[ticket.account_id]
    assert [record for _, record in held.pending] == [ticket.record()]


async def test_no_more_is_admitted_than_the_balance_covers() -> None:
    """Of 20 checks at once against a balance for 7, exactly 7 pass."""
    door = make_front_door()
    key = door.customer(balance_nanos=7 * CREDIT)
    wire = envoy_check("ping", key)
    responses = await asyncio.gather(*(door.check(wire) for _ in range(20)))
    assert sum(response.HasField("ok_response") for response in responses) == 7


@pytest.mark.parametrize(
    ("policy", "held_nanos"), [("min", 1000), ("typical", 110_000), ("max", 140_000)]
)
async def test_the_hold_goes_by_the_routes_policy(policy: Any, held_nanos: int) -> None:
    """Least, typical or most: what is held is a setting of the route, the quote stays the most."""
    route = replace(ROUTES[0], hold=policy)
    door = make_front_door(make_catalog([route]))
    wire = envoy_check("chat", door.customer(), lifted=ASKED, size_bytes=40)
    ticket = door.ticket(await door.check(wire))
    assert ticket.quoted_nanos == 140_000
    assert ticket.held_nanos == held_nanos
    (row,) = door.reserver.rows
    assert (row.quoted_nanos, row.held_nanos) == (140_000, held_nanos)


async def test_a_refusal_for_credits_names_the_numbers() -> None:
    """What is available and what is needed stand in the answer, and it has no Retry-After."""
    door = make_front_door()
    answer = await door.refusal(envoy_check("ping", door.customer(balance_nanos=400_000)))
    assert answer.error["available_nanos"] == 400_000
    assert answer.error["needed_nanos"] == CREDIT
    assert "0.400000 are available" in answer.error["reason"]
    assert "retry-after" not in answer.headers


async def test_a_quota_starts_anew_with_the_period() -> None:
    """What is used up in one period is whole in the next, also before the subscription rolled."""
    door = make_front_door(make_catalog(limits=Limits(units_per_period=1)))
    wire = envoy_check("ping", door.customer(plan="bounded"))
    assert (await door.check(wire)).HasField("ok_response")
    answer = await door.refusal(wire)
    assert answer.error["resets_at_s"] == NOW_S + 29 * DAY_S
    assert answer.headers["retry-after"] == str(29 * DAY_S)
    door.clock.forward(29 * DAY_S)
    assert (await door.check(wire)).HasField("ok_response")


async def test_a_self_service_route_holds_nothing_and_needs_no_subscription() -> None:
    """A customer without subscription or credits reaches their own account, with no ticket."""
    door = make_front_door()
    key = door.customer(balance_nanos=0, subscriptions={})
    response = await door.check(envoy_check("account", key))
    assert response.HasField("ok_response")
    assert set(response.dynamic_metadata.fields) == {"account", "key", "profile", "shape"}
    assert door.reserver.rows == []


async def test_a_self_service_route_minds_scopes_and_suspensions() -> None:
    """A key for something else, and a suspended account, stay outside."""
    door = make_front_door()
    narrow = door.customer(scopes=frozenset({"chat"}))
    answer = await door.refusal(envoy_check("account", narrow))
    assert answer.error["code"] == "key_not_allowed"
    banned = door.customer(account_status="suspended")
    answer = await door.refusal(envoy_check("account", banned))
    assert answer.error["code"] == "account_suspended"


async def test_a_route_without_a_tariff_in_force_is_unavailable() -> None:
    """A price that the operator has not set is no fault of the client's body."""
    door = make_front_door()
    answer = await door.refusal(envoy_check("unpriced", door.customer()))
    assert (answer.status, answer.error["code"]) == (503, "authorization_unavailable")


async def test_a_ticket_that_nobody_could_open_is_not_issued() -> None:
    """A request that names more than a ticket holds is refused before anything is held."""
    door = make_front_door()
    many = {f"method_{number:0100}": 1000 for number in range(200)}
    tariff = ComputeUnitTariff(methods=many, nanos_per_cu=1)
    door.door.offer(make_catalog(tariffs={"ethereum": tariff}))
    body = "[" + ",".join(f'{{"method":"{name}"}}' for name in many) + "]"
    answer = await door.refusal(envoy_check("ethereum", door.customer(), body=body))
    assert answer.error["code"] == "body_too_large"
    assert door.reserver.rows == []


async def test_a_new_catalog_counts_from_the_next_check() -> None:
    """Limits that were worked out under the old catalog are not used any more."""
    door = make_front_door(make_catalog(limits=Limits(units_per_period=0)))
    wire = envoy_check("ping", door.customer(plan="bounded"))
    assert (await door.refusal(wire)).error["code"] == "quota_exceeded"
    door.door.offer(make_catalog(limits=Limits(units_per_period=10)))
    assert (await door.check(wire)).HasField("ok_response")


async def test_a_closed_route_does_not_trust_what_is_remembered() -> None:
    """While Postgres is away, a route that is closed then refuses a key that others still serve."""
    door = make_front_door()
    key = door.customer()
    await door.check(envoy_check("ping", key))
    door.store.away = True
    door.clock.forward(1000)
    assert (await door.check(envoy_check("ping", key))).HasField("ok_response")
    answer = await door.refusal(envoy_check("closed", key))
    assert answer.error["code"] == "authorization_unavailable"


async def test_a_key_that_nobody_can_look_up_is_unavailable() -> None:
    """Postgres away and the key not in memory: 503 with Retry-After, not 401."""
    door = make_front_door()
    key = door.customer()
    door.store.away = True
    answer = await door.refusal(envoy_check("ping", key))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


class Sleeper(Unleased):
    """A reserver that never answers, and remembers that it was told to stop."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def reserve(self, hold: Hold, row: JournalRow, posture: str) -> Admission:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise StoreUnavailable(f"{hold.account_id} {row.route} {posture} never get here")


async def test_a_reservation_that_takes_too_long_is_given_up() -> None:
    """The client hears 503 at the deadline, and the reserver that nobody waits any more."""
    door = make_front_door(check_limits=CheckLimits(reserve_deadline_s=0.01))
    door.door.reserver = sleeper = Sleeper()
    answer = await door.refusal(envoy_check("ping", door.customer()))
    assert (answer.status, answer.error["code"]) == (503, "authorization_unavailable")
    assert sleeper.cancelled == 1


async def test_headers_of_ours_from_the_client_are_taken_away() -> None:
    """What a client sends under our names never reaches the upstream, and changes no money."""
    door = make_front_door()
    forged = {"x-tollkeeper-account": "another", "x-tollkeeper-x": "1", "x-credits-reserved": "0"}
    response = await door.check(envoy_check("ping", door.customer(), headers=forged))
    removed = set(response.ok_response.headers_to_remove)
    assert {"x-tollkeeper-x", "x-credits-reserved"} <= removed
    assert "x-tollkeeper-account" not in removed, "it is overwritten, and removal comes last"
    sent = {o.header.key: o.header.value for o in response.ok_response.headers}
    assert sent["x-tollkeeper-account"] == make_principal(1).account_id


async def test_the_clients_own_request_id_is_never_the_reservations() -> None:
    """An x-request-id that the client chose is told to nobody as ours."""
    door = make_front_door()
    wire = envoy_check("ping", door.customer(), headers={"x-request-id": "mine"})
    assert door.ticket(await door.check(wire)).reservation_id != "mine"


async def test_a_revocation_is_heard_at_once() -> None:
    """The check after the change is refused, although the key was remembered."""
    door = make_front_door()
    key = door.customer()
    wire = envoy_check("ping", key)
    assert (await door.check(wire)).HasField("ok_response")
    listening = door.store.changes()
    principal = replace(make_principal(1), key_status="revoked")
    door.store.put(hash_key(key), principal)
    await anext(listening)
    door.door.directory.tell(await anext(listening))
    assert (await door.refusal(wire)).error["code"] == "revoked_key"


async def test_a_full_spool_closes_the_routes_that_say_so() -> None:
    """Nothing is held on a closed route; an open one goes on, and one that charges nothing too."""
    door = make_front_door()
    key = door.customer()
    assert door.door.fullness is not None
    await door.fill.say_full(5.0)
    await door.door.fullness.look()
    answer = await door.refusal(envoy_check("recorded", key))
    assert (answer.status, answer.error["code"]) == (503, "authorization_unavailable")
    assert answer.error["reason"] == "what requests cost cannot be recorded right now"
    assert answer.headers["retry-after"] == "5"
    assert not door.reserver.rows
    for route in ("ping", "account"):
        assert (await door.check(envoy_check(route, key))).HasField("ok_response")
    await door.fill.say_full(0)
    await door.door.fullness.look()
    assert (await door.check(envoy_check("recorded", key))).HasField("ok_response")
