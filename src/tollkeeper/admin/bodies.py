"""What requests may hold and answers do hold: the models of the OpenAPI document.

Amounts come in as decimal text in USD (``"25.00"``), because JSON has no exact decimals, and go out
as whole nano-USD.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from billing.accounts import (
    MAX_NAME_CHARS,
    MAX_PER_SECOND,
    MAX_REASON_CHARS,
    MAX_SCOPES,
    MAX_WORD_CHARS,
    Against,
    ApiKey,
)
from billing.meters.values import Ask
from billing.pages import DEFAULT_PAGE_ROWS, MAX_CURSOR_CHARS, MAX_PAGE_ROWS, PageAsk
from billing.reservations import MAX_COUNTED
from billing.stores.postgres_operators import Operator, Role
from billing.subscriptions import AccountType, SubscriptionStatus

Row = TypeVar("Row")

Usd = Annotated[
    str,
    Field(
        pattern=r"^-?[0-9]{1,13}(\.[0-9]{1,9})?$",
        max_length=24,
        description="USD as decimal text, at most nine decimals.",
        examples=["25.00"],
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARS)]

AccountPath = Annotated[
    str, Path(min_length=1, max_length=MAX_NAME_CHARS, description="Its id or its name.")
]
IdPath = Annotated[str, Path(min_length=1, max_length=64)]
NamePath = Annotated[str, Path(min_length=1, max_length=MAX_NAME_CHARS)]
AccountQuery = Annotated[
    str | None, Query(max_length=MAX_NAME_CHARS, description="Only of this account: id or name.")
]
Since = Annotated[str | None, Query(description="First day (UTC), such as 2026-03-01.")]
Until = Annotated[str | None, Query(description="The day after the last (UTC).")]
Format = Annotated[Literal["json", "csv"], Query(description="csv holds all pages.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=200,
        description="A repeated request of the same key is answered as the first was; another "
        "request of the same key is a conflict.",
    ),
]


def page_of(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE_ROWS)] = DEFAULT_PAGE_ROWS,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR_CHARS)] = None,
) -> PageAsk:
    """The page that the query asks for."""
    return PageAsk(limit, cursor)


class Sent(BaseModel):
    """A body: unknown fields are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True)


class AccountBody(Sent):
    name: Name
    type: AccountType = "personal"
    tier: Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARS)] = "standard"
    wallet_address: Name | None = None
    overdraft_usd: Usd = "0"


class OverdraftBody(Sent):
    overdraft_usd: Usd


class TopupBody(Sent):
    amount_usd: Usd
    reference: Name


class CorrectionBody(TopupBody):
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON_CHARS)]
    against: Against = "revenue"


class KeyBody(Sent):
    name: Annotated[str, Field(max_length=MAX_NAME_CHARS)] = ""
    scopes: Annotated[list[Word], Field(max_length=MAX_SCOPES)] = []
    expires_at: Annotated[datetime | None, Field(strict=False)] = None


class RotationBody(Sent):
    overlap_s: Annotated[int, Field(ge=0, le=90 * 86_400)] = 86_400


class OwnRotationBody(RotationBody):
    key_id: Annotated[str | None, Field(max_length=64)] = None


class SubscriptionBody(Sent):
    plan: Word
    status: SubscriptionStatus = "active"
    units_limit: Annotated[int | None, Field(ge=0, le=MAX_COUNTED)] = None
    rps_override: Annotated[int | None, Field(ge=1, le=MAX_PER_SECOND)] = None
    burst_override: Annotated[int | None, Field(ge=1, le=MAX_PER_SECOND)] = None
    billing_day: Annotated[int, Field(ge=1, le=31)] = 1


class OperatorBody(Sent):
    name: Name
    role: Role


class EstimateBody(Sent):
    """A request that a client may send: what Tollkeeper would read of it."""

    route: Word
    body_bytes: Annotated[int, Field(ge=0, le=64 << 20)] = 0
    model: Annotated[str | None, Field(max_length=256)] = None
    max_output_tokens: Annotated[int | None, Field(ge=0, le=MAX_COUNTED)] = None
    choices: Annotated[int | None, Field(ge=1, le=1_000)] = None
    stream: bool = False
    calls: Annotated[
        dict[
            Annotated[str, Field(max_length=128)],
            Annotated[int, Field(ge=1, le=100_000)],
        ],
        Field(max_length=1_000),
    ] = {}
    requested: Annotated[
        dict[Literal["cpu_s", "memory_mib"], Annotated[int, Field(ge=0, le=MAX_COUNTED)]],
        Field(max_length=2),
    ] = {}

    def ask(self) -> Ask:
        """The same as what the front door's meters are told."""
        return Ask(
            body_bytes=self.body_bytes,
            model=self.model,
            max_output_tokens=self.max_output_tokens,
            choices=self.choices,
            stream=self.stream,
            calls=self.calls,
            requested={str(name): value for name, value in self.requested.items()},
        )


class PageOut(BaseModel, Generic[Row]):
    """A page; ``next_cursor`` is null on the last one."""

    rows: list[Row]
    next_cursor: str | None


class BalanceOut(BaseModel):
    """``available = posted + overdraft - held``, in nano-USD."""

    account_id: str
    posted_nanos: int
    overdraft_nanos: int
    held_nanos: int
    available_nanos: int


class IssuedKeyOut(BaseModel):
    """A new key. ``key`` is null where an Idempotency-Key repeats the request."""

    id: str
    key: str | None
    record: ApiKey
    old_key_ends_at: datetime | None


class IssuedOperatorOut(BaseModel):
    """A new operator. ``token`` is null where an Idempotency-Key repeats the request."""

    id: str
    token: str | None
    record: Operator


class EstimateOut(BaseModel):
    """What the request would hold, and cost at least, typically and at most."""

    route: str
    meter: str
    price_version: str
    held_nanos: int
    min_nanos: int
    typical_nanos: int
    max_nanos: int
    min_units: int
    typical_units: int
    max_units: int
    explanation: str


class ModelSum(BaseModel):
    """What one model was used for."""

    model: str
    requests: int
    units: int
    price_nanos: int


class OwnRequest(BaseModel):
    """One settled request of the customer's own."""

    id: str
    at: datetime
    route: str
    model: str
    units: int
    price_nanos: int
    status: str


class OwnUsageOut(BaseModel):
    """A customer's own balance and use over the last thirty days."""

    balance: BalanceOut
    since: str
    until: str
    requests: int
    units: int
    price_nanos: int
    by_model: list[ModelSum]
    recent: list[OwnRequest]


class OwnExplanationOut(BaseModel):
    """What one request of the customer's own cost, and why."""

    id: str
    state: str
    route: str
    admitted_at: datetime
    ended_at: datetime | None
    held_nanos: int
    price_version: str
    price_nanos: int | None
    units: int | None
    formula: str | None
    entries: list[dict[str, Any]]


class OwnAccountOut(BaseModel):
    """Whose key it is."""

    account_id: str
    name: str
    status: str
    tier: str
