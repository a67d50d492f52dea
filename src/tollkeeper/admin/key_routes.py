"""``/v1/accounts/{account}/keys``: API keys, shown once."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from billing.accounts import ApiKey, NewKey
from billing.pages import PageAsk
from tollkeeper.admin.bodies import (
    AccountPath,
    IdPath,
    IssuedKeyOut,
    KeyBody,
    PageOut,
    RotationBody,
    page_of,
)
from tollkeeper.admin.callers import Administrator, Reader, answer
from tollkeeper.operations import keys

router = APIRouter(prefix="/v1/accounts/{account}/keys", tags=["keys"])


@router.get("", response_model=PageOut[ApiKey])
async def list_keys(
    caller: Reader, account: AccountPath, ask: Annotated[PageAsk, Depends(page_of)]
) -> JSONResponse:
    """List keys by their last characters, ended ones included."""
    return answer(await caller.see("keys", lambda v: keys.list_keys(v, account, ask)))


@router.post("", response_model=IssuedKeyOut, status_code=201)
async def create_key(
    caller: Administrator,
    account: AccountPath,
    body: KeyBody,
) -> JSONResponse:
    """Create a key. Its text is in this answer and nowhere else, ever."""
    new = NewKey(body.name, tuple(body.scopes), body.expires_at)
    return await caller.do(
        "key", lambda a: keys.create_key(a, account, new), status=201, shown_once="key"
    )


@router.post("/{key_id}/rotate", response_model=IssuedKeyOut, status_code=201)
async def rotate_key(
    caller: Administrator,
    account: AccountPath,
    key_id: IdPath,
    body: RotationBody,
) -> JSONResponse:
    """Replace a key by a new one; both work during the overlap."""
    overlap = timedelta(seconds=body.overlap_s)
    return await caller.do(
        "rotation",
        lambda a: keys.rotate_key(a, account, key_id, overlap),
        status=201,
        shown_once="key",
    )


@router.post("/{key_id}/revoke", response_model=ApiKey)
async def revoke_key(
    caller: Administrator,
    account: AccountPath,
    key_id: IdPath,
) -> JSONResponse:
    """End a key within a second at every worker."""
    return await caller.do("revocation", lambda a: keys.revoke_key(a, account, key_id))
