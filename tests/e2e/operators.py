"""Operators of a running stack, who sell over HTTP as they would with curl."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.e2e.program import program_beside
from tests.e2e.stage import ANSWER_TIMEOUT_S, Stage
from tollkeeper.stack.customers import Customer

_numbers = itertools.count()


@dataclass(frozen=True)
class Seller:
    """An operator with a token, and a client of the management API that sends it."""

    stage: Stage
    name: str
    token: str
    http: httpx.AsyncClient

    async def posts(self, path: str, body: dict[str, Any], **headers: str) -> Any:
        """The JSON of an answer to a POST that made something."""
        answer = await self.http.post(path, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def tops_up(self, account: str, amount_usd: str, reference: str) -> Any:
        """Book a payment."""
        body = {"amount_usd": amount_usd, "reference": reference}
        return await self.posts(f"/v1/accounts/{account}/topups", body)

    async def opens(self, amount_usd: str | None = None) -> Customer:
        """A new customer: account, subscription, payment and key, each by one request."""
        name = f"sold {next(_numbers)}"
        account = await self.posts("/v1/accounts", {"name": name})
        path = f"/v1/accounts/{account['id']}"
        terms = await self.http.put(f"{path}/subscriptions/llm", json={"plan": "unlimited"})
        assert terms.status_code == 200, terms.text
        if amount_usd is not None:
            await self.tops_up(account["id"], amount_usd, "first payment")
        issued = await self.posts(f"{path}/keys", {"name": "first"})
        return self.holder(Customer(name, account["id"], issued["id"], issued["key"]))

    def holder(self, customer: Customer) -> Customer:
        """A customer whose key no log may hold."""
        self.stage.keys.append(customer.key)
        return customer

    async def audit(self, account: str) -> list[tuple[str, str, str]]:
        """Who did what by which way on an account, the oldest first."""
        found = await self.http.get("/v1/audit", params={"account": account, "limit": 1000})
        rows = found.json()["rows"]
        return [(row["actor"], row["via"], row["action"]) for row in reversed(rows)]


@asynccontextmanager
async def open_seller(stage: Stage, role: str) -> AsyncIterator[Seller]:
    """A new operator, made as the first one of an installation is: by the command line."""
    name = f"{role} operator {next(_numbers)}"
    program = program_beside(stage)
    issued = await program.gives("operator", "create", name, "--role", role)
    stage.keys.append(issued["token"])
    async with bearing(stage, issued["token"]) as http:
        yield Seller(stage, name, issued["token"], http)


def bearing(stage: Stage, token: str) -> httpx.AsyncClient:
    """A client of the management API, around the gateway, with that token."""
    return httpx.AsyncClient(
        base_url=stage.stack.describe()["admin"],
        headers={"authorization": f"Bearer {token}"},
        timeout=ANSWER_TIMEOUT_S,
    )
