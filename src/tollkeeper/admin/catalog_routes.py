"""What is for sale: plans and prices in force, and what a request would cost."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from billing.stores.postgres_catalog import PlanInForce, PriceInBook
from tollkeeper.admin.bodies import EstimateBody, EstimateOut
from tollkeeper.admin.callers import AdminDeps, Reader, answer, deps_of
from tollkeeper.admin.problems import problem
from tollkeeper.operations import catalog
from tollkeeper.operations.estimates import Estimated, Refused, estimate

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/plans", response_model=list[PlanInForce])
async def plans(caller: Reader) -> JSONResponse:
    """Show the plans in force, and who applied them."""
    return answer(await caller.see("plans", catalog.plans_in_force))


@router.get("/prices", response_model=list[PriceInBook])
async def prices(caller: Reader) -> JSONResponse:
    """Show every version of the price book, the one in force, and who applied it."""
    return answer(await caller.see("prices", catalog.price_book))


@router.post("/estimate", response_model=EstimateOut)
async def estimate_request(
    caller: Reader, body: EstimateBody, deps: Annotated[AdminDeps, Depends(deps_of)]
) -> JSONResponse:
    """Say what a request would hold, and cost at least, typically and at most."""
    found = estimate(deps.catalog(), body.route, body.ask(), caller.desk.now())
    if isinstance(found, Refused):
        return problem(422, found.code, found.message)
    assert isinstance(found, Estimated)
    return answer(found)
