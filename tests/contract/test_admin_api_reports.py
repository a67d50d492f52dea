"""What operators read over the management API: reports, exports, estimates, requests."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import httpx
import pytest

from billing.accounts import Account
from billing.stores.protocol import QuarantineRow
from tests.contract.api_clients import Api, check_refused, gives, open_api
from tests.contract.paid_work import PaidWork


@pytest.fixture
async def api(database: str) -> AsyncIterator[Api]:
    """The API over the test's own database."""
    async with open_api(database) as opened:
        yield opened


@pytest.fixture
async def reader(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """An operator who may only see."""
    async with await api.client("read") as client:
        yield client


@pytest.fixture
async def acme(api: Api) -> Account:
    """An account with a top-up, two settled requests of two models, and one that is pending."""
    account = await api.office.account("acme", paid_nanos=1000)
    work = PaidWork(api.office)
    await work.settle(work.request(account, 10), work.request(account, 30, model="=cmd()"))
    await work.admit(work.request(account, 0))
    return account


async def test_usage_is_summed_and_paged(reader: httpx.AsyncClient, acme: Account) -> None:
    """By model, one row a page, nothing twice and nothing missing."""
    url, params = "/v1/accounts/acme/usage", {"by": "model", "limit": "1"}
    first = await gives(await reader.get(url, params=params))
    params["cursor"] = first["next_cursor"]
    second = await gives(await reader.get(url, params=params))
    assert [row["model"] for row in (*first["rows"], *second["rows"])] == ["=cmd()", "gpt"]
    assert second["next_cursor"] is None


async def test_usage_is_exported_whole(reader: httpx.AsyncClient, acme: Account) -> None:
    """CSV holds all pages; what a spreadsheet would run is text."""
    params = {"by": ["day", "model"], "format": "csv", "limit": "1"}
    answer = await reader.get(f"/v1/accounts/{acme.id}/usage", params=params)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert [(row["day"], row["model"], row["price_nanos"]) for row in rows] == [
        ("2026-03-10", "'=cmd()", "30"),
        ("2026-03-10", "gpt", "10"),
    ]


async def test_statement_is_shown_and_exported(reader: httpx.AsyncClient, acme: Account) -> None:
    """The last line's balance is the closing balance, in JSON and in CSV."""
    url, params = "/v1/accounts/acme/statement", {"detail": "true"}
    shown = await gives(await reader.get(url, params=params))
    exported = await reader.get(url, params={**params, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(exported.text)))
    assert (shown["opening_nanos"], shown["closing_nanos"]) == (0, 960)
    assert [line["balance_nanos"] for line in shown["lines"]] == [1000, 990, 960]
    assert [row["balance_nanos"] for row in rows] == ["1000", "990", "960"]


async def test_request_is_explained(reader: httpx.AsyncClient, acme: Account) -> None:
    """From the list of requests to the explanation of one, down to its entries."""
    rows = (await gives(await reader.get("/v1/accounts/acme/requests")))["rows"]
    found = await gives(await reader.get(f"/v1/requests/{rows[0]['id']}"))
    entries = (await gives(await reader.get("/v1/accounts/acme/entries")))["rows"]
    assert found["event"]["formula"] == "3 units = 30 nano-USD"
    assert [entry["kind"] for entry in found["entries"]] == ["charge", "cost"]
    assert len(entries) == 5
    other = {"account": "platform"}
    await check_refused(
        await reader.get(f"/v1/requests/{rows[0]['id']}", params=other), 404, "not_found"
    )


async def test_open_reservations_and_quarantine_are_listed(
    api: Api, reader: httpx.AsyncClient, acme: Account
) -> None:
    """What waits and what was put aside, of all accounts or of one."""
    await PaidWork(api.office).ledger.quarantine([QuarantineRow(acme.id, None, "forged", "x")])
    pending = await gives(await reader.get("/v1/reservations", params={"state": "pending"}))
    own = await gives(await reader.get("/v1/reservations", params={"account": "acme"}))
    aside = await gives(await reader.get("/v1/quarantine", params={"account": "acme"}))
    assert [row["held_nanos"] for row in pending["rows"]] == [100]
    assert sorted(row["state"] for row in own["rows"]) == ["pending", "settled", "settled"]
    assert [row["reason"] for row in aside["rows"]] == ["forged"]


async def test_plans_and_prices_in_force_are_visible(api: Api, reader: httpx.AsyncClient) -> None:
    """With who put them there, and when."""
    await api.office.sells("llm")
    plans = await gives(await reader.get("/v1/plans"))
    (price,) = await gives(await reader.get("/v1/prices"))
    assert [(plan["name"], plan["applied_by"]) for plan in plans] == [
        ("pro", "anna"),
        ("trial", "anna"),
    ]
    assert (price["version"], price["in_force"]) == ("v1", True)


@pytest.mark.parametrize(
    ("body", "typical"),
    [
        (
            {"route": "chat", "model": "gpt-4o-mini", "max_output_tokens": 10, "body_bytes": 100},
            None,
        ),
        ({"route": "ethereum", "calls": {"eth_call": 2}, "body_bytes": 50}, None),
        ({"route": "tool", "requested": {"cpu_s": 2, "memory_mib": 1024}}, None),
        ({"route": "reported"}, None),
        ({"route": "ping"}, 1_000_000),
    ],
)
async def test_estimate_is_what_the_front_door_would_quote(
    reader: httpx.AsyncClient, body: dict[str, object], typical: int | None
) -> None:
    """Each meter of the example: min, typical, max in order, what is held, and why."""
    found = await gives(await reader.post("/v1/estimate", json=body))
    assert 0 <= found["min_nanos"] <= found["typical_nanos"] <= found["max_nanos"]
    assert found["held_nanos"] == found["max_nanos"] > 0
    assert typical in {None, found["typical_nanos"]}
    assert "price version 2026-01" in found["explanation"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"route": "nowhere"}, "unknown_route"),
        ({"route": "chat", "model": "nobody-knows"}, "unknown_model"),
        ({"route": "chat"}, "bad_request_body"),
        ({"route": "ethereum"}, "bad_request_body"),
        ({"route": "chat", "model": "gpt-4o-mini", "max_output_tokens": -1}, "invalid_request"),
        ({"route": "ethereum", "calls": {"eth_call": 0}}, "invalid_request"),
        ({"route": "ethereum", "calls": {str(n): 1 for n in range(1001)}}, "invalid_request"),
        ({"route": "tool", "requested": {"gpu_s": 1}}, "invalid_request"),
    ],
)
async def test_what_cannot_be_priced_says_why(
    reader: httpx.AsyncClient, body: dict[str, object], code: str
) -> None:
    """The codes are those of the front door's refusals."""
    await check_refused(await reader.post("/v1/estimate", json=body), 422, code)
