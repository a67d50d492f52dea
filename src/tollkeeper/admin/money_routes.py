"""Money that operators move: top-ups and corrections, once per reference."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from billing.accounts import Posted
from billing.money import parse_usd
from tollkeeper.admin.bodies import AccountPath, CorrectionBody, TopupBody
from tollkeeper.admin.callers import Biller
from tollkeeper.operations import orders

router = APIRouter(prefix="/v1/accounts/{account}", tags=["money"])


@router.post("/topups", response_model=Posted, status_code=201)
async def topup(caller: Biller, account: AccountPath, body: TopupBody) -> JSONResponse:
    """Add prepaid credits; a repeated reference changes nothing and says so."""
    nanos = parse_usd(body.amount_usd)
    return await caller.do(
        "top-up", lambda a: orders.topup(a, account, nanos, body.reference), status=201
    )


@router.post("/corrections", response_model=Posted, status_code=201)
async def correct(
    caller: Biller,
    account: AccountPath,
    body: CorrectionBody,
) -> JSONResponse:
    """Give credits back (above zero) or take them (below), with the reason."""
    nanos = parse_usd(body.amount_usd)
    return await caller.do(
        "correction",
        lambda a: orders.correct(
            a, account, nanos, body.reference, reason=body.reason, against=body.against
        ),
        status=201,
    )
