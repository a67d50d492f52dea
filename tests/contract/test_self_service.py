"""Self-service: what customers see of themselves, and that no request can name another account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from billing.accounts import Account, NewKey
from tests.contract.api_clients import (
    GATEWAY_SECRET,
    Api,
    check_refused,
    example_catalog,
    gives,
    open_api,
)
from tests.contract.desks import ANNA, START
from tests.contract.paid_work import PaidWork
from tollkeeper.admin import AdminDeps, create_app
from tollkeeper.operations.keys import create_key

PATHS = ("/account/validate", "/account/usage", "/account/keys")


@pytest.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """The API over the test's own database."""
    async with open_api(database) as opened:
        yield opened


@pytest.fixture
async def acme(api: Api) -> Account:
    """An account that was topped up."""
    return await api.office.account("acme", paid_nanos=1000)


@pytest.fixture
async def own(api: Api, acme: Account) -> AsyncIterator[httpx.AsyncClient]:
    """That account's customer, as the gateway hands them over."""
    async with api.through_gateway(acme.id) as client:
        yield client


async def test_customer_sees_balance_and_use(
    api: Api, acme: Account, own: httpx.AsyncClient
) -> None:
    """Balance, totals, totals by model, and the last requests, newest first."""
    work = PaidWork(api.office)
    await work.settle(work.request(acme, 10), work.request(acme, 30, model="claude"))
    usage = await gives(await own.get("/account/usage"))
    assert usage["balance"]["posted_nanos"] == 960
    assert (usage["requests"], usage["units"], usage["price_nanos"]) == (2, 6, 40)
    assert [(row["model"], row["price_nanos"]) for row in usage["by_model"]] == [
        ("claude", 30),
        ("gpt", 10),
    ]
    assert [row["price_nanos"] for row in usage["recent"]] == [30, 10]


async def test_customer_learns_what_a_request_cost(
    api: Api, acme: Account, own: httpx.AsyncClient
) -> None:
    """Price, units and formula, without what the provider takes."""
    work = PaidWork(api.office)
    request = work.request(acme, 40, formula="3 units = 40 nano-USD; provider's cost 20")
    await work.settle(request)
    found = await gives(await own.get(f"/account/requests/{request.reservation_id}"))
    assert (found["price_nanos"], found["units"]) == (40, 3)
    assert found["formula"] == "3 units = 40 nano-USD"
    assert [(entry["kind"], entry["amount_nanos"]) for entry in found["entries"]] == [
        ("charge", 40)
    ]
    assert "provider" not in str(found)


async def test_customer_rotates_their_key(api: Api, acme: Account, own: httpx.AsyncClient) -> None:
    """The only live key needs no name; both work during the overlap; the audit log says who."""
    async with api.office.desk.act(ANNA, "test") as act:
        old = await create_key(act, acme.id, NewKey("ci"))
    new = await gives(await own.post("/account/keys/rotate", json={}), 201)
    keys = (await gives(await own.get("/account/keys")))["rows"]
    log = await api.office.pool.fetch(
        "SELECT actor, via FROM audit_log WHERE action = 'key.rotate'"
    )
    assert new["record"]["replaces"] == old.id
    assert [key["status"] for key in keys] == ["active", "active"]
    assert new["old_key_ends_at"] == (START + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert [tuple(row) for row in log] == [(f"account {acme.id}", "self_service")]
    assert "key" in await gives(await own.post("/account/keys/rotate", json={"overlap_s": 60}), 201)


async def test_one_of_several_keys_is_named(
    api: Api, acme: Account, own: httpx.AsyncClient
) -> None:
    """With two live keys the one to rotate has to be named."""
    async with api.office.desk.act(ANNA, "test") as act:
        one = await create_key(act, acme.id, NewKey("one"))
        await create_key(act, acme.id, NewKey("two"))
    url = "/account/keys/rotate"
    assert "key_id" in await check_refused(await own.post(url, json={}), 409, "conflict")
    headers = {"idempotency-key": "k"}
    first = await gives(await own.post(url, json={"key_id": one.id}, headers=headers), 201)
    again = await gives(await own.post(url, json={"key_id": one.id}, headers=headers), 201)
    assert (again["id"], again["key"]) == (first["id"], None)


async def test_key_works_for_who_it_is(acme: Account, own: httpx.AsyncClient) -> None:
    """Validation says whose key it is."""
    assert await gives(await own.get("/account/validate")) == {
        "account_id": acme.id,
        "name": "acme",
        "status": "active",
        "tier": "standard",
    }


async def test_no_request_names_another_account(
    api: Api, acme: Account, own: httpx.AsyncClient
) -> None:
    """Query, body, path, further headers: whatever is tried, it stays one's own account."""
    other = await api.office.account("other", paid_nanos=5000)
    work = PaidWork(api.office)
    theirs = work.request(other, 40)
    await work.settle(theirs)
    async with api.office.desk.act(ANNA, "test") as act:
        their_key = await create_key(act, other.id, NewKey())
    params = {"account": other.id, "account_id": other.id, "x-tollkeeper-account": other.id}
    for path in PATHS:
        plain, named = await own.get(path), await own.get(path, params=params)
        assert plain.json() == named.json()
        assert other.id not in named.text
    await check_refused(
        await own.get(f"/account/requests/{theirs.reservation_id}"), 404, "not_found"
    )
    body = {"key_id": their_key.id}
    await check_refused(await own.post("/account/keys/rotate", json=body), 404, "not_found")
    body = {"key_id": their_key.id, "account": other.id}
    await check_refused(await own.post("/account/keys/rotate", json=body), 422, "invalid_request")
    for path in (f"/account/{other.id}/usage", f"/account/../v1/accounts/{other.id}"):
        assert (await own.get(path)).status_code in {401, 404}


@pytest.mark.parametrize("forged", ["", "guess", GATEWAY_SECRET + "x", GATEWAY_SECRET[:-1]])
async def test_nobody_comes_around_the_gateway(api: Api, acme: Account, forged: str) -> None:
    """Without the secret the header that names the account is not believed."""
    async with api.nobody() as client:
        headers = {"x-tollkeeper-account": acme.id, "x-tollkeeper-gateway": forged}
        for path in PATHS:
            await check_refused(await client.get(path, headers=headers), 403, "forbidden")
            bare = {"x-tollkeeper-account": acme.id}
            await check_refused(await client.get(path, headers=bare), 403, "forbidden")


async def test_header_sent_twice_is_believed_in_neither(api: Api, acme: Account) -> None:
    """A client that adds a second account, or no account at all, gets nothing."""
    other = await api.office.account("other")
    secret = ("x-tollkeeper-gateway", GATEWAY_SECRET)
    for named in (
        [("x-tollkeeper-account", acme.id), ("x-tollkeeper-account", other.id)],
        [("x-tollkeeper-account", f"{acme.id}, {other.id}")],
        [("x-tollkeeper-account", "acme")],
        [],
    ):
        async with api.nobody() as client:
            answer = await client.get("/account/usage", headers=[secret, *named])
        await check_refused(answer, 403, "forbidden")


async def test_operators_token_opens_no_account(api: Api, acme: Account) -> None:
    """Self-service is for customers: an operator's token is nothing here, a key nothing there."""
    async with await api.client("admin") as admin:
        await check_refused(await admin.get("/account/usage"), 403, "forbidden")
    async with api.office.desk.act(ANNA, "test") as act:
        key = await create_key(act, acme.id, NewKey())
    async with api.bearing(key.key) as customer:
        await check_refused(await customer.get("/v1/accounts"), 401, "unauthorized")


async def test_without_a_secret_there_is_no_self_service(api: Api, acme: Account) -> None:
    """An installation that shares no secret with its gateway lets nobody in."""
    app = create_app(AdminDeps(api.office.desk, example_catalog))
    transport = httpx.ASGITransport(app)
    headers = {"x-tollkeeper-account": acme.id, "x-tollkeeper-gateway": ""}
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        await check_refused(await client.get("/account/usage", headers=headers), 403, "forbidden")
