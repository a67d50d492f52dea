"""The management API over a real Postgres: what operators do, what they may not, and bad input."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from billing.keys import is_well_formed
from tests.contract.api_clients import Api, check_refused, gives, open_api
from tollkeeper.admin.guard import MAX_BODY_BYTES

NOBODY = "0198c0de-0000-7000-8000-00000000dead"


@pytest.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """The API over the test's own database."""
    async with open_api(database) as opened:
        yield opened


@pytest.fixture
async def admin(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """An operator who may do everything."""
    async with await api.client("admin") as client:
        yield client


@pytest.fixture
async def acme(admin: httpx.AsyncClient) -> str:
    """The id of an account named acme."""
    created = await gives(await admin.post("/v1/accounts", json={"name": "acme"}), 201)
    return str(created["id"])


async def test_account_is_created_shown_and_listed(admin: httpx.AsyncClient) -> None:
    """By id and by name it is the same account."""
    body = {"name": "acme", "type": "org", "tier": "gold", "overdraft_usd": "1.5"}
    created = await gives(await admin.post("/v1/accounts", json=body), 201)
    assert created["overdraft_nanos"] == 1_500_000_000
    assert await gives(await admin.get(f"/v1/accounts/{created['id']}")) == created
    assert await gives(await admin.get("/v1/accounts/acme")) == created
    assert (await gives(await admin.get("/v1/accounts")))["rows"] == [created]


async def test_topup_moves_money_once_per_reference(admin: httpx.AsyncClient, acme: str) -> None:
    """A repeated reference says so; another amount under it is a conflict."""
    url, body = f"/v1/accounts/{acme}/topups", {"amount_usd": "25.00", "reference": "r"}
    first = await gives(await admin.post(url, json=body), 201)
    again = await gives(await admin.post(url, json=body), 201)
    await check_refused(await admin.post(url, json={**body, "amount_usd": "26"}), 409, "conflict")
    balance = await gives(await admin.get("/v1/accounts/acme/balance"))
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert balance == {
        "account_id": acme,
        "posted_nanos": 25_000_000_000,
        "overdraft_nanos": 0,
        "held_nanos": 0,
        "available_nanos": 25_000_000_000,
    }


async def test_idempotency_key_repeats_the_first_answer(admin: httpx.AsyncClient, api: Api) -> None:
    """The same request gets the same answer and changes nothing; another one is a conflict."""
    headers = {"idempotency-key": "k1"}
    first = await admin.post("/v1/accounts", json={"name": "acme"}, headers=headers)
    again = await admin.post("/v1/accounts", json={"name": "acme"}, headers=headers)
    other = await admin.post("/v1/accounts", json={"name": "other"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    await check_refused(other, 409, "conflict")
    async with await api.client("admin") as colleague:
        theirs = await colleague.post("/v1/accounts", json={"name": "other"}, headers=headers)
    assert theirs.status_code == 201


async def test_requests_of_one_idempotency_key_at_the_same_time_act_once(
    admin: httpx.AsyncClient, acme: str
) -> None:
    """Of six that come together one acts, and all get its answer."""
    url = f"/v1/accounts/{acme}/corrections"
    body = {"amount_usd": "-1", "reference": "r", "reason": "x"}
    answers = await asyncio.gather(
        *(admin.post(url, json=body, headers={"idempotency-key": "k"}) for _ in range(6))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 5


async def test_failed_request_may_be_repeated(admin: httpx.AsyncClient, acme: str) -> None:
    """A refusal is not remembered: once put right, the same key succeeds."""
    headers = {"idempotency-key": "k"}
    url = f"/v1/accounts/{acme}/topups"
    bad = await admin.post(url, json={"amount_usd": "-1", "reference": "r"}, headers=headers)
    good = await admin.post(url, json={"amount_usd": "1", "reference": "r"}, headers=headers)
    assert (bad.status_code, good.status_code) == (422, 201)


async def test_key_is_shown_once(admin: httpx.AsyncClient, acme: str, api: Api) -> None:
    """The text of a key is in the first answer alone: no repetition, list or table has it."""
    url, headers = f"/v1/accounts/{acme}/keys", {"idempotency-key": "k"}
    issued = await gives(await admin.post(url, json={"name": "ci"}, headers=headers), 201)
    again = await gives(await admin.post(url, json={"name": "ci"}, headers=headers), 201)
    listed = await gives(await admin.get(url))
    kept = await api.office.pool.fetchval("SELECT array_agg(i.*)::text FROM idempotency_keys AS i")
    assert is_well_formed(issued["key"])
    assert (again["key"], again["id"]) == (None, issued["id"])
    assert listed["rows"] == [issued["record"]]
    assert issued["key"] not in kept


async def test_key_is_rotated_with_an_overlap_and_revoked(
    admin: httpx.AsyncClient, acme: str
) -> None:
    """Both keys are active during the overlap; the revoked one ends at once."""
    url = f"/v1/accounts/{acme}/keys"
    old = await gives(await admin.post(url, json={"scopes": ["chat"]}), 201)
    new = await gives(await admin.post(f"{url}/{old['id']}/rotate", json={"overlap_s": 3600}), 201)
    revoked = await gives(await admin.post(f"{url}/{new['id']}/revoke"))
    rows = (await gives(await admin.get(url)))["rows"]
    assert new["old_key_ends_at"] == rows[0]["expires_at"] == "2026-03-10T13:00:00Z"
    assert [(row["status"], row["scopes"]) for row in rows] == [
        ("active", ["chat"]),
        ("revoked", ["chat"]),
    ]
    assert revoked["revoked_at"] is not None
    await check_refused(await admin.post(f"{url}/{new['id']}/rotate", json={}), 409, "conflict")


async def test_subscription_is_put(admin: httpx.AsyncClient, acme: str, api: Api) -> None:
    """Terms are set whole; unknown plans and profiles are told."""
    await api.office.sells("llm")
    url = f"/v1/accounts/{acme}/subscriptions/llm"
    state = await gives(await admin.put(url, json={"plan": "pro", "rps_override": 5}))
    listed = await gives(await admin.get(f"/v1/accounts/{acme}/subscriptions"))
    assert listed == [state]
    assert (state["rps_override"], state["period_end"]) == (5, "2026-04-01T12:00:00Z")
    assert "pro" in await check_refused(await admin.put(url, json={"plan": "p"}), 404, "not_found")


async def test_roles_bound_what_an_operator_does(api: Api, acme: str) -> None:
    """Who reads changes nothing, who bills moves money alone, who administers does everything."""
    attempts = [
        ("GET", f"/v1/accounts/{acme}", None, "read"),
        ("GET", "/v1/audit", None, "read"),
        ("POST", f"/v1/accounts/{acme}/topups", {"amount_usd": "1", "reference": "r"}, "billing"),
        ("PUT", f"/v1/accounts/{acme}/overdraft", {"overdraft_usd": "1"}, "billing"),
        ("POST", "/v1/accounts", {"name": "new"}, "admin"),
        ("POST", f"/v1/accounts/{acme}/keys", {}, "admin"),
        ("POST", f"/v1/accounts/{acme}/suspend", None, "admin"),
        ("GET", "/v1/operators", None, "admin"),
        ("POST", "/v1/operators", {"name": "x", "role": "admin"}, "admin"),
    ]
    roles = ("read", "billing", "admin")
    for role in ("read", "billing"):
        async with await api.client(role) as client:
            for method, url, body, needed in attempts:
                answer = await client.request(method, url, json=body)
                allowed = roles.index(needed) <= roles.index(role)
                assert (answer.status_code < 300) is allowed, (role, method, url)
                if not allowed:
                    await check_refused(answer, 403, "forbidden")


async def test_token_that_is_none_or_ended_is_refused(api: Api, admin: httpx.AsyncClient) -> None:
    """No token, a made-up one and a revoked one are 401, and say how to do better."""
    issued = await gives(
        await admin.post("/v1/operators", json={"name": "ben", "role": "read"}), 201
    )
    async with api.bearing(issued["token"]) as ben, api.nobody() as nobody:
        assert (await ben.get("/v1/plans")).status_code == 200
        await gives(await admin.post("/v1/operators/ben/revoke"))
        await check_refused(await ben.get("/v1/plans"), 401, "unauthorized")
        refused = await nobody.get("/v1/plans")
    await check_refused(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"] == "Bearer"
    async with api.bearing("tko_" + "x" * 43) as stranger:
        await check_refused(await stranger.get("/v1/plans"), 401, "unauthorized")


async def test_every_change_is_in_the_audit_log(admin: httpx.AsyncClient, acme: str) -> None:
    """Who, by which way, what and on which account; nothing that failed."""
    await admin.post(f"/v1/accounts/{acme}/topups", json={"amount_usd": "2", "reference": "r"})
    await admin.post(f"/v1/accounts/{acme}/topups", json={"amount_usd": "3", "reference": "r"})
    await admin.post(f"/v1/accounts/{acme}/suspend")
    rows = (await gives(await admin.get("/v1/audit", params={"account": "acme"})))["rows"]
    assert [row["action"] for row in rows] == [
        "account.suspended",
        "money.topup",
        "account.create",
    ]
    assert {row["via"] for row in rows} == {"api"}
    assert rows[1]["detail"]["amount_nanos"] == 2_000_000_000
    assert rows[0]["actor"].startswith("admin ")


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "invalid_input"),
        ("-1", "invalid_input"),
        ("0.0000000001", "invalid_request"),
        ("9999999999999", "invalid_amount"),
        ("9223372036.854775808", "invalid_amount"),
        ("1e3", "invalid_request"),
        ("٣", "invalid_request"),
        (25, "invalid_request"),
        (25.5, "invalid_request"),
        (None, "invalid_request"),
    ],
)
async def test_absurd_amount_is_refused(
    admin: httpx.AsyncClient, acme: str, amount: Any, code: str
) -> None:
    """Nothing, less than nothing, below a nano, beyond the ledger, and what is no decimal text."""
    url = f"/v1/accounts/{acme}/topups"
    await check_refused(
        await admin.post(url, json={"amount_usd": amount, "reference": "r"}), 422, code
    )
    assert (await gives(await admin.get("/v1/accounts/acme/balance")))["posted_nanos"] == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v1/accounts/{NOBODY}", 404),
        ("/v1/accounts/nobody", 404),
        ("/v1/accounts/nobody/balance", 404),
        ("/v1/accounts/nobody/usage", 404),
        ("/v1/accounts/nobody/usage?format=csv", 404),
        ("/v1/accounts/nobody/keys", 404),
        (f"/v1/requests/{NOBODY}", 404),
        ("/v1/requests/x", 404),
        ("/v1/accounts?limit=1000000", 422),
        ("/v1/accounts?limit=0", 422),
        ("/v1/accounts?cursor=x", 422),
        ("/v1/accounts/acme/usage?since=2026-13-01", 422),
        ("/v1/accounts/acme/usage?since=2026-03-02&until=2026-03-01", 422),
        ("/v1/accounts/acme/usage?until=0001-01-02", 422),
        ("/v1/accounts/acme/usage?since=0001-01-01&until=9999-12-31", 422),
        ("/v1/accounts/acme/usage?by=colour", 422),
        ("/v1/accounts/acme/statement?format=xml", 422),
        ("/v1/reservations?state=settled", 422),
        ("/v1/accounts/%00", 422),
        ("/v1/accounts/' OR '1'='1", 404),
        ("/v1/accounts/acme%0d%0ax-evil: 1", 404),
        ("/v1/accounts/" + "x" * 201, 422),
        ("/v1/nothing", 404),
    ],
)
async def test_bad_question_is_answered_in_one_shape(
    admin: httpx.AsyncClient, acme: str, path: str, status: int
) -> None:
    """Unknown ids, impossible dates, endless pages, injected text: a clear 4xx, no header of it."""
    answer = await admin.get(path)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("name", ["'; DROP TABLE accounts; --", "<script>", "a\u202eb😀", "%s{}"])
async def test_strange_names_stay_names(admin: httpx.AsyncClient, name: str) -> None:
    """What looks like code is kept and shown as the text that it is, or refused as unprintable."""
    answer = await admin.post("/v1/accounts", json={"name": name})
    if answer.status_code == 201:
        assert (await gives(await admin.get("/v1/accounts")))["rows"][0]["name"] == name
    else:
        await check_refused(answer, 422, "invalid_input")


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "bad_json"),
        (b"\xff\xfe", {"content-type": "application/json"}, 400, "bad_json"),
        (b"[" * 5000, {"content-type": "application/json"}, 400, "bad_json"),
        (b"name=acme", {"content-type": "application/x-www-form-urlencoded"}, 415, "not_json"),
        (b'{"name": "x"}', {}, 415, "not_json"),
        (b" " * (MAX_BODY_BYTES + 1), {"content-type": "application/json"}, 413, "body_too_large"),
        (b"{}", {"content-type": "application/json"}, 422, "invalid_request"),
        (b"[]", {"content-type": "application/json"}, 422, "invalid_request"),
        (b'{"name": "a", "x": 1}', {"content-type": "application/json"}, 422, "invalid_request"),
        (b'{"name": 5}', {"content-type": "application/json"}, 422, "invalid_request"),
    ],
)
async def test_bad_body_is_refused(
    admin: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Malformed, of another type, huge, empty, of another shape, with unknown fields."""
    answer = await admin.post("/v1/accounts", content=content, headers=headers)
    await check_refused(answer, status, code)
    assert (await gives(await admin.get("/v1/accounts")))["rows"] == []


async def test_body_without_an_end_is_cut_off(admin: httpx.AsyncClient) -> None:
    """A body that does not say its length is read up to the limit and no further."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 4096

    headers = {"content-type": "application/json"}
    answer = await admin.post("/v1/accounts", content=endless(), headers=headers)
    await check_refused(answer, 413, "body_too_large")


async def test_sent_values_are_not_repeated_in_errors(admin: httpx.AsyncClient) -> None:
    """What was sent may be a secret put into the wrong field."""
    answer = await admin.post("/v1/accounts", json={"name": ["tk_secret"], "password": "hunter2"})
    assert "tk_secret" not in answer.text
    assert "hunter2" not in answer.text
    details = answer.json()["error"]["details"]
    assert {detail["where"] for detail in details} == {"body.name", "body.password"}


async def test_answers_are_neither_kept_nor_guessed_at(admin: httpx.AsyncClient) -> None:
    """No cache keeps an answer that may hold a key, and no browser makes it something else."""
    for answer in (await admin.get("/v1/plans"), await admin.get("/v1/nothing")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_pages_without_a_token(api: Api) -> None:
    """Health, metrics and the documentation are open; none of them says anything of an account."""
    async with api.nobody() as nobody:
        await nobody.get("/v1/accounts/secret-name")
        assert (await nobody.get("/livez")).text == "ok\n"
        assert (await nobody.get("/readyz")).status_code == 200
        metrics = (await nobody.get("/metrics")).text
        docs = await nobody.get("/docs")
        document = (await nobody.get("/openapi.json")).json()
    assert 'route="/v1/accounts/{account}",status="401"' in metrics
    assert "secret-name" not in metrics
    assert "<script" not in docs.text
    assert "http://" not in docs.text.replace("http://api", "")
    assert all(path in docs.text for path in document["paths"])
