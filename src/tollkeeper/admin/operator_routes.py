"""Operators and the audit log: who may change things, and who did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from billing.pages import PageAsk
from billing.stores.postgres_audit import AuditEntry
from billing.stores.postgres_operators import NewOperator, Operator
from tollkeeper.admin.bodies import (
    AccountQuery,
    IssuedOperatorOut,
    NamePath,
    OperatorBody,
    PageOut,
    page_of,
)
from tollkeeper.admin.callers import Administrator, AdminReader, Reader, answer
from tollkeeper.operations import operators

router = APIRouter(prefix="/v1", tags=["operators"])

Page = Annotated[PageAsk, Depends(page_of)]


@router.get("/operators", response_model=PageOut[Operator])
async def list_operators(caller: AdminReader, page: Page) -> JSONResponse:
    """List operators, revoked ones included."""
    return answer(await caller.see("operators", lambda v: operators.list_operators(v, page)))


@router.post("/operators", response_model=IssuedOperatorOut, status_code=201)
async def create_operator(caller: Administrator, body: OperatorBody) -> JSONResponse:
    """Create an operator. The token is in this answer and nowhere else, ever."""
    new = NewOperator(body.name, body.role)
    return await caller.do(
        "operator", lambda a: operators.create_operator(a, new), status=201, shown_once="token"
    )


@router.post("/operators/{operator}/revoke", response_model=Operator)
async def revoke_operator(caller: Administrator, operator: NamePath) -> JSONResponse:
    """End an operator's token from the next request on."""
    return await caller.do("operator", lambda a: operators.revoke_operator(a, operator))


@router.get("/audit", response_model=PageOut[AuditEntry])
async def audit(caller: Reader, page: Page, account: AccountQuery = None) -> JSONResponse:
    """List who changed what, newest first."""
    return answer(await caller.see("audit", lambda v: operators.audit_log(v, account, page)))
