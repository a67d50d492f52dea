"""What goes wrong, as HTTP: one shape for every error, and no value of the request in it.

``{"error": {"code", "message", "details"}}``; a code is one of a bounded set of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from billing.errors import (
    ConfigError,
    Conflict,
    InvalidInput,
    NotFound,
    TollkeeperError,
    Unavailable,
)
from billing.money import MoneyError

log = structlog.get_logger("admin")

RETRY_AFTER_S = "1"


class ProblemDetail(BaseModel):
    """What exactly was wrong: where in the request, and why."""

    where: str
    why: str


class Problem(BaseModel):
    """``code`` is for programs, ``message`` for people."""

    code: str
    message: str
    details: list[ProblemDetail] = []


class ProblemBody(BaseModel):
    """The body of every answer that is no success."""

    error: Problem


COMMON: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "description": what}
    for status, what in (
        (400, "The body is not JSON."),
        (401, "No operator's token, or one that has ended."),
        (403, "The role does not allow this."),
        (404, "Nothing has this id or name."),
        (408, "The body did not come in time."),
        (409, "The same reference, key or name with another content."),
        (413, "The body is too large."),
        (415, "The body is not declared as JSON."),
        (422, "A value that can never succeed."),
        (503, "A part did not answer in time; try again."),
    )
}
"""What any operation may answer, for the OpenAPI document."""

_STATUS: Sequence[tuple[type[Exception], int, str]] = (
    (NotFound, 404, "not_found"),
    (Conflict, 409, "conflict"),
    (InvalidInput, 422, "invalid_input"),
    (MoneyError, 422, "invalid_amount"),
    (Unavailable, 503, "unavailable"),
    (ConfigError, 503, "misconfigured"),
)


class Forbidden(TollkeeperError):
    """The caller is known and may not do this."""


class Unauthorized(TollkeeperError):
    """Nobody knows the caller."""


def problem(status: int, code: str, message: str, **headers: str) -> JSONResponse:
    """An error answer."""
    body = ProblemBody(error=Problem(code=code, message=message))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse(body.model_dump(), status, named)


def add_handlers(app: FastAPI) -> None:
    """Turn faults of ours and of the framework into answers of one shape."""
    app.add_exception_handler(TollkeeperError, _fault)
    app.add_exception_handler(MoneyError, _fault)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


async def _fault(_request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, Unauthorized):
        return problem(401, "unauthorized", str(error), www_authenticate="Bearer")
    if isinstance(error, Forbidden):
        return problem(403, "forbidden", str(error))
    for kind, status, code in _STATUS:
        if isinstance(error, kind):
            if status < 500:
                return problem(status, code, str(error))
            log.error("request failed", code=code, why=str(error))
            return problem(status, code, "try again shortly", retry_after=RETRY_AFTER_S)
    raise error


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Name each wrong place; what was sent there may be a secret and is left out."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return problem(400, "bad_json", "the body is not JSON")
    details = [
        ProblemDetail(where=".".join(str(part) for part in one["loc"]), why=str(one["msg"]))
        for one in found
    ]
    told = Problem(code="invalid_request", message="the request is not valid", details=details)
    return JSONResponse(ProblemBody(error=told).model_dump(), 422)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    codes = {400: "bad_json", 404: "not_found", 405: "method_not_allowed"}
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return problem(
        error.status_code, codes.get(error.status_code, "refused"), str(error.detail), **headers
    )
