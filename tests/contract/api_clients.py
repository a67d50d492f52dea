"""The management API over a test's own database, called without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from billing.catalog import Catalog
from billing.stores.postgres_operators import NewOperator, Role
from tests.contract.desks import ANNA, Office, open_office
from tollkeeper.admin import AdminDeps, create_app
from tollkeeper.config import compile_catalog, load_config
from tollkeeper.operations.operators import create_operator
from tollkeeper.settings import load_settings

CONFIG = Path(__file__).parents[2] / "tollkeeper.yaml"
GATEWAY_SECRET = "what only the gateway knows"


@dataclass(frozen=True)
class Api:
    """An office, its API, and clients of it."""

    office: Office
    transport: httpx.ASGITransport

    async def client(self, role: Role) -> httpx.AsyncClient:
        """An operator of that role."""
        async with self.office.desk.act(ANNA, "test") as act:
            issued = await create_operator(act, NewOperator(f"{role} {act.new_id()}", role))
        return self.bearing(issued.token)

    def bearing(self, token: str) -> httpx.AsyncClient:
        """Whoever has that token."""
        return self._client({"authorization": f"Bearer {token}"})

    def nobody(self) -> httpx.AsyncClient:
        """A client without a token."""
        return self._client({})

    def through_gateway(self, account_id: str, **headers: str) -> httpx.AsyncClient:
        """A customer, as the gateway hands them over."""
        told = {"x-tollkeeper-account": account_id, "x-tollkeeper-gateway": GATEWAY_SECRET}
        return self._client({**told, **headers})

    def _client(self, headers: dict[str, str]) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self.transport, base_url="http://api", headers=headers)


@asynccontextmanager
async def open_api(dsn: str) -> AsyncIterator[Api]:
    """The API with the example's catalog, under the office's clock."""
    catalog = example_catalog()
    async with open_office(dsn, 8) as office:
        deps = AdminDeps(office.desk, lambda: catalog, GATEWAY_SECRET)
        yield Api(office, httpx.ASGITransport(create_app(deps), raise_app_exceptions=True))


def example_catalog() -> Catalog:
    """What the example sells."""
    return compile_catalog(load_config(CONFIG, load_settings()), {})


async def gives(answer: httpx.Response, status: int = 200) -> Any:
    """The JSON of an answer that has the expected status."""
    assert answer.status_code == status, answer.text
    return answer.json()


async def check_refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an answer that refuses in the one shape of errors."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code, error
    return str(error["message"])
