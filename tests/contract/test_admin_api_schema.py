"""The whole OpenAPI document against the running API: whatever is sent, answers are as in it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import asyncpg
import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from billing.accounts import NewKey
from billing.stores.postgres_operators import NewOperator
from devstack import Postgres, free_port
from tests.contract.api_clients import GATEWAY_SECRET, example_catalog
from tests.contract.desks import ANNA, open_office
from tests.contract.paid_work import PaidWork
from tollkeeper.admin import AdminDeps, create_app
from tollkeeper.operations.desk import Desk
from tollkeeper.operations.keys import create_key
from tollkeeper.operations.operators import create_operator

START_TIMEOUT_S = 20.0
EXAMPLES = 10
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@dataclass
class Running:
    """An API that serves in a thread of its own, with an account that has some of everything."""

    url: str
    token: str = ""
    account_id: str = ""
    key_id: str = ""
    request_id: str = ""

    def path_of(self, template: str) -> dict[str, str]:
        """Things that exist, for the places of a path."""
        known = {
            "account": self.account_id,
            "profile": "llm",
            "key_id": self.key_id,
            "request_id": self.request_id,
            "operator": "somebody else",
        }
        return {name: value for name, value in known.items() if f"{{{name}}}" in template}

    @property
    def headers(self) -> dict[str, str]:
        """An administrator, who at the same time is the gateway with a customer."""
        return {
            "authorization": f"Bearer {self.token}",
            "x-tollkeeper-gateway": GATEWAY_SECRET,
            "x-tollkeeper-account": self.account_id,
        }


@pytest.fixture(scope="module")
def running(postgres_server: Postgres, template_database: str) -> Iterator[Running]:
    """The API over a database of the module's own."""
    name = f"fuzzed_{free_port()}"
    asyncio.run(_copy(postgres_server.dsn(), name, template_database))
    port = free_port()
    found, stop = Running(f"http://127.0.0.1:{port}"), threading.Event()
    serving = threading.Thread(
        target=lambda: asyncio.run(_serve(postgres_server.dsn(name), port, found, stop))
    )
    serving.start()
    _until_ready(found)
    yield found
    stop.set()
    serving.join(START_TIMEOUT_S)
    assert not serving.is_alive()


DOCUMENT = create_app(AdminDeps(cast("Desk", None), example_catalog)).openapi()
OPERATIONS = [
    found.ok()  # type: ignore[union-attr]  # an invalid operation ends the collection
    for found in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
]
WITH_INPUT = [
    operation
    for operation in OPERATIONS
    if {"parameters", "requestBody"} & operation.definition.raw.keys()
]


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_valid_input_is_answered_as_documented(operation: APIOperation, running: Running) -> None:
    """On things that exist: no 5xx, and no status, type or body beside those of the document."""
    _check_all(operation.as_strategy(path_parameters=running.path_of(operation.path)), running)


@pytest.mark.slow
@pytest.mark.parametrize("operation", WITH_INPUT, ids=lambda operation: operation.label)
def test_broken_input_is_answered_as_documented(operation: APIOperation, running: Running) -> None:
    """Whatever is wrong with it: no 5xx, and nothing beside what the document says."""
    _check_all(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), running)


def test_document_names_every_operation(running: Running) -> None:
    """The document is whole: operations, the token, and the one shape of errors."""
    document = httpx.get(f"{running.url}/openapi.json").json()
    assert document == DOCUMENT
    operations = [(method, path) for path, found in document["paths"].items() for method in found]
    assert len(operations) == 34
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert "ProblemBody" in document["components"]["schemas"]


def _check_all(cases: SearchStrategy[Case], running: Running) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Case) -> None:
        answer = case.call(base_url=running.url, headers=running.headers)
        case.validate_response(answer, checks=CHECKS)

    ask()


async def _copy(dsn: str, name: str, template: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()


async def _serve(dsn: str, port: int, running: Running, stop: threading.Event) -> None:
    catalog = example_catalog()
    async with open_office(dsn, 8) as office:
        await office.sells("llm")
        account = await office.account("acme", paid_nanos=10**9)
        work = PaidWork(office)
        settled = work.request(account, 10)
        await work.settle(settled, work.request(account, 20))
        async with office.desk.act(ANNA, "test") as act:
            issued = await create_operator(act, NewOperator("fuzz", "admin"))
            running.key_id = (await create_key(act, account.id, NewKey())).id
        running.account_id, running.request_id = account.id, settled.reservation_id
        running.token = issued.token
        app = create_app(AdminDeps(office.desk, lambda: catalog, GATEWAY_SECRET))
        server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not stop.is_set():
            await asyncio.sleep(0.05)
        server.should_exit = True
        await serving


def _until_ready(running: Running) -> None:
    ends = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < ends:
        try:
            if httpx.get(f"{running.url}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise TimeoutError("the API did not start")
