"""What operators read: balances, usage, statements, entries, reservations, requests, quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import JSONResponse

from billing.errors import InvalidInput
from billing.pages import PageAsk
from billing.reports import (
    Balance,
    Explanation,
    LedgerEntry,
    QuarantineItem,
    ReservationRow,
    Span,
    Statement,
    UsageBy,
    UsageEvent,
    UsageRow,
)
from billing.reservations import State
from tollkeeper.admin import exports
from tollkeeper.admin.bodies import (
    AccountPath,
    AccountQuery,
    BalanceOut,
    Format,
    IdPath,
    PageOut,
    Since,
    Until,
    page_of,
)
from tollkeeper.admin.callers import Reader, answer
from tollkeeper.operations import reports

router = APIRouter(prefix="/v1", tags=["reports"])

Page = Annotated[PageAsk, Depends(page_of)]
By = Annotated[
    list[UsageBy], Query(max_length=len(get_args(UsageBy)), description="What to tell apart.")
]
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}, "text/csv": {}}}}


@dataclass(frozen=True, slots=True)
class ReportAsk:
    """What a report covers, and how it is written."""

    page: PageAsk
    since: str | None
    until: str | None
    format: Literal["json", "csv"]

    def span(self, now: datetime) -> Span:
        """The days, the last thirty by default."""
        return reports.span_of(now, read_day(self.since), read_day(self.until))


def _report_ask(
    page: Page,
    since: Since = None,
    until: Until = None,
    format: Format = "json",  # noqa: A002 - the name of the parameter in the query
) -> ReportAsk:
    return ReportAsk(page, since, until, format)


Report = Annotated[ReportAsk, Depends(_report_ask)]


@router.get("/accounts/{account}/balance", response_model=BalanceOut)
async def balance(caller: Reader, account: AccountPath) -> JSONResponse:
    """Show what an account has posted, held and available."""
    found = await caller.see("balance", lambda v: reports.balance(v, account))
    return answer(balance_out(found))


@router.get("/accounts/{account}/usage", response_model=PageOut[UsageRow], responses=CSV)
async def usage(
    caller: Reader,
    account: AccountPath,
    ask: Report,
    by: By = ["day", "profile"],  # noqa: B006 - read only, and so it stands in the document
) -> Response:
    """Sum settled requests by day, profile, route, model and key, in any combination."""
    span = ask.span(caller.desk.now())
    if ask.format == "csv":
        return await exports.usage_csv(caller.desk, account, span, by)
    return answer(
        await caller.see("usage", lambda v: reports.usage(v, account, span, by, ask.page))
    )


@router.get("/accounts/{account}/statement", response_model=Statement, responses=CSV)
async def statement(
    caller: Reader, account: AccountPath, ask: Report, detail: bool = False
) -> Response:
    """Show opening balance, movements with the balance after each, closing balance."""
    span = ask.span(caller.desk.now())
    if ask.format == "csv":
        return await exports.statement_csv(caller.desk, account, span, detail=detail)
    return answer(
        await caller.see(
            "statement", lambda v: reports.statement(v, account, span, ask.page, detail=detail)
        )
    )


@router.get("/accounts/{account}/entries", response_model=PageOut[LedgerEntry])
async def entries(caller: Reader, account: AccountPath, page: Page) -> JSONResponse:
    """List the transfers made on behalf of an account."""
    return answer(await caller.see("entries", lambda v: reports.ledger_entries(v, account, page)))


@router.get("/accounts/{account}/requests", response_model=PageOut[UsageEvent])
async def requests(caller: Reader, account: AccountPath, page: Page) -> JSONResponse:
    """List settled requests, newest first."""
    return answer(await caller.see("requests", lambda v: reports.requests(v, account, page)))


@router.get("/reservations", response_model=PageOut[ReservationRow])
async def reservations(
    caller: Reader, page: Page, state: State | None = None, account: AccountQuery = None
) -> JSONResponse:
    """List reservations of an account, or all that are pending or expired."""
    return answer(
        await caller.see("reservations", lambda v: reports.reservations(v, account, state, page))
    )


@router.get("/requests/{request_id}", response_model=Explanation)
async def explain(caller: Reader, request_id: IdPath, account: AccountQuery = None) -> JSONResponse:
    """Explain what a request cost: reservation, price version, formula, ledger entries."""
    return answer(await caller.see("explain", lambda v: reports.explain(v, request_id, account)))


@router.get("/quarantine", response_model=PageOut[QuarantineItem])
async def quarantine(caller: Reader, page: Page, account: AccountQuery = None) -> JSONResponse:
    """List entries that could not be settled, newest first."""
    return answer(await caller.see("quarantine", lambda v: reports.quarantine(v, account, page)))


def balance_out(found: Balance) -> dict[str, object]:
    """A balance with what is available."""
    return {
        "account_id": found.account_id,
        "posted_nanos": found.posted_nanos,
        "overdraft_nanos": found.overdraft_nanos,
        "held_nanos": found.held_nanos,
        "available_nanos": found.available_nanos,
    }


def read_day(text: str | None) -> date | None:
    """A day of the query; ``InvalidInput`` for anything else."""
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput("a day is written as 2026-03-01") from error
