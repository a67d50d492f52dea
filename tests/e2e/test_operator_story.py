"""An operator sells over HTTP, a client pays through Envoy, a customer looks after their own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.e2e.ledger_reading import Books, Paid
from tests.e2e.operators import Seller, bearing, open_seller
from tests.e2e.program import program_beside
from tests.e2e.stage import CREDIT, Stage
from tests.e2e.test_changes_within_a_second import Watch
from tollkeeper.stack.customers import Customer

PING = "/flat/ping"
PINGED = Paid("ping", CREDIT, 1)
WITHIN_S = 1.0
FIVE_CREDITS = "0.005"


@pytest_asyncio.fixture
async def seller(stage: Stage) -> AsyncIterator[Seller]:
    """An operator who may do everything."""
    async with open_seller(stage, "admin") as found:
        yield found


async def pings(stage: Stage, customer: Customer, times: int) -> list[str]:
    """Pay for so many requests; their ids."""
    async with stage.client(customer) as client:
        answers = [await client.get(PING) for _ in range(times)]
    assert [answer.status_code for answer in answers] == [200] * times
    return [answer.headers["x-request-id"] for answer in answers]


async def own(stage: Stage, customer: Customer, path: str, **params: str) -> Any:
    """What a customer is told of themselves through the gateway."""
    async with stage.client(customer) as client:
        answer = await client.get(f"/account/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def rotate(stage: Stage, customer: Customer, **body: object) -> Customer:
    """The same customer with a new key, made by themselves with the old one."""
    async with stage.client(customer) as client:
        answer = await client.post("/account/keys/rotate", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    stage.keys.append(made["key"])
    return Customer(customer.name, customer.account_id, made["id"], made["key"])


async def test_what_is_sold_over_http_is_paid_through_envoy(
    stage: Stage, books: Books, seller: Seller
) -> None:
    """Account, subscription, payment and key by HTTP; the customer reads to the last nano-USD what
    two requests cost them and why; and the audit log says who did all that."""
    customer = await seller.opens(FIVE_CREDITS)
    first, second = await pings(stage, customer, 2)
    await books.expect(customer, 5 * CREDIT, PINGED, PINGED)
    usage = await own(stage, customer, "usage")
    assert usage["balance"] == {
        "account_id": customer.account_id,
        "posted_nanos": 3 * CREDIT,
        "overdraft_nanos": 0,
        "held_nanos": 0,
        "available_nanos": 3 * CREDIT,
    }
    assert (usage["requests"], usage["units"], usage["price_nanos"]) == (2, 2, 2 * CREDIT)
    assert [event["id"] for event in usage["recent"]] == [second, first]
    explained = await own(stage, customer, f"requests/{first}")
    assert (explained["state"], explained["price_nanos"]) == ("settled", CREDIT)
    assert explained["formula"] == "1 request x 1000000 = 1000000 nano-USD"
    assert [(e["kind"], e["amount_nanos"]) for e in explained["entries"]] == [("charge", CREDIT)]
    assert await seller.audit(customer.account_id) == [
        (seller.name, "api", "account.create"),
        (seller.name, "api", "subscription.set"),
        (seller.name, "api", "money.topup"),
        (seller.name, "api", "key.create"),
    ]


async def test_a_customer_rotates_and_the_operator_ends_the_old_key(
    stage: Stage, books: Books, seller: Seller
) -> None:
    """Both keys work at both workers; what the operator revokes ends there within a second, and the
    new key goes on."""
    customer = await seller.opens(FIVE_CREDITS)
    fresh = await rotate(stage, customer, overlap_s=3_600)
    old, new = Watch(stage, customer, "/self"), Watch(stage, fresh, "/self")
    await old.settle_on("allowed")
    await new.settle_on("allowed")
    listed = (await own(stage, fresh, "keys"))["rows"]
    assert [(key["display"], key["status"]) for key in listed] == [
        (customer.key[-4:], "active"),
        (fresh.key[-4:], "active"),
    ]
    path = f"/v1/accounts/{customer.account_id}/keys/{customer.key_id}/revoke"
    assert (await seller.http.post(path)).json()["status"] == "revoked"
    assert await old.last_other_s("revoked_key", time.monotonic()) < WITHIN_S
    await new.settle_on("allowed")
    assert (await seller.audit(customer.account_id))[-2:] == [
        (f"account {customer.account_id}", "self_service", "key.rotate"),
        (seller.name, "api", "key.revoke"),
    ]
    await books.expect(customer, 5 * CREDIT)


async def test_a_rotation_without_overlap_ends_the_old_key(stage: Stage, seller: Seller) -> None:
    """The key that asked for it is over at both workers within a second; the new one works."""
    customer = await seller.opens(FIVE_CREDITS)
    old = Watch(stage, customer, "/self")
    await old.settle_on("allowed")
    fresh = await rotate(stage, customer, overlap_s=0)
    assert await old.last_other_s("expired_key", time.monotonic()) < WITHIN_S
    await Watch(stage, fresh, "/self").settle_on("allowed")


async def test_a_payment_unblocks_within_a_second(
    stage: Stage, books: Books, seller: Seller
) -> None:
    """Both workers answer 402 until the operator books a payment, and pay within a second of it."""
    customer = await seller.opens()
    watch = Watch(stage, customer)
    await watch.settle_on("insufficient_credits")
    posted = await seller.tops_up(customer.account_id, "1.00", "invoice 1")
    assert await watch.last_other_s("allowed", time.monotonic()) < WITHIN_S
    assert posted["posted_nanos"] == 1_000 * CREDIT
    await books.expect(customer, 1_000 * CREDIT, *[PINGED] * watch.answered)


async def test_an_idempotency_key_acts_once(stage: Stage, books: Books, seller: Seller) -> None:
    """Repeated it is answered as before; with another body, or at another place, it is a 409; and
    the books show one payment."""
    customer = await seller.opens()
    path = f"/v1/accounts/{customer.account_id}/topups"
    once = {"idempotency-key": f"payment of {customer.account_id}"}
    body = {"amount_usd": FIVE_CREDITS, "reference": "invoice 1"}
    first = await seller.http.post(path, json=body, headers=once)
    again = await seller.http.post(path, json=body, headers=once)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    changed = {**body, "amount_usd": "0.006"}
    keys = f"/v1/accounts/{customer.account_id}/keys"
    for where, other in ((path, changed), (path, {**body, "reference": "invoice 2"}), (keys, {})):
        refused = await seller.http.post(where, json=other, headers=once)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
    unkeyed = await seller.http.post(path, json=changed)
    assert unkeyed.status_code == 409, "a reference means one amount"
    await books.expect(customer, 5 * CREDIT)


async def test_a_customers_idempotency_key_is_their_own(stage: Stage, seller: Seller) -> None:
    """Through the gateway a repetition makes no second key and shows the first one no more; another
    customer's same word means their own request."""
    mine, theirs = await seller.opens(), await seller.opens()
    once = {"idempotency-key": "my first rotation"}
    made = []
    for customer in (mine, mine, theirs):
        async with stage.client(customer) as client:
            answer = await client.post("/account/keys/rotate", json={"overlap_s": 60}, headers=once)
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
    stage.keys += [made[0]["key"], made[2]["key"]]
    assert (made[1]["id"], made[1]["key"]) == (made[0]["id"], None)
    assert made[2]["record"]["account_id"] == theirs.account_id
    assert len((await own(stage, mine, "keys"))["rows"]) == 2


async def test_no_request_can_name_another_account(stage: Stage, seller: Seller) -> None:
    """Headers, query, body and path: whatever a customer sends, it is their own account."""
    mine, theirs = await seller.opens(FIVE_CREDITS), await seller.opens(FIVE_CREDITS)
    (request_id,) = await pings(stage, theirs, 1)
    async with stage.client(mine) as client:
        plain = {path: (await client.get(path)).json() for path in OWN_PATHS}
        for headers, params in _impostures(theirs):
            for path in OWN_PATHS:
                answer = await client.get(path, headers=headers, params=params)
                assert answer.json() == plain[path], (headers, params)
        for path in _foreign_paths(theirs, request_id):
            assert await _status(client, path) in {400, 401, 403, 404}, path
        assert await _status(client, "/account/validate") == 200, "paths are sent as they stand"
        for body, status in (
            ({"key_id": theirs.key_id}, 404),
            ({"account": theirs.account_id}, 422),
            ({"account_id": theirs.account_id, "key_id": theirs.key_id}, 422),
        ):
            answer = await client.post("/account/keys/rotate", json=body)
            assert answer.status_code == status, answer.text
    assert {row["id"] for row in (await own(stage, theirs, "keys"))["rows"]} == {theirs.key_id}
    assert len(await seller.audit(theirs.account_id)) == 4


OWN_PATHS = ("/account/validate", "/account/keys", "/account/usage")


def _impostures(theirs: Customer) -> list[tuple[list[tuple[str, str]], dict[str, str]]]:
    """Further headers and a query that name another account."""
    account = ("x-tollkeeper-account", theirs.account_id)
    gateway = ("x-tollkeeper-gateway", "a guess")
    names = ("account", "account_id", "x-tollkeeper-account")
    return [
        ([account], {}),
        ([account, account], {}),
        ([("X-Tollkeeper-Account", theirs.account_id), gateway], {}),
        ([gateway, gateway], {}),
        ([("x-account-id", theirs.account_id), ("x-forwarded-user", theirs.account_id)], {}),
        ([("x-envoy-original-path", f"/v1/accounts/{theirs.account_id}")], {}),
        ([], dict.fromkeys(names, theirs.account_id)),
    ]


def _foreign_paths(theirs: Customer, request_id: str) -> list[str]:
    """Paths that would lead out of one's own account, were they believed."""
    target = f"v1/accounts/{theirs.account_id}"
    return [
        f"/account/requests/{request_id}",
        f"/account/{theirs.account_id}/usage",
        f"/account/usage/{theirs.account_id}",
        f"/{target}/balance",
        f"/account/../{target}",
        f"/account/%2e%2e/{target}",
        f"/account/..%2f{target}",
        f"/account//../{target}",
        f"/account/\\..\\{target}",
    ]


async def _status(client: httpx.AsyncClient, path: str) -> int:
    """The status of a path that is sent as it stands: a client would tidy it up."""
    return (await client.get("/", extensions={"target": path.encode()})).status_code


async def test_nobody_gets_in_around_the_gateway(stage: Stage, seller: Seller) -> None:
    """At the API's own port a customer's key and an invented header open nothing."""
    customer = await seller.opens(FIVE_CREDITS)
    async with bearing(stage, customer.key) as client:
        assert (await client.get("/v1/accounts")).status_code == 401
        for gateway in ({}, {"x-tollkeeper-gateway": "a guess"}, {"x-tollkeeper-gateway": ""}):
            named = {"x-tollkeeper-account": customer.account_id, **gateway}
            assert (await client.get("/account/usage", headers=named)).status_code == 403
    named = {"x-tollkeeper-account": customer.account_id}
    assert (await seller.http.get("/account/usage", headers=named)).status_code == 403


async def test_roles_bound_operators(stage: Stage, books: Books, seller: Seller) -> None:
    """Who reads changes nothing, who bills moves money and terms, and what was refused left no
    trace in account or audit log."""
    customer = await seller.opens()
    path = f"/v1/accounts/{customer.account_id}"
    topup = {"amount_usd": FIVE_CREDITS, "reference": "invoice 1"}
    async with open_seller(stage, "read") as reader, open_seller(stage, "billing") as biller:
        for who, statuses in ((reader, (200, 403, 403, 403)), (biller, (200, 201, 403, 403))):
            answers = (
                await who.http.get(f"{path}/balance"),
                await who.http.post(f"{path}/topups", json=topup),
                await who.http.post(f"{path}/keys", json={}),
                await who.http.post("/v1/operators", json={"name": "eve", "role": "admin"}),
            )
            assert tuple(answer.status_code for answer in answers) == statuses
        assert (await seller.audit(customer.account_id))[-1] == (biller.name, "api", "money.topup")
        assert len(await seller.audit(customer.account_id)) == 4
    await books.expect(customer, 5 * CREDIT)


@pytest.mark.parametrize("way", ["http", "command line"])
async def test_a_revoked_token_is_refused(stage: Stage, seller: Seller, way: str) -> None:
    """The next request of an operator who was sent away is a 401, whichever way they were."""
    async with open_seller(stage, "read") as leaving:
        assert (await leaving.http.get("/v1/accounts")).status_code == 200
        if way == "http":
            ended = await seller.http.post(f"/v1/operators/{leaving.name}/revoke")
            assert ended.status_code == 200, ended.text
        else:
            await program_beside(stage).tells("operator", "revoke", leaving.name)
        refused = await leaving.http.get("/v1/accounts")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
